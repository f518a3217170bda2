"""Long chains of large results, most of which nobody keeps: what is lost must be made again from the beginning."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import thornback as ray
from thornback.exceptions import ObjectLostError, WorkerCrashedError
from thornback.faults.workloads.checks import check_equal, outcome

LENGTH = 20_000
"""Numbers in each result: too large to travel inside messages."""


@ray.remote(scheduling_strategy="SPREAD")
def extend(previous: np.ndarray | None, step: int) -> np.ndarray:
    """One link of a chain."""
    time.sleep(0.05)
    base = np.zeros(LENGTH, dtype=np.int64) if previous is None else previous
    return base * 3 + step


def expected(steps: int) -> int:
    """Any number of the result after so many steps."""
    value = 0
    for step in range(steps):
        value = value * 3 + step
    return value


def chain(link: Any, start: Any, first: int, steps: int) -> list[Any]:
    """References to the results of so many further steps."""
    refs = []
    for step in range(first, first + steps):
        start = link.remote(start, step)
        refs.append(start)
    return refs


def look(title: str, ref: Any, steps: int, errors: tuple[type[BaseException], ...]) -> None:
    """Compare one result."""
    found = outcome(title, ref, errors)
    if isinstance(found, np.ndarray):
        check_equal(f"{title}, first and last number", [found[0], found[-1]], [expected(steps)] * 2)


def follow(title: str, retries: int, depth: int, errors: tuple[type[BaseException], ...]) -> None:
    """Grow a chain, keep every fourth result, read them later, and grow it again from a middle one."""
    link = extend.options(max_retries=retries)
    refs = chain(link, None, 0, depth)
    kept = {steps: refs[steps - 1] for steps in range(4, depth + 1, 4)}
    del refs
    look(f"{title}: the end of the chain", kept[depth], depth, errors)
    time.sleep(1)
    for steps, ref in kept.items():
        look(f"{title}: the result of step {steps}", ref, steps, errors)
    time.sleep(1)
    middle = depth // 2
    again = chain(link, kept[middle], middle, 4)[-1]
    look(f"{title}: four steps from the middle", again, middle + 4, errors)


def main(depth: int = 16) -> None:
    """A chain that may be made again without limit, and one whose tasks may run twice."""
    ray.init(ignore_reinit_error=True)
    follow("unlimited retries", -1, depth, ())
    follow("one retry", 1, depth // 2, (WorkerCrashedError, ObjectLostError))


if __name__ == "__main__":
    main()
