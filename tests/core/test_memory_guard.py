"""Which worker ends when memory is short, and what its caller is told."""

from __future__ import annotations

from typing import Any

from tests.core.objects.toy import NODE, ToyClock
from thornback.core.config import SECOND, Config
from thornback.core.ids import LeaseId, WorkerId, task_id, worker_id
from thornback.core.raylet.memory_guard import MemoryGuard, MemoryReport

MIB = 1 << 20
SHORT = MemoryReport(96 * MIB, 100 * MIB, {1: 10 * MIB, 2: 60 * MIB, 3: 20 * MIB})
ENOUGH = SHORT._replace(used=10 * MIB)


class ToyWorker:
    def __init__(self, number: int, name: str) -> None:
        self.worker_id = worker_id(NODE, number)
        self.pid = number
        self.name = name
        self.out_of_memory = False


class ToyRequest:
    def __init__(self, lease_id: LeaseId, retriable: bool, actor_id: bytes) -> None:
        self.lease_id = lease_id
        self.retriable = retriable
        self.actor_id = actor_id


class ToyGrant:
    def __init__(self, worker: ToyWorker, since: int, retriable: bool, actor_id: bytes) -> None:
        self.worker = worker
        self.since = since
        self.request = ToyRequest(task_id(worker.worker_id, 1), retriable, actor_id)


class Node:
    """As much of a raylet as the guard looks at."""

    def __init__(self) -> None:
        self.clock = ToyClock()
        self.workers: dict[WorkerId, ToyWorker] = {}
        self.table: dict[LeaseId, ToyGrant] = {}
        self.started: dict[WorkerId, int] = {}
        self.killed: list[tuple[str, str]] = []
        me: Any = self
        self.guard = MemoryGuard(me.clock, me, me, me, Config(memory_kill_pause=SECOND))

    def lease(self, number: int, name: str, retriable: bool = True, actor: bool = False) -> ToyWorker:
        worker = self.workers[worker_id(NODE, number)] = ToyWorker(number, name)
        grant = ToyGrant(worker, self.clock.now(), retriable, b"actor" if actor else b"")
        self.table[grant.request.lease_id] = grant
        self.started[worker.worker_id] = 0
        return worker

    def starts_a_task(self, worker: ToyWorker) -> None:
        self.started[worker.worker_id] += 1

    def started_through(self, identifier: WorkerId) -> int | None:
        return self.started.get(identifier)

    def kill(self, worker: ToyWorker, reason: str) -> None:
        self.killed.append((worker.name, reason))

    def pass_time(self) -> None:
        self.clock.advance(SECOND // 4)
        self.guard.check(ENOUGH)


def test_the_youngest_task_is_that_which_started_last_and_not_that_of_the_latest_lease() -> None:
    node = Node()
    old_lease = node.lease(1, "new task on an old lease")
    node.pass_time()
    node.lease(2, "old task on a later lease")
    node.pass_time()
    node.starts_a_task(old_lease)
    node.pass_time()
    node.guard.check(SHORT)
    assert [name for name, _ in node.killed] == ["new task on an old lease"]


def test_tasks_that_can_be_run_again_end_before_others_and_these_before_actors() -> None:
    node = Node()
    for number, (name, retriable, actor) in enumerate(
        [("retriable", True, False), ("not retriable", False, False), ("actor", True, True)]
    ):
        node.lease(number + 1, name, retriable, actor)
        node.pass_time()
    for _ in range(3):
        victim = node.guard.check(SHORT)
        assert victim is not None
        del node.workers[victim.worker_id]
        node.table = {key: grant for key, grant in node.table.items() if grant.worker.worker_id in node.workers}
        node.clock.advance(2 * SECOND)
    assert [name for name, _ in node.killed] == ["retriable", "not retriable", "actor"]


def test_the_reason_says_how_much_who_used() -> None:
    node = Node()
    node.lease(2, "large")
    node.pass_time()
    node.lease(1, "small")
    assert node.guard.check(SHORT) is not None
    ((name, reason),) = node.killed
    assert name == "small"
    assert "96 MiB of 100 MiB" in reason and "small (pid 1) used 10 MiB" in reason
    assert reason.index("large (pid 2) 60 MiB") < reason.index("small (pid 1) 10 MiB")


def test_one_ends_at_a_time_and_memory_gets_time_to_come_back() -> None:
    node = Node()
    for number in (1, 2):
        node.lease(number, f"task {number}")
    victim = node.guard.check(SHORT)
    assert victim is not None and node.guard.check(SHORT) is None, "the first has not ended yet"
    del node.workers[victim.worker_id]
    node.table = {key: grant for key, grant in node.table.items() if grant.worker.worker_id in node.workers}
    assert node.guard.check(SHORT) is None, "its memory may not be back yet"
    node.clock.advance(2 * SECOND)
    assert node.guard.check(SHORT) is not None
