"""More is read at a time than memory has room for: what finds none goes to files of its own, unchanged."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import thornback as ray
from thornback.faults.workloads import pressure
from thornback.faults.workloads.checks import check
from thornback.faults.workloads.pressure import ROOM, content, is_unchanged, make

NODE = pressure.NODE
ARGUMENTS = 9
"""Of a task: together they fill most of a node's memory."""
LARGE = 5
"""How many times as large its result is as each of them."""


@ray.remote(max_retries=-1)
def make_beside(number: int, size: int, first: int, *values: np.ndarray) -> np.ndarray:
    """An object that does not fit into memory beside the arguments, which are being read until it is written."""
    for index, value in enumerate(values):
        check(is_unchanged(first + index, value), f"object {first + index} must be unchanged as an argument")
    time.sleep(0.03)
    return content(number, size)


def main(tasks: int = 5, objects: int = 2 * ROOM) -> None:
    """Make results beside arguments, then read all of it here at the same time."""
    size = pressure.start()
    refs: list[Any] = [make.remote(number, size) for number in range(objects)]
    for task in range(tasks):
        first = task * 3 % (objects - ARGUMENTS)
        refs.append(make_beside.remote(objects + task, LARGE * size, first, *refs[first : first + ARGUMENTS]))
    views = [ray.get(ref) for ref in refs]
    for number, view in enumerate(views):
        check(is_unchanged(number, view), f"object {number} must be unchanged while all others are read too")


if __name__ == "__main__":
    main()
