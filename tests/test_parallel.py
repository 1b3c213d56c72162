"""Goal: processes that share the tests never start programs side by side, and the longest groups begin first.

Method: the scheduler is given nodes that note what they are asked for.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.parallel import GROUPS, GroupScheduling, group_of, in_order


class Node:
    """A process that runs nothing."""

    shutting_down = False
    gateway = SimpleNamespace(id="a process")

    def __init__(self) -> None:
        self.asked: list[int] = []

    def send_runtest_some(self, places: list[int]) -> None:
        self.asked += places

    def shutdown(self) -> None:
        self.shutting_down = True


def test_a_group_goes_to_one_process_whole_and_groups_begin_in_their_order() -> None:
    names = ["tests/golden/test_g.py::a", "tests/golden/test_g.py::b", "tests/models/test_kernels_x.py::a"]
    names += [f"tests/{folder}/test_p.py::{number}" for number in range(5) for folder in ("service", "chaos")]
    tests = [item.nodeid for item in in_order([SimpleNamespace(nodeid=name) for name in names])]  # type: ignore[misc]
    options = SimpleNamespace(loadscopereorder=True)
    config = SimpleNamespace(option=options, getvalue={"tx": ["2*popen"], "rsyncdir": []}.get)
    scheduling, first, second = GroupScheduling(config), Node(), Node()  # type: ignore[arg-type]
    for node in (first, second):
        scheduling.add_node(node)
        scheduling.add_node_collection(node, tests)
    scheduling.schedule()
    assert [tests[at] for at in first.asked] == names[3:]
    assert [tests[at] for at in second.asked] == [names[2], names[0]]
    scheduling.mark_test_complete(second, second.asked[0])
    scheduling.mark_test_complete(second, second.asked[1])
    assert [tests[at] for at in second.asked][2:] == [names[1]]


def test_what_needs_programs_or_starts_brokers_is_of_one_group(request: pytest.FixtureRequest) -> None:
    marked = {"browser", "chaos", "image", "kafka", "prometheus"}
    brokers = {"kafka", "kafka_bootstrap", "cluster", "compiled_models"}
    for item in request.session.items:
        needs = marked & {mark.name for mark in item.iter_markers()}
        needs |= brokers & set(getattr(item, "fixturenames", ()))
        assert not needs or group_of(item.nodeid) == next(iter(GROUPS)), item.nodeid
