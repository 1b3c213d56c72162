"""The runbook is read in a hurry: each command, setting, panel and link in it is there."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer

from service.cli import app
from service.ports import Reason
from service.settings import Settings
from tests.deploy.files import DEPLOY, ROOT, RUNBOOK, panels, read_yaml

TEXT = RUNBOOK.read_text(encoding="utf-8")
HEADINGS = re.findall(r"(?m)^#+ (.+)$", TEXT)
COMPOSE = read_yaml(DEPLOY / "compose.yaml")
# `onward` as a program: at the start of a code span or after one of compose's services.
COMMANDS = sorted(
    {
        match.strip("` ")
        for match in re.findall(
            r"(?:`|worker )(?:onward )((?:[a-z][a-z-]*|--[a-z-]+)(?: (?:[a-z][a-z-]*|--[a-z-]+))*)", TEXT
        )
    }
    | set(re.findall(r"run --rm --no-deps worker ((?:[a-z-]+ ?)+)", TEXT))
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_runbook_exists_with_its_options(command: str) -> None:
    found: Any = typer.main.get_command(app)
    words = command.split()
    while words and hasattr(found, "commands"):
        assert words[0] in found.commands, command
        found = found.commands[words.pop(0)]
    options = {name for parameter in found.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= options


def test_the_runbook_names_commands() -> None:
    assert len(COMMANDS) >= 6


def test_every_setting_that_the_runbook_names_is_one() -> None:
    dotted = set(re.findall(r"`((?:[a-z_]+\.)+[a-z_]+)`", TEXT)) - {"max.message.bytes"}
    variables = {
        name.lower().replace("__", ".") for name in re.findall(r"\bONWARD_([A-Z_]+__[A-Z_]*[A-Z])\b", TEXT)
    }
    assert len(dotted | variables) > 10
    for name in dotted | variables:
        place: object = Settings()
        for part in name.split("."):
            assert hasattr(place, part), name
            place = getattr(place, part)


def test_every_variable_of_the_compose_file_that_the_runbook_sets_is_read_there() -> None:
    read = set(re.findall(r"\$\{(\w+):-", (DEPLOY / "compose.yaml").read_text()))
    shell = set(re.findall(r"\b([A-Z][A-Z_]+)=\S+ (?:[A-Z_]+=\S+ )*docker compose", TEXT))
    assert shell
    assert shell <= read
    assert set(re.findall(r"docker compose exec (\w+)", TEXT)) <= set(COMPOSE["services"])


def test_every_panel_that_the_runbook_quotes_is_on_the_dashboard() -> None:
    titles = {panel["title"] for panel in panels()}
    quoted = set(re.findall(r'"([A-Z][^"\n]+)"', TEXT.split("## Alerts")[1]))
    assert quoted
    assert quoted <= titles


def test_every_link_within_the_runbook_and_into_it_leads_somewhere() -> None:
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in HEADINGS}
    links = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert links <= anchors
    mentioned = (DEPLOY / "compose.yaml").read_text()
    named = set(re.findall(r'runbook\.md, "([^"]+)"', mentioned))
    assert named
    assert named <= set(HEADINGS)


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    table = TEXT.split("| reason |")[1].split("\n## ")[0]
    explained = [
        name
        for row in table.splitlines()[2:]
        if row
        for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])
    ]
    assert sorted(explained) == sorted(Reason)


def test_every_file_that_the_runbook_names_is_there() -> None:
    names = set(re.findall(r"\b(?:deploy|docs)/[\w/.-]*\w", TEXT)) - {
        "deploy/worker.env",
        "deploy/compose.digests.yaml",
    }
    assert names
    assert [name for name in names if not (ROOT / name).exists()] == []
