"""Tasks that wait for tasks of their own, to some depth, with generators among them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import thornback as ray
from thornback.faults.workloads.checks import check_equal


@ray.remote(max_retries=-1)
def tree(depth: int, fanout: int) -> int:
    """How many leaves there are below."""
    time.sleep(0.05)
    if depth == 0:
        return 1
    return sum(ray.get([tree.remote(depth - 1, fanout) for _ in range(fanout)]))


@ray.remote(max_retries=-1, num_returns="streaming")
def numbers(count: int, large: bool) -> Iterator[Any]:
    """The numbers below ``count``, some of them as large arrays."""
    for number in range(count):
        time.sleep(0.03)
        yield np.full(20_000, number) if large and number % 3 == 0 else number


@ray.remote(max_retries=-1)
def add_numbers(count: int, large: bool) -> int:
    """Consumes a generator of its own."""
    return sum(int(np.max(ray.get(ref))) for ref in numbers.remote(count, large))


@ray.remote(max_retries=-1)
def quick(number: int) -> int:
    """Takes no time, so that many of them are sent to a worker at a time; every tenth waits for another one."""
    return int(ray.get(quick.remote(number - 1))) + 1 if number % 10 == 9 else number


@ray.remote(max_retries=-1)
def first_of(depth: int) -> int:
    """Waits for the first of its subtasks only, and leaves the others running."""
    refs = [tree.remote(depth, 2) for _ in range(3)]
    ready, _ = ray.wait(refs, num_returns=1)
    return int(ray.get(ready[0]))


@ray.remote(max_retries=-1)
def shared(depth: int, data: list[Any]) -> int:
    """Passes an object of its caller's on to its subtasks."""
    time.sleep(0.03)
    if depth == 0:
        return int(ray.get(data[0]).sum())
    mine = ray.put(np.ones(20_000, dtype=np.int64))
    below = [shared.remote(depth - 1, data), shared.remote(depth - 1, [mine])]
    return sum(ray.get(below))


def main(depth: int = 3, fanout: int = 3, count: int = 12) -> None:
    """Everything at once; nothing may fail, since every task may be repeated."""
    ray.init(ignore_reinit_error=True)
    trees = [tree.remote(depth, fanout) for _ in range(2)]
    sums = [add_numbers.remote(count, large) for large in (False, True) for _ in range(2)]
    firsts = [first_of.remote(2) for _ in range(2)]
    many = [quick.remote(number) for number in range(200)]
    owned = ray.put(np.full(20_000, 2, dtype=np.int64))
    passed = [shared.remote(2, [owned]) for _ in range(2)]
    del owned
    check_equal("the leaves of the trees", ray.get(trees), [fanout**depth] * 2)
    check_equal("the sums of the generated numbers", ray.get(sums), [count * (count - 1) // 2] * 4)
    check_equal("the numbers of the quick tasks", ray.get(many), list(range(200)))
    check_equal("the leaves of the trees that were first", ray.get(firsts), [4, 4])
    check_equal("the sums of the shared objects", ray.get(passed), [20_000 * (2 + 1 + 1 + 1)] * 2)


if __name__ == "__main__":
    main()
