"""Goal: the map of algorithms in docs/ says what the code does.

Method: its table of rules and cells is compared with what each rule accepts and declares; its example is run.
"""

from __future__ import annotations

import re
from pathlib import Path

from models.cells import CELLS
from models.rules import RULES

MAP = Path(__file__).parent.parent / "docs" / "algorithms" / "README.md"


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
