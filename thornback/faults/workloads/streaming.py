"""Generators whose items are consumed slowly, by programs, tasks and actors; some are left before their end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import thornback as ray
from thornback.faults.workloads.checks import check_equal


def item(stream: int, index: int) -> np.ndarray | int:
    """Every fourth item is large."""
    number = stream * 1000 + index
    return np.full(16_000, number, dtype=np.int64) if index % 4 == 3 else number


def number_of(value: np.ndarray | int) -> int:
    """The number that an item stands for; -1 if it is damaged."""
    if isinstance(value, int):
        return value
    return int(value[0]) if len(value) == 16_000 and bool((value == value[0]).all()) else -1


@ray.remote(max_retries=-1, num_returns="streaming", num_cpus=0.5)
def produce(stream: int, count: int) -> Iterator[np.ndarray | int]:
    """The items of a stream, as fast as they are wanted."""
    for index in range(count):
        time.sleep(0.01)
        yield item(stream, index)


@ray.remote(num_cpus=0.5, max_restarts=-1, max_task_retries=-1)
class Source:
    """An actor with a method that generates."""

    @ray.method(num_returns="streaming")
    def items(self, stream: int, count: int) -> Iterator[np.ndarray | int]:
        """The items of a stream."""
        for index in range(count):
            time.sleep(0.01)
            yield item(stream, index)


def consume(stream: Any, pause: float, most: int) -> list[int]:
    """Numbers of the first items, taken slowly."""
    found: list[int] = []
    for ref in stream:
        time.sleep(pause)
        found.append(number_of(ray.get(ref)))
        if len(found) == most:
            break
    return found


@ray.remote(max_retries=-1, num_cpus=0.5)
def consume_own(stream: int, count: int, limit: int, pause: float) -> list[int]:
    """Makes a stream and consumes it."""
    return consume(produce.options(_generator_backpressure_num_objects=limit).remote(stream, count), pause, count)


def main(count: int = 24) -> None:
    """Streams with and without a limit on what is produced ahead."""
    ray.init(ignore_reinit_error=True)
    source = Source.remote()
    inside = {stream: consume_own.remote(stream, count, limit, 0.04) for stream, limit in enumerate((1, 3, -1))}
    free, limited = produce.remote(10, count), produce.options(_generator_backpressure_num_objects=2).remote(11, count)
    left = produce.options(_generator_backpressure_num_objects=2).remote(12, count)
    of_actor = source.items.remote(13, count)
    unread = produce.remote(14, count)
    kept = list(produce.remote(15, count))
    abandoned = produce.options(_generator_backpressure_num_objects=2).remote(16, count)
    taken = [next(abandoned) for _ in range(count // 2)]
    for stream, generator, most in ((10, free, count), (11, limited, count), (12, left, 5), (13, of_actor, count)):
        expected = [stream * 1000 + index for index in range(most)]
        check_equal(f"the first {most} items of stream {stream}", consume(generator, 0.03, most), expected)
    del left, generator, unread, abandoned
    for stream, ref in inside.items():
        expected = [stream * 1000 + index for index in range(count)]
        check_equal(f"the items of stream {stream}, consumed in a task", ray.get(ref), expected)
    for stream, refs in ((15, kept), (16, taken)):
        again = [number_of(value) for value in ray.get(refs)]
        expected = [stream * 1000 + index for index in range(len(refs))]
        check_equal(f"the items of stream {stream}, read late", again, expected)


if __name__ == "__main__":
    main()
