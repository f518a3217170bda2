"""Tasks that may run twice at the same time, some of which are stragglers: one result counts, and does not change."""

from __future__ import annotations

import random
import time

import thornback as ray
from thornback.faults.workloads.checks import check_equal

SIZE = 150_000


@ray.remote(max_retries=-1, speculative=True)
def work(number: int) -> tuple[int, bytes]:
    """Takes ten times longer now and then; its value is in shared memory."""
    time.sleep(1.0 if random.random() < 0.1 else 0.1)
    return number, bytes([number]) * SIZE


@ray.remote(max_retries=-1)
def first_byte(result: tuple[int, bytes]) -> bytes:
    """Reads the value elsewhere."""
    return result[1][:1]


def main() -> None:
    """Each result is read twice, here and by a task."""
    ray.init()
    refs = [work.remote(number) for number in range(60)]
    bytes_there = [first_byte.remote(ref) for ref in refs]
    for number, (ref, there) in enumerate(zip(refs, bytes_there, strict=True)):
        found, data = ray.get(ref)
        check_equal(f"the number of task {number}", found, number)
        check_equal(f"what another task reads of result {number}", ray.get(there), data[:1])


main()
