"""What Dask's workers run. They import this module, so it holds nothing else."""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

import numpy as np


def small() -> bytes:
    """A task that does nothing."""
    return b"ok"


def increment(number: int) -> int:
    """A step of the chain."""
    return number + 1


def count_values(values: list[object]) -> int:
    """A task with many arguments, which Dask takes as one list of futures."""
    return len(values)


def make_array(length: int, _number: int) -> np.ndarray:
    """Something to add up."""
    return np.ones(length)


def add_arrays(arrays: list[np.ndarray]) -> float:
    """The sum of all elements."""
    return float(np.add.reduce(arrays).sum())


def hold(path: str) -> None:
    """Keep a worker until ``path`` exists."""
    while not os.path.exists(path):
        time.sleep(0.01)


def fib(number: int) -> tuple[int, int]:
    """The tree of nested tasks, each of which leaves its worker while it waits."""
    distributed: Any = importlib.import_module("distributed")
    if number < 2:
        return number, 1
    with distributed.worker_client() as client:
        some = [client.submit(fib, number - 1, pure=False), client.submit(fib, number - 2, pure=False)]
        (left, first), (right, second) = client.gather(some)
    return left + right, first + second + 1
