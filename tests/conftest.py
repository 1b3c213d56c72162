"""What holds for every test: one BLAS thread, reproducible examples, and programs that may be missing."""

from __future__ import annotations

import os

# Before anything imports numpy, which reads these once. One thread, as in the worker: sums in one order, so the
# bits are the same from run to run, and the processes that tests start do not fight over the cores.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import pytest
from hypothesis import HealthCheck, settings

from tests.prerequisites import PROGRAMS, require_programs_of

pytest_plugins = ["tests.kafka_broker"]

# The same examples every time: a red run is red again. No deadline: cores are shared, and the first call compiles.
settings.register_profile(
    "ci", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
# To look for what the fixed examples miss: ONWARD_HYPOTHESIS=explore make test ARGS=tests/properties
settings.register_profile("explore", settings.get_profile("ci"), derandomize=False, max_examples=10_000)
settings.load_profile(os.environ.get("ONWARD_HYPOTHESIS", "ci"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Say how the tests are shared, where several processes run them."""
    from tests.parallel import GroupScheduling

    return GroupScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put first what is to begin first, where several processes run the tests; a run in one is left as it is."""
    if hasattr(config, "workerinput"):
        from tests.parallel import in_order

        items[:] = in_order(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail where nothing may be skipped, a marked test whose programs are missing."""
    for marker in PROGRAMS:
        if item.get_closest_marker(marker) is not None:
            require_programs_of(marker)


@pytest.fixture(scope="session")
def compiled_models() -> None:
    """Fill the cache of compiled functions, which every worker process reads: else each compiles while a test waits for it."""
    from models.bank import Bank
    from models.specification import Specification

    Bank(Specification(), capacity=1).warm()
