"""Which workers of a node are given to whom."""

from __future__ import annotations

from typing import Any

from tests.core.objects.toy import NODE, ToyClock, ToyTransport
from thornback.core.config import Config
from thornback.core.messages import RequestLease, Strategy
from thornback.core.ports import NoTrace, Ports
from thornback.core.raylet.pool import WorkerPool
from thornback.simulator.seeds import Streams

REQUEST = RequestLease(b"lease", b"holder", {}, Strategy(), 1, "", "task")


class NoProcesses:
    """Nothing starts, and nothing ends at once."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_args: None


def test_a_worker_that_is_being_ended_is_not_given_to_the_next() -> None:
    processes: Any = NoProcesses()
    ports = Ports(ToyClock(), Streams(1, b"pool"), ToyTransport(), NoTrace())
    pool = WorkerPool(NODE, ports, processes, Config(), 1, lambda: None)
    pool.start(1)
    (identifier,) = pool.workers
    pool.registered(identifier, 77)
    worker = pool.take(REQUEST)
    assert worker is not None
    pool.kill(worker, "memory is short")
    pool.give_back(worker)
    assert pool.take(REQUEST) is None
    assert pool.exited(identifier) is worker
