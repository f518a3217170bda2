"""The small parts: ids, serialization, the allocator, placement, a simulated event."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from thornback.core import ids
from thornback.core.config import Config
from thornback.core.messages import NodeView, Strategy
from thornback.core.objects.allocator import Allocator
from thornback.core.scheduling.policies import place
from thornback.core.scheduling.request import PlacementRequest
from thornback.core.serialization import dumps, dumps_arguments, loads
from thornback.simulator.engine import Engine, Flag

WORKER = ids.worker_id(bytes(ids.NODE_ID_SIZE), 1)
NODES = [
    NodeView(number.to_bytes(8, "big"), 1, f"node-{number}", {"CPU": 160_000}, {"CPU": 10_000 * (number % 17)}, {})
    for number in range(100)
]


def test_make_ids(benchmark: Any) -> None:
    """The ids of a task and of its result."""
    made = benchmark(lambda: ids.return_id(ids.task_id(WORKER, 12345), 0))
    assert ids.owner_of(made) == WORKER


def test_dumps_number(benchmark: Any) -> None:
    """The short cut for plain values."""
    assert benchmark(dumps, 7).size < 20


def test_dumps_arguments(benchmark: Any) -> None:
    """A number and a text as arguments."""
    assert benchmark(dumps_arguments, (7, "text"), {}).size < 50


def test_dumps_dictionary(benchmark: Any) -> None:
    """A value that needs the general way."""
    value = {"name": "text", "numbers": list(range(20))}
    assert benchmark(dumps, value).size > 20


def test_dumps_array(benchmark: Any) -> None:
    """An array of 8 MB: its bytes stay where they are."""
    array = np.ones(1_000_000)
    assert len(benchmark(dumps, array).buffers) == 1


def test_loads_array(benchmark: Any) -> None:
    """A view of 8 MB."""
    array = np.ones(1_000_000)
    serialized = dumps(array)
    assert benchmark(loads, serialized.data, serialized.buffers).size == array.size


def test_allocate_and_release(benchmark: Any) -> None:
    """Among a thousand blocks, of which every second one is free."""
    allocator = Allocator(1 << 30)
    blocks = [allocator.allocate(random.Random(number).randrange(64, 100_000)) for number in range(1000)]
    for offset in blocks[::2]:
        assert offset is not None
        allocator.release(offset)

    def work() -> None:
        offset = allocator.allocate(5000)
        assert offset is not None
        allocator.release(offset)

    benchmark(work)


def test_place_on_100_nodes(benchmark: Any) -> None:
    """The default policy."""
    stream, config, strategy = random.Random(1), Config(), Strategy()
    local = NODES[0].node_id
    chosen = benchmark(lambda: place(PlacementRequest({"CPU": 20_000}, local, strategy, config, stream), NODES))
    assert chosen is not None


def test_1000_simulated_events(benchmark: Any) -> None:
    """Each event schedules the next."""

    def work() -> None:
        engine, stop = Engine(random.Random(1)), Flag()
        left = [1000]

        def next_one() -> None:
            left[0] -= 1
            if left[0]:
                engine.call_after(10, next_one)
            else:
                stop.is_set = True

        engine.call_after(10, next_one)
        assert engine.pump(stop)

    benchmark(work)
