"""A node store with a clock that a test moves, memory and disk of the simulator, and messages in lists."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from thornback.core.config import Config
from thornback.core.ids import WorkerId, worker_id
from thornback.core.objects.store import NodeStore
from thornback.core.ports import NoTrace, Ports
from thornback.simulator.memory import NodeMemory
from thornback.simulator.seeds import Streams
from thornback.simulator.spill_disk import SimulatedDisk, SpillFiles

NODE = b"\0\0\0\0\0\0\0\1"


class ToyTimer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class ToyClock:
    """Time passes when the test says so."""

    def __init__(self) -> None:
        self.time = 0
        self._count = 0
        self._timers: list[tuple[int, int, ToyTimer]] = []

    def now(self) -> int:
        return self.time

    def call_after(self, delay: int, call: Callable[[], None]) -> ToyTimer:
        self._count += 1
        timer = ToyTimer(call)
        heapq.heappush(self._timers, (self.time + delay, self._count, timer))
        return timer

    def advance(self, nanoseconds: int) -> None:
        end = self.time + nanoseconds
        while self._timers and self._timers[0][0] <= end:
            self.time, _, timer = heapq.heappop(self._timers)
            if timer.call is not None:
                timer.call()
        self.time = end


class ToyTransport:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []

    def send(self, to: bytes, message: Any) -> None:
        self.sent.append((to, message))

    def take(self) -> list[tuple[bytes, Any]]:
        sent, self.sent = self.sent, []
        return sent


class ToyNode:
    """One node with its store."""

    def __init__(self, capacity: int, config: Config | None = None, disk: bool = True) -> None:
        self.clock = ToyClock()
        self.transport = ToyTransport()
        self.memory = NodeMemory(capacity)
        self.files = SpillFiles()
        ports = Ports(self.clock, Streams(1, b"toy"), self.transport, NoTrace())
        port = SimulatedDisk(self.clock, self.memory, self.files) if disk else None
        self.store = NodeStore(NODE, ports, self.memory, config or Config(), port)


def process(number: int) -> WorkerId:
    return worker_id(NODE, number)
