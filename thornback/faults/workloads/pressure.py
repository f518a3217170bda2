"""More large objects than memory has room for: they are spilled and read back, and not one byte may change."""

from __future__ import annotations

import time
import zlib
from typing import Any

import numpy as np

import thornback as ray
from thornback.exceptions import ObjectReconstructionFailedError
from thornback.faults.workloads.checks import check, check_equal, outcome

MEMORY = 4 << 20
"""Bytes of shared memory of each simulated node."""
REAL_MEMORY = 80 << 20
"""Of a real one, which takes no less."""
NODE = {"cpus": 2, "object_store_memory": MEMORY}
ROOM = 13
"""About so many objects fit into a node."""


def content(number: int, size: int) -> np.ndarray:
    """The bytes of an object."""
    return (np.arange(size, dtype=np.uint32) * (2 * number + 1) >> 2).astype(np.uint8)


LOST = (ObjectReconstructionFailedError,)
CHECKSUMS: dict[tuple[int, int], int] = {}


def checksum(number: int, size: int) -> int:
    """CRC-32 of an object as it must be."""
    if (number, size) not in CHECKSUMS:
        CHECKSUMS[number, size] = zlib.crc32(content(number, size).tobytes())
    return CHECKSUMS[number, size]


def is_unchanged(number: int, data: np.ndarray) -> bool:
    """Whether these are the bytes of that object."""
    return zlib.crc32(data.tobytes()) == checksum(number, len(data))


@ray.remote(max_retries=-1)
def make(number: int, size: int) -> np.ndarray:
    """An object."""
    time.sleep(0.03)
    return content(number, size)


@ray.remote(max_retries=-1)
def check_both(first: int, one: np.ndarray, second: int, other: np.ndarray) -> list[bool]:
    """Reads two objects as arguments."""
    time.sleep(0.03)
    return [is_unchanged(first, one), is_unchanged(second, other)]


@ray.remote(max_retries=-1)
def read_all(numbers: list[int], refs: list[Any]) -> list[bool]:
    """Reads objects one after the other."""
    return [is_unchanged(number, ray.get(ref)) for number, ref in zip(numbers, refs, strict=True)]


def start() -> int:
    """Connect to a cluster with small stores; returns the size that objects should have, in bytes."""
    try:
        ray.init(ignore_reinit_error=True, object_store_memory=MEMORY)
        return MEMORY // ROOM
    except ValueError:
        ray.init(ignore_reinit_error=True, object_store_memory=REAL_MEMORY)
        return REAL_MEMORY // ROOM


def main(objects: int = 30, puts: int = 20) -> None:
    """Make and put more than fits, let tasks read it in pairs and one by one, and read it here.

    What was put cannot be made again when its file on disk is damaged; the results of tasks can.
    """
    size = start()
    refs = {number: make.remote(number, size) for number in range(objects)}
    for number in range(objects, objects + puts):
        refs[number] = ray.put(content(number, size))
    total = objects + puts
    pairs = [(number, (number * 7 + 3) % total) for number in range(total)]
    reading = [check_both.remote(one, refs[one], two, refs[two]) for one, two in pairs]
    inside = read_all.remote(list(range(0, objects, 5)), [refs[number] for number in range(0, objects, 5)])
    for (one, two), answer in zip(pairs, reading, strict=True):
        found = outcome(f"a task that reads {one} and {two}", answer, LOST if max(one, two) >= objects else ())
        unchanged = isinstance(found, BaseException) or found == [True, True]
        check(unchanged, f"objects {one} and {two} must be unchanged as arguments: {found!r}")
    for number, ref in refs.items():
        data = outcome(f"object {number}", ref, LOST if number >= objects else ())
        if isinstance(data, np.ndarray):
            check_equal(f"the checksum of object {number}", zlib.crc32(data.tobytes()), checksum(number, size))
    unharmed: list[bool] = ray.get(inside)
    check(all(unharmed), "objects must be unchanged when a task reads them one by one")


if __name__ == "__main__":
    main()
