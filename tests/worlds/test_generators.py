"""Tasks and methods that yield: their items become objects one by one."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy
import pytest

import thornback as ray
from thornback.exceptions import TaskError
from thornback.util.state import list_objects


def test_a_generator_streams_its_items_as_references(world: Any) -> None:
    @ray.remote
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    stream = count.remote(5)
    assert [ray.get(ref) for ref in stream] == [0, 1, 2, 3, 4]
    with pytest.raises(StopIteration):
        next(stream)


def test_items_can_be_taken_while_the_task_still_runs(world: Any) -> None:
    signal = world.signal()

    @ray.remote
    def two() -> Iterator[str]:
        yield "first"
        ray.get(signal.wait.remote())
        yield "second"

    stream = two.remote()
    assert ray.get(next(stream)) == "first"
    assert not stream.next_ready(), "the second item comes after the signal"
    signal.send.remote()
    assert ray.get(next(stream)) == "second"
    assert list(stream) == []
    assert stream.is_finished()


def test_an_empty_generator_has_no_items(world: Any) -> None:
    @ray.remote
    def empty() -> Iterator[int]:
        yield from ()

    assert list(empty.remote()) == []


def test_large_and_small_items_can_be_mixed(world: Any) -> None:
    @ray.remote
    def mixed() -> Iterator[Any]:
        for n in range(6):
            yield numpy.full(100_000, n) if n % 2 else n

    values = [ray.get(ref) for ref in mixed.remote()]
    assert [value if isinstance(value, int) else int(value[-1]) for value in values] == list(range(6))


def test_a_stream_of_many_items_keeps_their_order(world: Any) -> None:
    @ray.remote
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    assert ray.get(list(count.remote(1000))) == list(range(1000))


def test_items_are_objects_that_outlive_their_stream(world: Any) -> None:
    @ray.remote
    def make() -> Iterator[Any]:
        yield numpy.zeros(100_000)
        yield "small"

    @ray.remote
    def look(array: Any, text: str) -> Any:
        return len(array), text

    first, second = make.remote()
    assert ray.get(look.remote(first, second)) == (100_000, "small")


def test_an_error_in_the_middle_comes_after_the_items_before_it(world: Any) -> None:
    @ray.remote
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("no third")

    stream = broken.remote()
    assert [ray.get(next(stream)), ray.get(next(stream))] == [1, 2]
    with pytest.raises(ValueError, match="no third"):
        ray.get(next(stream))
    with pytest.raises(StopIteration):
        next(stream)


def test_completed_tells_when_a_stream_has_ended(world: Any) -> None:
    signal = world.signal()

    @ray.remote
    def wait_then(fail: bool) -> Iterator[int]:
        yield 1
        ray.get(signal.wait.remote())
        if fail:
            raise ValueError("at the end")

    good, bad = wait_then.remote(False), wait_then.remote(True)
    ready, _ = ray.wait([good.completed(), bad.completed()], timeout=0.1)
    assert not ready
    signal.send.remote()
    assert ray.get(good.completed()) is None
    with pytest.raises(ValueError, match="at the end"):
        ray.get(bad.completed())


def test_backpressure_stops_a_generator_that_nobody_reads(world: Any) -> None:
    counter = world.counter()

    @ray.remote(_generator_backpressure_num_objects=3)
    def count() -> Iterator[int]:
        for n in range(20):
            ray.get(counter.add.remote())
            yield n

    stream = count.remote()
    world.eventually(lambda: ray.get(counter.get.remote()) >= 3, "it makes three items before anybody reads")
    time.sleep(0.2)
    made = ray.get(counter.get.remote())
    assert made <= 4, f"nobody has taken an item, so 3 (and one begun) may be made, not {made}"
    assert ray.get(next(stream)) == 0
    assert ray.get(list(stream)) == list(range(1, 20))


def test_dropping_a_stream_stops_a_generator_under_backpressure(world: Any) -> None:
    counter, signal = world.counter(), world.signal()

    @ray.remote(_generator_backpressure_num_objects=2)
    def endless() -> Iterator[int]:
        try:
            n = 0
            while True:
                ray.get(counter.add.remote())
                yield n
                n += 1
        finally:
            signal.send.remote()

    stream = endless.remote()
    assert ray.get(next(stream)) == 0
    del stream
    ray.get(signal.wait.remote())
    assert ray.get(counter.get.remote()) <= 4


def test_a_dynamic_generator_returns_all_its_references_at_once(world: Any) -> None:
    @ray.remote(num_returns="dynamic")
    def split(n: int) -> Iterator[Any]:
        for part in range(n):
            yield numpy.full(50_000 * (part % 2) + 1, part)

    found = ray.get(split.remote(4))
    assert len(found) == 4
    assert [int(ray.get(ref)[-1]) for ref in found] == [0, 1, 2, 3]
    assert [int(array[0]) for array in ray.get(found)] == [0, 1, 2, 3]


def test_the_items_of_a_dynamic_generator_can_be_passed_on(world: Any) -> None:
    @ray.remote(num_returns="dynamic")
    def split() -> Iterator[int]:
        yield from range(3)

    @ray.remote
    def total(parts: Any) -> int:
        return sum(ray.get(list(parts)))

    assert ray.get(total.remote(split.remote())) == 3
    assert ray.get(total.remote(ray.get(split.remote()))) == 3


def test_an_error_in_a_dynamic_generator_fails_the_task(world: Any) -> None:
    @ray.remote(num_returns="dynamic")
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("no second")

    with pytest.raises(ValueError, match="no second"):
        ray.get(broken.remote())


def test_a_generator_with_a_number_of_returns_fills_them(world: Any) -> None:
    @ray.remote(num_returns=3)
    def three() -> Iterator[str]:
        yield from "abc"

    assert ray.get(three.remote()) == ["a", "b", "c"]


def test_a_function_that_returns_an_iterator_can_be_streamed(world: Any) -> None:
    @ray.remote(num_returns="streaming")
    def numbers() -> Any:
        return iter([1, 2, 3])

    assert [ray.get(ref) for ref in numbers.remote()] == [1, 2, 3]


def test_items_may_contain_references(world: Any) -> None:
    @ray.remote
    def wrap() -> Iterator[Any]:
        for n in range(3):
            yield [ray.put(n)]

    assert [ray.get(ray.get(ref)[0]) for ref in wrap.remote()] == [0, 1, 2]


def test_a_stream_goes_on_after_its_worker_died(world: Any) -> None:
    counter = world.counter()

    @ray.remote(max_retries=1)
    def fragile() -> Iterator[int]:
        for n in range(6):
            if n == 3 and ray.get(counter.add.remote()) == 1:
                os._exit(1)
            yield n

    assert ray.get(list(fragile.remote())) == list(range(6)), "each item once, though the first three were made twice"


def test_a_stream_whose_worker_died_for_good_ends_with_the_error(world: Any) -> None:
    @ray.remote(max_retries=0)
    def doomed() -> Iterator[int]:
        yield 1
        os._exit(1)

    refs = list(doomed.remote())
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(refs[-1])


def test_what_items_contain_goes_with_them_while_their_generator_runs_on(world: Any) -> None:
    gate = world.signal()

    @ray.remote(num_returns="streaming")
    def boxes() -> Iterator[Any]:
        for _ in range(10):
            yield [ray.put(bytes(200_000))]
        ray.get(gate.wait.remote())

    def large() -> list[Any]:
        return [row for row in list_objects() if row["size"] >= 200_000]

    stream = boxes.remote()
    world.eventually(lambda: len(large()) == 10, "each item keeps what it contains")
    for _ in range(10):
        ray.get(next(stream))
    world.eventually(lambda: len(large()) <= 1, "of what was taken and dropped the generator has at most the last")
    ray.get(gate.send.remote())


def test_an_actor_method_can_stream(world: Any) -> None:
    @ray.remote
    class Source:
        def __init__(self) -> None:
            self.made = 0

        def numbers(self, n: int) -> Iterator[int]:
            for _ in range(n):
                self.made += 1
                yield self.made

        def total(self) -> int:
            return self.made

    source = Source.remote()
    assert ray.get(list(source.numbers.remote(3))) == [1, 2, 3]
    assert ray.get(list(source.numbers.remote(2))) == [4, 5]
    assert ray.get(source.total.remote()) == 5


def test_an_async_generator_streams_from_an_async_actor(world: Any) -> None:
    @ray.remote
    class Source:
        async def numbers(self, n: int) -> AsyncIterator[int]:
            for number in range(n):
                await asyncio.sleep(0.001)
                yield number

        async def broken(self) -> AsyncIterator[int]:
            yield 1
            raise ValueError("async trouble")

    source = Source.remote()
    assert ray.get(list(source.numbers.remote(4))) == [0, 1, 2, 3]
    first, second = list(source.broken.remote())
    assert ray.get(first) == 1
    with pytest.raises(ValueError, match="async trouble"):
        ray.get(second)


def test_two_streams_of_one_async_actor_go_on_together(world: Any) -> None:
    signal = world.signal()

    @ray.remote
    class Source:
        async def numbers(self, name: str) -> AsyncIterator[str]:
            yield f"{name}1"
            await signal.wait.remote()
            yield f"{name}2"

    source = Source.remote()
    first, second = source.numbers.remote("a"), source.numbers.remote("b")
    assert [ray.get(next(first)), ray.get(next(second))] == ["a1", "b1"]
    signal.send.remote()
    assert [ray.get(next(second)), ray.get(next(first))] == ["b2", "a2"]


def test_a_stream_can_be_read_with_async_for(world: Any) -> None:
    @ray.remote
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    @ray.remote
    class Reader:
        async def read(self) -> list[int]:
            return [await ref async for ref in count.remote(5)]

    assert ray.get(Reader.remote().read.remote()) == [0, 1, 2, 3, 4]


def test_streaming_something_that_cannot_be_iterated_is_an_error(world: Any) -> None:
    @ray.remote(num_returns="streaming")
    def number() -> Any:
        return 5

    with pytest.raises(TaskError, match="not iterable"):
        for ref in number.remote():
            ray.get(ref)
