"""A GCS by itself: a disk, a clock, and others who speak with it."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any

from thornback.core.config import Config
from thornback.core.ids import NODE_ID_SIZE, Address, task_id, worker_id
from thornback.core.messages import (
    ActorSpec,
    FunctionDefinition,
    GroupSpec,
    JobStarted,
    Message,
    NodeView,
    RegisterNode,
    StartJob,
    Strategy,
    Value,
)
from thornback.core.node import GcsCore
from thornback.core.ports import NoTrace, Ports, Write

HEAD, OTHER = (number.to_bytes(NODE_ID_SIZE, "big") for number in (1, 2))
DRIVER, WORKER, STRANGER = worker_id(HEAD, 1), worker_id(HEAD, 2), worker_id(OTHER, 1)


class Cluster:
    """A GCS, its disk, and what it says to everybody else."""

    def __init__(self) -> None:
        self.now = 0
        self.rows: dict[tuple[str, bytes], bytes | None] = {}
        self.sent: list[tuple[Address, Message]] = []
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._count = count()
        self.restart()

    def restart(self) -> None:
        """Another GCS takes over what is durable."""
        self._timers.clear()
        clock = SimpleNamespace(now=lambda: self.now, call_after=self._call_after)
        numbers = SimpleNamespace(stream=random.Random)
        transport = SimpleNamespace(send=lambda to, message: self.sent.append((to, message)))
        store = SimpleNamespace(commit=self._commit, load=self._load)
        ports: Any = Ports(clock, numbers, transport, NoTrace())
        self.gcs = GcsCore(ports, store, Config())
        self.gcs.start()
        self.gcs.end_turn()

    def _call_after(self, delay: int, call: Callable[[], None]) -> Any:
        number = next(self._count)
        heapq.heappush(self._timers, (self.now + delay, number, call))
        return SimpleNamespace(cancel=lambda: self._cancel(number))

    def _cancel(self, number: int) -> None:
        self._timers = [timer for timer in self._timers if timer[1] != number]
        heapq.heapify(self._timers)

    def _commit(self, writes: Sequence[Write], then: Callable[[], None]) -> None:
        for write in writes:
            self.rows[write.table, write.key] = write.value
        then()

    def _load(self) -> list[Write]:
        return [Write(table, key, value) for (table, key), value in self.rows.items() if value is not None]

    def hears(self, sender: Address, *messages: Message) -> list[Message]:
        """One turn; what the sender is told in it."""
        self.sent.clear()
        for message in messages:
            self.gcs.receive(sender, message)
        self.gcs.end_turn()
        return [message for to, message in self.sent if to == sender]

    def register(self, node: Address) -> None:
        """A node with two CPUs."""
        self.hears(
            node, RegisterNode(NodeView(node, 1, node.hex(), {"CPU": 20_000}, {"CPU": 20_000}, {}), node == HEAD)
        )

    def pass_time(self, seconds: float, alive: Address) -> None:
        """Time passes, in which only one node is heard of."""
        end = self.now + int(seconds * 1e9)
        while self._timers and self._timers[0][0] <= end:
            self.now, _, call = heapq.heappop(self._timers)
            self.register(alive)
            call()
            self.gcs.end_turn()
        self.now = end

    def start_job(self, driver: Address) -> int:
        """A driver connects; the number of its job."""
        (answer,) = self.hears(driver, StartJob("n", "", {}))
        assert isinstance(answer, JobStarted)
        return answer.job_id


def group(job_id: int, actor_id: bytes = b"") -> GroupSpec:
    return GroupSpec(task_id(WORKER, 7), "", "n", "PACK", ({"CPU": 10_000},), (), False, job_id, actor_id)


def actor(owner: Address, job_id: int) -> ActorSpec:
    return ActorSpec(
        actor_id=task_id(owner, 9),
        definition=FunctionDefinition(b"f", "A", b""),
        arguments=Value(b""),
        dependencies=(),
        name="",
        namespace="n",
        detached=False,
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=0,
        concurrency_groups={},
        is_async=False,
        out_of_order=False,
        max_pending_calls=-1,
        resources={},
        placement_resources={"CPU": 10_000},
        strategy=Strategy(),
        job_id=job_id,
        runtime_env="",
        handle=b"",
    )
