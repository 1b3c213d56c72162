"""How pytest-xdist's processes share the tests: what keeps together, and what begins first."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

GROUPS = {
    # Real processes, one broker a session and deadlines: one after another, in one of the processes.
    "processes": ("tests/chaos/", "tests/deploy/", "tests/service/"),
    # What is compiled stays in the process that compiled it.
    "kernels": ("tests/models/test_kernels",),
    # They share what the oracles say: tests/conformance/references.py.
    "references": ("tests/conformance/test_forgetting.py", "tests/conformance/test_rules.py"),
    "extending": ("tests/test_extending.py",),
}
"""Names of groups and how the names of their tests begin. They begin in this order, before the tests that belong to none and
go one by one to whichever process is free: so the longest is never the last, and the arithmetic goes on beside it."""


def group_of(test: str) -> str | None:
    """Return the group of a test, by its node's name."""
    return next((group for group, beginnings in GROUPS.items() if test.startswith(beginnings)), None)


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests with the groups first, else in the order in which they were found."""
    places = {group: place for place, group in enumerate(GROUPS)}
    return sorted(items, key=lambda item: places.get(group_of(item.nodeid) or "", len(places)))


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it comes without types
    """Hand out groups whole and other tests one by one, in the order of `in_order`.

    pytest-xdist's own way, marks of a group that it adds to a node's name, has no effect with pytest 9.
    """

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # it would put what has most tests first

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid) or nodeid
