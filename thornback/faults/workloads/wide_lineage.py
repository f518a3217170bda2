"""Layers of large results, each made from several of the layer before: a node that dies takes parts of every layer."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import thornback as ray
from thornback.faults.workloads.checks import check_equal

LENGTH = 15_000


@ray.remote(max_retries=-1, scheduling_strategy="SPREAD")
def source(index: int) -> np.ndarray:
    """A result of the first layer."""
    time.sleep(0.05)
    return np.full(LENGTH, index + 1, dtype=np.int64)


@ray.remote(max_retries=-1, num_returns=2, scheduling_strategy="SPREAD")
def combine(left: np.ndarray, middle: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, int]:
    """A result of a later layer, and its sum."""
    time.sleep(0.05)
    result = (left + 2 * middle + 3 * right) % 1_000_003
    return result, int(result.sum())


def expected_layers(width: int, layers: int) -> list[list[int]]:
    """The numbers that the results of each layer consist of."""
    found = [[index + 1 for index in range(width)]]
    for _ in range(layers):
        last = found[-1]
        found.append([(last[i - 1] + 2 * last[i] + 3 * last[(i + 1) % width]) % 1_000_003 for i in range(width)])
    return found


def main(width: int = 8, layers: int = 4) -> None:
    """Make the layers, look at the last, and later at one in the middle that was dropped at its sources."""
    ray.init(ignore_reinit_error=True)
    refs: list[Any] = [source.remote(index) for index in range(width)]
    rows, sums = [refs], []
    for _ in range(layers):
        pairs = [combine.remote(refs[i - 1], refs[i], refs[(i + 1) % width]) for i in range(width)]
        refs = [pair[0] for pair in pairs]
        sums.append([pair[1] for pair in pairs])
        rows.append(refs)
    expected = expected_layers(width, layers)
    middle = rows[layers // 2]
    del rows[:-1], pairs
    for number, (found, values) in enumerate(zip(sums, expected[1:], strict=True), 1):
        check_equal(f"the sums of layer {number}", ray.get(found), [LENGTH * value for value in values])
    time.sleep(1.5)
    for title, row, values in (("the middle", middle, expected[layers // 2]), ("the last", refs, expected[layers])):
        for index, ref in enumerate(row):
            data = ray.get(ref)
            check_equal(f"result {index} of {title} layer", (len(data), set(data.tolist())), (LENGTH, {values[index]}))
        time.sleep(1)


if __name__ == "__main__":
    main()
