"""A shuffle of large blocks: every mapper makes one for every reducer, and each must arrive as it was made."""

from __future__ import annotations

import time
import zlib

import numpy as np

import thornback as ray
from thornback.faults.workloads.checks import check, check_equal


def block(mapper: int, reducer: int, size: int) -> np.ndarray:
    """The bytes that a mapper makes for a reducer."""
    step = 2 * (mapper * 31 + reducer) + 1
    return (np.arange(size, dtype=np.uint32) * step >> 3).astype(np.uint8)


def checksum(data: np.ndarray) -> int:
    """CRC-32 of a block."""
    return zlib.crc32(data.tobytes())


@ray.remote(max_retries=-1)
def partition(mapper: int, reducers: int, size: int) -> list[np.ndarray]:
    """The blocks of one mapper."""
    time.sleep(0.1)
    return [block(mapper, reducer, size) for reducer in range(reducers)]


@ray.remote(max_retries=-1)
def merge(*blocks: np.ndarray) -> list[int]:
    """Checksums of what came to one reducer."""
    time.sleep(0.1)
    return [checksum(data) for data in blocks]


@ray.remote(max_retries=-1)
def concatenate(*blocks: np.ndarray) -> np.ndarray:
    """What came to one reducer, as one large object."""
    time.sleep(0.1)
    return np.concatenate(blocks)


def main(mappers: int = 6, reducers: int = 4, size: int = 120_000, rounds: int = 2) -> None:
    """Shuffle, look at the checksums, then read the reducers' own results, which may have been lost meanwhile."""
    ray.init(ignore_reinit_error=True)
    expected = [[checksum(block(mapper, reducer, size)) for mapper in range(mappers)] for reducer in range(reducers)]
    for turn in range(rounds):
        made = [partition.options(num_returns=reducers).remote(mapper, reducers, size) for mapper in range(mappers)]
        columns = list(zip(*made, strict=True))
        merged = [concatenate.remote(*column) for column in columns]
        sums = ray.get([merge.remote(*column) for column in columns])
        del made, columns
        for reducer, found in enumerate(sums):
            check_equal(f"round {turn}: the checksums of reducer {reducer}, by mapper", found, expected[reducer])
        time.sleep(0.5)
        for reducer, ref in enumerate(merged):
            data = ray.get(ref)
            check(len(data) == mappers * size, f"round {turn}: reducer {reducer} must get {mappers * size} bytes")
            parts = [checksum(data[start : start + size]) for start in range(0, len(data), size)]
            check_equal(f"round {turn}: the checksums inside reducer {reducer}'s result", parts, expected[reducer])


if __name__ == "__main__":
    main()
