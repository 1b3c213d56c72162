"""Runs that do not depend on one another, as many at a time as there are processors."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Job = TypeVar("Job")


def in_parallel(measure: Callable[[Job], dict[str, Any]], jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Return what each job gives, in their order; each result is told by its "told" as it comes."""
    results = []
    with multiprocessing.get_context("fork").Pool() as pool:
        for result in pool.imap(measure, jobs, chunksize=1):
            print(f"  {result.pop('told')}", flush=True)
            results.append(result)
    return results
