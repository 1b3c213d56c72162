"""Goal: the map of algorithms in docs/ says what the code does.

Method: its table of rules and cells is compared with what each rule accepts and declares; its example is run; its
pages are read for the names in the tables, for links and for pictures.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.cells import CELLS
from models.losses import LOSSES
from models.readouts import READOUTS
from models.rules import RULES

MAP = Path(__file__).parent.parent / "docs" / "algorithms" / "README.md"

PAGES = sorted(MAP.parent.glob("*.md"))


def links_of(page: Path) -> list[str]:
    """Return where a page's links and pictures lead, code left out."""
    return re.findall(r"\]\(([^)#]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))


def mark(rule_name: str, cell_name: str) -> str:
    """Return what stands in the table for a pair."""
    try:
        rule = RULES[rule_name](CELLS[cell_name](n_inputs=3, n_units=6))
    except ValueError:
        return ""
    return "E" if rule.exact else "U" if rule.unbiased else "A"


def test_the_table_of_pairs_is_that_of_the_code() -> None:
    rows = [
        [entry.strip() for entry in line.strip("|").split("|")]
        for line in MAP.read_text().splitlines()
        if line.startswith("| rule |") or (line.split("|")[1:2] and line.split("|")[1].strip() in RULES)
    ]
    assert rows[0][1:] == list(CELLS)
    assert [row[0] for row in rows[1:]] == list(RULES)
    for row in rows[1:]:
        assert row[1:] == [mark(row[0], cell) for cell in CELLS], row[0]


def test_the_example_runs() -> None:
    example = re.search(r"```python\n(.*?)```", MAP.read_text(), re.DOTALL)
    assert example is not None
    exec(compile(example.group(1), str(MAP), "exec"), {})


@pytest.mark.parametrize("name", sorted({*CELLS, *RULES, *LOSSES, *READOUTS}))
def test_every_name_stands_on_a_page_that_the_map_names_it_for(name: str) -> None:
    """Goal: who meets a name finds its equations. Method: the map's line with the name, and the page it links."""
    lines = [line for line in MAP.read_text().splitlines() if line.startswith("| [") and f"`{name}`" in line]
    assert lines, name
    for line in lines:
        page = re.search(r"\]\(([\w-]+\.md)\)", line)
        assert page is not None
        assert re.search(rf"\b{name}\b", (MAP.parent / page.group(1)).read_text()), f"{name}: {page.group(1)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_what_is_there(page: Path) -> None:
    missing = [link for link in links_of(page) if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_every_page_is_linked_from_the_map_and_every_picture_from_a_page() -> None:
    linked = {link for page in PAGES for link in links_of(page)}
    assert {page.name for page in PAGES} - {MAP.name} <= set(links_of(MAP))
    pictures = {f"pictures/{picture.name}" for picture in (MAP.parent / "pictures").iterdir()}
    assert pictures <= linked
