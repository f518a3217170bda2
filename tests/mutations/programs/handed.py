"""References of a third process, handed from task to task: read twice at once, brought in vain, let go."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np

import thornback as ray
from thornback.exceptions import ActorError, ObjectReconstructionFailedError, OwnerDiedError, TaskCancelledError
from thornback.faults.workloads.checks import check_equal, outcome

GONE = (OwnerDiedError, ObjectReconstructionFailedError, ActorError)
"""What there may be instead of an object of an actor that has died."""


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Maker:
    """Owns what others hand on. It lives on when the program is over, and must not count on anybody then."""

    def make(self, number: int) -> list[Any]:
        """A new object."""
        return [ray.put(np.full(20_000, number))]


@ray.remote(max_retries=-1, num_cpus=0.5)
def hand_back(refs: list[Any], seconds: float) -> list[Any]:
    """Returns what it got, after a while."""
    time.sleep(seconds)
    return refs


@ray.remote(max_retries=-1, num_cpus=0.5)
def read(outer: list[Any]) -> list[int]:
    """Gets several values with the same reference inside at once, and the object itself."""
    return [int(ray.get(inner)[0]) for (inner,) in ray.get(outer)]


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Keeper:
    """Keeps a reference until it is fetched."""

    def __init__(self) -> None:
        self.kept: dict[int, Any] = {}

    def keep(self, number: int, refs: list[Any]) -> None:
        """Take it over."""
        self.kept[number] = refs

    def give(self, number: int) -> list[Any]:
        """Hand it out, and keep it no longer."""
        return self.kept.pop(number, [])


@ray.remote(max_retries=-1, num_cpus=0.5)
def fetch(keeper: Any, number: int) -> list[Any]:
    """What the keeper had."""
    return ray.get(keeper.give.remote(number))


def come_back(objects: int) -> None:
    """References that their owner has let go come back to it from a process that has them last."""
    keeper = Keeper.remote()
    for number in range(objects):
        ref = ray.put(np.full(20_000, number))
        ray.get(keeper.keep.remote(number, [ref]))
        del ref
        for back in ray.get(fetch.remote(keeper, number)):
            check_equal("what has come back", int(ray.get(back)[0]), number)


def main(objects: int = 12) -> None:
    """Every object in several ways, some of which are given up."""
    ray.init()
    maker = Maker.options(name="maker", lifetime="detached").remote()
    for number in range(objects):
        made = outcome("a new object", maker.make.remote(number), GONE)
        if isinstance(made, BaseException):
            continue
        outer = [hand_back.remote(made, 0.02 * index) for index in range(3)]
        given_up = [hand_back.remote(made, 0.02 * index) for index in range(4)]
        reading = [read.remote(outer) for _ in range(2)]
        hand_back.remote(made, 0.02)  # whose result nobody wants
        del made, outer
        time.sleep(random.uniform(0.0, 0.1))
        for ref in given_up:
            ray.cancel(ref)
        for ref in given_up:
            outcome("a task that was cancelled", ref, (TaskCancelledError, *GONE))
        for ref in reading:
            found = outcome("an object, read twice,", ref, GONE)
            if isinstance(found, list):
                check_equal("what was read", found, [number] * 3)
    come_back(objects)


main()
