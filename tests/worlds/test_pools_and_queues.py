"""Tools for many actors and for passing items on: ``util.ActorPool`` and ``util.queue``."""

from __future__ import annotations

from typing import Any

import pytest

import thornback as ray
from thornback.util import ActorPool
from thornback.util.queue import Empty, Full, Queue


def workers(count: int) -> list[Any]:
    class Worker:
        def double(self, x: int) -> int:
            return 2 * x

        def check(self, x: int) -> int:
            if x == 2:
                raise ValueError("two")
            return x

    return [ray.remote(Worker).remote() for _ in range(count)]


def test_a_pool_maps_in_order(world: Any) -> None:
    pool = ActorPool(workers(3))
    assert list(pool.map(lambda actor, x: actor.double.remote(x), range(10))) == [2 * x for x in range(10)]


def test_a_pool_maps_in_the_order_of_completion(world: Any) -> None:
    pool = ActorPool(workers(2))
    assert sorted(pool.map_unordered(lambda actor, x: actor.double.remote(x), range(10))) == [2 * x for x in range(10)]


def test_a_pool_takes_work_one_by_one(world: Any) -> None:
    pool = ActorPool(workers(1))
    for x in range(3):
        pool.submit(lambda actor, value: actor.double.remote(value), x)
    assert not pool.has_free()
    assert [pool.get_next() for _ in range(3)] == [0, 2, 4]
    assert not pool.has_next() and pool.has_free()


def test_actors_can_leave_and_join_a_pool(world: Any) -> None:
    pool = ActorPool(workers(1))
    idle = pool.pop_idle()
    assert idle is not None and pool.pop_idle() is None
    pool.push(idle)
    assert list(pool.map(lambda actor, x: actor.double.remote(x), [1])) == [2]


def test_an_error_in_a_pool_is_raised_where_its_result_is_taken(world: Any) -> None:
    pool = ActorPool(workers(2))
    for x in range(4):
        pool.submit(lambda actor, value: actor.check.remote(value), x)
    assert [pool.get_next(), pool.get_next()] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        pool.get_next()
    assert pool.get_next() == 3


def test_a_queue_gives_items_in_order(world: Any) -> None:
    queue: Queue[int] = Queue()
    for x in range(10):
        queue.put(x)
    assert len(queue) == 10 and not queue.empty()
    assert [queue.get() for _ in range(10)] == list(range(10))
    assert queue.empty()


def test_a_queue_connects_tasks(world: Any) -> None:
    queue: Queue[int] = Queue(maxsize=3)

    @ray.remote
    def produce(queue: Any, count: int) -> None:
        for x in range(count):
            queue.put(x)

    @ray.remote
    def consume(queue: Any, count: int) -> list[int]:
        return [queue.get() for _ in range(count)]

    producing, consuming = produce.remote(queue, 20), consume.remote(queue, 20)
    assert ray.get(consuming) == list(range(20))
    ray.get(producing)


def test_a_full_queue_and_an_empty_one_say_so(world: Any) -> None:
    queue: Queue[int] = Queue(maxsize=1)
    with pytest.raises(Empty):
        queue.get_nowait()
    with pytest.raises(Empty):
        queue.get(timeout=0.1)
    queue.put(1)
    assert queue.full()
    with pytest.raises(Full):
        queue.put_nowait(2)
    with pytest.raises(Full):
        queue.put(2, timeout=0.1)
    assert queue.get() == 1


def test_batches_are_taken_whole_or_not_at_all(world: Any) -> None:
    queue: Queue[int] = Queue(maxsize=4)
    queue.put_nowait_batch([1, 2, 3])
    with pytest.raises(Full):
        queue.put_nowait_batch([4, 5])
    assert queue.size() == 3
    with pytest.raises(Empty):
        queue.get_nowait_batch(4)
    assert queue.get_nowait_batch(3) == [1, 2, 3]


def test_a_queue_can_be_used_in_coroutines(world: Any) -> None:
    queue: Queue[int] = Queue()

    @ray.remote
    class Pair:
        async def swap(self, queue: Any) -> int:
            await queue.put_async(5)
            return int(await queue.get_async())

    assert ray.get(Pair.remote().swap.remote(queue)) == 5


def test_a_queue_that_was_shut_down_is_gone(world: Any) -> None:
    queue: Queue[int] = Queue()
    queue.put(1)
    queue.shutdown()
    with pytest.raises(ray.exceptions.RayActorError):
        queue.get()


def test_results_can_be_taken_as_they_are_completed(world: Any) -> None:
    @ray.remote
    def work(x: int) -> int:
        return x

    assert sorted(ray.util.as_completed([work.remote(x) for x in range(20)])) == list(range(20))
    assert sorted(ray.util.map_unordered(work, range(20))) == list(range(20))


def test_serializers_of_ones_own_are_used_in_both_directions(world: Any) -> None:
    import threading

    class Guarded:
        def __init__(self, value: int) -> None:
            self.value, self.lock = value, threading.Lock()

    ray.util.register_serializer(
        Guarded, serializer=lambda guarded: guarded.value, deserializer=lambda value: Guarded(value)
    )
    try:

        @ray.remote
        def read(guarded: Any) -> int:
            return int(guarded.value)

        assert ray.get(read.remote(Guarded(5))) == 5
        assert ray.get(ray.put(Guarded(6))).value == 6
    finally:
        ray.util.deregister_serializer(Guarded)
