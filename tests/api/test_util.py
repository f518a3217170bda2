"""Actor pools, queues and helpers for results, over actors that answer at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import thornback
from thornback import util
from thornback.util.queue import Empty, Full, Queue
from thornback.util.queue_actor import QueueActor

if TYPE_CHECKING:
    from tests.api.conftest import FakeProcess


class Doubler:
    """Its results exist at once."""

    @property
    def double(self) -> Any:
        return self

    def remote(self, value: int) -> Any:
        return thornback.put(2 * value)


def double(actor: Doubler, value: int) -> Any:
    return actor.double.remote(value)


def test_pool_maps_in_order(process: FakeProcess) -> None:
    pool = util.ActorPool([Doubler(), Doubler()])
    assert list(pool.map(double, range(7))) == [0, 2, 4, 6, 8, 10, 12]
    assert sorted(pool.map_unordered(double, range(7))) == [0, 2, 4, 6, 8, 10, 12]
    assert pool.has_free() and not pool.has_next()


def test_pool_gives_work_to_free_actors(process: FakeProcess) -> None:
    first, second = Doubler(), Doubler()
    pool = util.ActorPool([first])
    pool.submit(double, 1)
    pool.submit(double, 2)
    assert not pool.has_free() and pool.pop_idle() is None
    with pytest.raises(ValueError, match="already"):
        pool.push(first)
    pool.push(second)
    assert [pool.get_next(), pool.get_next_unordered()] == [2, 4]
    with pytest.raises(StopIteration):
        pool.get_next()
    assert {pool.pop_idle(), pool.pop_idle()} == {first, second}


def test_pool_times_out(process: FakeProcess) -> None:
    pool = util.ActorPool([Doubler()])
    pool.submit(double, 1)
    values, process.values = process.values, {}
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0)
    with pytest.raises(TimeoutError):
        pool.get_next_unordered(timeout=0)
    process.values = values
    assert pool.get_next(timeout=0) == 2


def test_results_as_they_come(process: FakeProcess) -> None:
    refs = [thornback.put(index) for index in range(5)]
    assert list(util.as_completed(refs, chunk_size=2)) == [0, 1, 2, 3, 4]
    assert list(util.as_completed(refs, yield_obj_refs=True)) == refs
    assert list(util.map_unordered(Doubler(), range(5), backpressure_size=2, chunk_size=1)) == [0, 2, 4, 6, 8]
    with pytest.raises(ValueError, match="chunk_size"):
        list(util.as_completed(refs, chunk_size=0))
    with pytest.raises(ValueError, match="backpressure_size"):
        list(util.map_unordered(Doubler(), [1], backpressure_size=1))


def test_the_actor_of_a_queue() -> None:
    async def program() -> None:
        actor = QueueActor(2)
        assert await actor.get(0) == ()
        assert await actor.get(0.001) == ()
        assert await actor.put(None, 0) and await actor.put(2, None)
        assert not await actor.put(3, 0) and not await actor.put(3, 0.001)
        assert await actor.qsize() == 2
        assert not await actor.put_batch([3])
        assert await actor.get_batch(3) is None
        assert await actor.get(None) == (None,)
        assert await actor.put_batch([3])
        assert await actor.get_batch(2) == [2, 3]
        taker = asyncio.create_task(actor.get(None))
        await asyncio.sleep(0)
        await actor.put(4, None)
        assert await taker == (4,)

    asyncio.run(program())


def test_a_queue_translates_answers(process: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = []
    queue: Queue[int] = Queue(maxsize=3, actor_options={"num_cpus": 1})
    spec = process.calls[-1][1][0]
    assert spec.is_async and spec.resources == {"CPU": 10_000}
    monkeypatch.setattr(thornback, "get", lambda ref: answers.pop(0))
    answers += [False, (), (7,), None, [1, 2], 3]
    with pytest.raises(Full):
        queue.put(1)
    with pytest.raises(Empty):
        queue.get_nowait()
    assert process.calls[-1][1][2] == (0.0,)
    assert queue.get(timeout=2) == 7
    assert process.calls[-1][1][2] == (2,)
    with pytest.raises(Empty, match="fewer than 2"):
        queue.get_nowait_batch(2)
    assert queue.get_nowait_batch(2) == [1, 2]
    assert queue.full()
    for call in (lambda: queue.get(timeout=-1), lambda: queue.get_nowait_batch(-1)):
        with pytest.raises(ValueError, match="at least 0"):
            call()
