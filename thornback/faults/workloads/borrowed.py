"""References that are passed on from process to process after their owner's program has let go of them."""

from __future__ import annotations

import time
import uuid
from typing import Any

import numpy as np

import thornback as ray
from thornback.exceptions import ObjectReconstructionFailedError, OwnerDiedError
from thornback.faults.workloads.checks import check, check_equal, outcome, outcomes

LENGTH = 20_000
GONE = (OwnerDiedError, ObjectReconstructionFailedError)
"""What the readers of an object may get when its owner, or the only node that had it, has died."""


def array(number: int) -> np.ndarray:
    """A large value that tells its number."""
    return np.arange(LENGTH, dtype=np.int64) * 7 + number


def number_of(data: np.ndarray) -> int:
    """The number of :func:`array`, or -1 if the bytes are others."""
    number = int(data[0])
    return number if len(data) == LENGTH and np.array_equal(data, array(number)) else -1


@ray.remote(max_retries=-1)
def made(number: int, seconds: float = 0.03) -> np.ndarray:
    """A result that can be made again."""
    time.sleep(seconds)
    return array(number)


@ray.remote(max_retries=-1)
def pass_on(refs: list[Any], hops: int) -> list[int]:
    """The last of a chain of tasks reads the objects."""
    time.sleep(0.03)
    if hops == 0:
        return [number_of(data) for data in ray.get(refs)]
    return ray.get(pass_on.remote(refs, hops - 1))


@ray.remote(max_retries=-1)
def hand_back(refs: list[Any]) -> list[Any]:
    """Returns what it got, nested once more."""
    time.sleep(0.02)
    return [refs]


@ray.remote(max_retries=-1)
def own_two(number: int) -> list[Any]:
    """References to objects that this worker owns: they live as long as it does."""
    time.sleep(0.03)
    return [ray.put(array(number)), made.remote(number)]


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Keeper:
    """Keeps references for others, until it dies."""

    def __init__(self) -> None:
        self.incarnation = uuid.uuid4().hex
        self.kept: dict[int, Any] = {}

    def keep(self, number: int, refs: list[Any]) -> str:
        """Take a reference over."""
        self.kept[number] = refs[0]
        return self.incarnation

    def give(self, number: int) -> tuple[str, list[Any]]:
        """Hand the reference out, nested."""
        return self.incarnation, [self.kept[number]] if number in self.kept else []

    def read(self, number: int) -> tuple[str, int]:
        """Read the object here; -2 if it is not kept."""
        return self.incarnation, number_of(ray.get(self.kept[number])) if number in self.kept else -2


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Maker:
    """Makes objects, and forgets them."""

    def __init__(self) -> None:
        self.incarnation = uuid.uuid4().hex

    def identity(self) -> str:
        """Which incarnation it is."""
        return self.incarnation

    def make(self, number: int) -> list[Any]:
        """A new object, which this process owns."""
        return [ray.put(array(number)) if number % 2 else made.remote(number)]


def chains(objects: int, hops: int) -> None:
    """Down chains of tasks, several for each object, while the program keeps no reference of its own."""
    refs = [ray.put(array(number)) if number % 2 else made.remote(number, 0.3) for number in range(objects)]
    chained = [pass_on.remote([ref], hops) for ref in refs for _ in range(3)]
    returned = [hand_back.remote([ref]) for ref in refs]
    del refs
    expected = [[number] for number in range(objects) for _ in range(3)]
    check_equal("the numbers read at the ends of the chains", ray.get(chained), expected)
    time.sleep(0.5)
    for number, ref in enumerate(returned):
        ((inner,),) = ray.get(ref)
        check_equal("the number read through a reference that came back", number_of(ray.get(inner)), number)


def keepers(objects: int) -> None:
    """Kept by actors, and read there and here."""
    actors = [Keeper.remote() for _ in range(3)]
    keeping = {}
    for number in range(objects):
        ref = ray.put(array(number)) if number % 2 else made.remote(number)
        keeping[number] = actors[number % 3].keep.remote(number, [ref])
        del ref
    known = {number: ray.get(ref) for number, ref in keeping.items()}
    time.sleep(1)
    for number, incarnation in known.items():
        present, found = ray.get(actors[number % 3].read.remote(number))
        if present == incarnation:
            check_equal(f"the number of the object that keeper {number % 3} reads", found, number)
        present, refs = ray.get(actors[number % 3].give.remote(number))
        check(refs or present != incarnation, f"keeper {number % 3} must still have object {number}")
        if refs:
            check_equal("the number of the object that a keeper gave out", number_of(ray.get(refs[0])), number)


def owned_by_workers(objects: int) -> None:
    """Owned by workers that may die, and the objects with them."""
    outer = [own_two.remote(number) for number in range(objects)]
    time.sleep(0.5)
    for number, ref in enumerate(outer):
        for inner in ray.get(ref):
            found = outcome(f"object {number} of a worker", inner, GONE)
            if isinstance(found, np.ndarray):
                check_equal("the number of an object of a worker", number_of(found), number)


def owned_by_an_actor(objects: int) -> None:
    """Owned by an actor that forgets them at once, handed through another actor to tasks that read them."""
    maker, keeper = Maker.remote(), Keeper.remote()
    first = ray.get(maker.identity.remote())
    for number in range(objects):
        ray.get(keeper.keep.remote(number, ray.get(maker.make.remote(number))))
    reading = []
    for number in range(objects):
        _, refs = ray.get(keeper.give.remote(number))
        reading += [pass_on.remote(refs, 1)] if refs else []
        del refs
    found = outcomes("an object of an actor, read by a task,", reading, GONE)
    same = ray.get(maker.identity.remote()) == first
    for result in found:
        check(not same or isinstance(result, list), f"the owner of an object lives, but reading it gave {result!r}")
        check(not isinstance(result, list) or -1 not in result, "the bytes of an actor's object must not change")


def main(objects: int = 8, hops: int = 3) -> None:
    """All ways, one after the other."""
    ray.init(ignore_reinit_error=True)
    chains(objects, hops)
    keepers(objects)
    owned_by_workers(objects)
    owned_by_an_actor(objects)


if __name__ == "__main__":
    main()
