"""What one owner makes of answers that come late, twice or not at all: a driver without a world around it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.core.objects.toy import ToyClock
from thornback.core import ids
from thornback.core.config import SECOND, Config
from thornback.core.executor import functions
from thornback.core.ids import Address, NodeId, ObjectId, WorkerId, return_id
from thornback.core.messages import (
    Content,
    Death,
    Deaths,
    FreeObjects,
    GetObject,
    LeaseGranted,
    LeaseLost,
    Message,
    ObjectContent,
    ObjectUnavailable,
    PushTasks,
    RequestLease,
    Stored,
    Strategy,
    TaskReplies,
    TaskReply,
    TaskTemplate,
)
from thornback.core.owner import leases, scheduling_classes
from thornback.core.owner.task import DONE, PUSHED, Task
from thornback.core.ports import NoTrace, Ports
from thornback.core.serialization import define_function, dumps_arguments
from thornback.core.worker import WorkerCore
from thornback.simulator.seeds import Streams

HERE, THERE, AWAY = (number.to_bytes(ids.NODE_ID_SIZE, "big") for number in (1, 2, 3))
DRIVER = ids.worker_id(HERE, 1)
DEFINITION = define_function(len, "len")
TEMPLATE = TaskTemplate(
    b"template",
    DEFINITION.function_id,
    "len",
    1,
    3,
    False,
    {"CPU": 10_000},
    Strategy(),
    0,
    -1,
    job_id=1,
    runtime_env="",
)
NOTHING = dumps_arguments((), {}).to_value()


class Outbox:
    def __init__(self) -> None:
        self.sent: list[tuple[Address, Any]] = []

    def send(self, to: Address, message: Message) -> None:
        self.sent.append((to, message))


class Memory:
    capacity = 1 << 30


class Driver:
    """The core of a driver; the test plays all others."""

    def __init__(self) -> None:
        self.clock, self.outbox = ToyClock(), Outbox()
        memory: Any = Memory()
        ports = Ports(self.clock, Streams(1, b"test"), self.outbox, NoTrace())
        self.core = WorkerCore(DRIVER, ports, memory, None, Config(), 1)
        self.owner = self.core.owner
        self.workers = 1

    def take(self, kind: type[Message]) -> list[tuple[Address, Any]]:
        """What was sent of this kind since the last look."""
        self.core.end_turn()
        found = [(to, message) for to, message in self.outbox.sent if type(message) is kind]
        self.outbox.sent = [(to, message) for to, message in self.outbox.sent if type(message) is not kind]
        return found

    def submit(self, *dependencies: ObjectId, template: TaskTemplate = TEMPLATE) -> Task:
        return self.owner.tasks.submit(template, DEFINITION, NOTHING, dependencies, b"")

    def run(self, task: Task) -> WorkerId:
        """Give it a worker of the node that it prefers."""
        for node, request in self.take(RequestLease):
            self.workers += 1
            self.core.receive(node, LeaseGranted(request.lease_id, ids.worker_id(node, self.workers)))
        assert self.take(PushTasks) and task.state == PUSHED
        return task.worker

    def reply(
        self, task: Task, *results: Content, worker: Address = b"", source: bytes = b"", attempt: int = -1
    ) -> None:
        """A worker, by default the one that has it, says that the task has ended."""
        number = task.attempt if attempt < 0 else attempt
        message = TaskReplies(source or task.lease_id, (TaskReply(task.task_id, number, results, None),))
        self.core.receive(worker or task.worker, message)
        self.core.end_turn()

    def succeeds(self, task: Task, node: NodeId) -> None:
        """It runs, and its result is in the memory of a node."""
        self.run(task)
        self.reply(task, Stored(1000, (node,)))
        assert task.state == DONE

    def node_dies(self, node: NodeId) -> None:
        self.core.receive(HERE, Deaths((Death(node, "it was cut off"),)))
        self.core.end_turn()

    def drop(self, task: Task) -> None:
        """The program forgets the result."""
        self.owner.dropped.append(return_id(task.task_id, 0))
        self.core.end_turn()

    def freed(self) -> list[tuple[Address, ObjectId]]:
        return [(node, object_id) for node, message in self.take(FreeObjects) for object_id in message.object_ids]

    def backoff_passes(self) -> None:
        self.clock.advance(SECOND)
        self.core.end_turn()


@pytest.fixture
def driver() -> Driver:
    return Driver()


def test_a_result_that_nobody_wants_any_more_when_it_is_made_again_is_freed(driver: Driver) -> None:
    first = driver.submit()
    driver.succeeds(first, AWAY)
    second = driver.submit(return_id(first.task_id, 0))
    driver.succeeds(second, THERE)
    driver.node_dies(AWAY)
    driver.run(first)
    driver.drop(first)
    driver.freed()
    driver.reply(first, Stored(1000, (THERE,)))
    assert driver.freed() == [(THERE, return_id(first.task_id, 0))]
    driver.drop(second)
    assert not driver.owner.references.table


def test_the_late_result_of_a_lost_worker_takes_no_copy_from_the_run_that_counts(driver: Driver) -> None:
    task = driver.submit()
    worker, lease = driver.run(task), task.lease_id
    driver.core.receive(HERE, LeaseLost(lease, worker, None, "killed"))
    driver.backoff_passes()
    driver.run(task)
    stored = Stored(1000, (THERE,))
    driver.reply(task, stored, worker=worker, source=lease, attempt=0)
    assert driver.freed() == [], "the second run may have found the first one's result there, which is its own now"
    driver.reply(task, stored)
    assert driver.owner.references.table[return_id(task.task_id, 0)].content == stored
    driver.drop(task)
    assert (THERE, return_id(task.task_id, 0)) in driver.freed()


def test_a_result_that_is_known_keeps_its_copies_when_its_task_runs_again_for_another(driver: Driver) -> None:
    task = driver.submit(template=msgspec.structs.replace(TEMPLATE, key=b"two", num_returns=2))
    driver.run(task)
    driver.reply(task, Stored(1000, (THERE,)), Stored(1000, (AWAY,)))
    driver.node_dies(AWAY)
    driver.run(task)
    driver.reply(task, Stored(1000, (HERE,)), Stored(1000, (HERE,)))
    known, made_again = (driver.owner.references.table[object_id].content for object_id in task.returns())
    assert known == Stored(1000, (THERE,)), "another run may have made something else"
    assert made_again == Stored(1000, (HERE,))
    assert driver.freed() == [(HERE, return_id(task.task_id, 0))]


def test_a_borrowed_argument_whose_place_is_just_not_known_is_kept_for_another_run(driver: Driver) -> None:
    owner = ids.worker_id(THERE, 50)
    borrowed = return_id(ids.task_id(owner, 1), 0)
    driver.owner.references.lookup(borrowed).local = 1
    task = driver.submit(borrowed)
    assert driver.take(GetObject)
    driver.core.receive(owner, ObjectContent(borrowed, Stored(1000, (AWAY,))))
    driver.run(task)
    driver.owner.objects.not_there(driver.owner.references.table[borrowed], (AWAY,))
    assert driver.take(ObjectUnavailable), "the owner is asked where it is"
    driver.reply(task, Stored(1000, (THERE,)))
    driver.owner.dropped.append(borrowed)
    driver.core.end_turn()
    assert borrowed in driver.owner.references.table, "the result could be lost, and made again with this argument"
    driver.drop(task)
    assert borrowed not in driver.owner.references.table


def test_workers_for_tasks_that_may_run_again_are_not_asked_for_together_with_others(driver: Driver) -> None:
    final = msgspec.structs.replace(TEMPLATE, key=b"final", max_retries=0)
    driver.submit()
    driver.submit(template=final)
    requests = [request for _, request in driver.take(RequestLease)]
    assert sorted(request.retriable for request in requests) == [False, True]


def test_names_that_each_belong_to_one_task_are_forgotten_in_time(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling_classes, "TEMPLATES", 10)
    monkeypatch.setattr(leases, "TEMPLATES", 10)
    monkeypatch.setattr(functions, "TEMPLATES_KEPT", 20)
    worker = functions.Functions()
    for number in (*range(100), *range(95, 100)):
        task = driver.submit(template=msgspec.structs.replace(TEMPLATE, key=b"%d" % number, name=f"task {number}"))
        for node, request in driver.take(RequestLease):
            driver.core.receive(node, LeaseGranted(request.lease_id, ids.worker_id(node, 9)))
        ((_, push),) = driver.take(PushTasks)
        worker.add_templates(push.templates)
        assert worker.templates[push.tasks[0].template].name == f"task {number}", "the worker must know what it runs"
        worker.trim()
        driver.reply(task, NOTHING)
        driver.drop(task)
    known = driver.owner.leases
    assert len(worker.templates) <= 20 and len(known.run_times) <= 10
    assert all(len(lease.templates) <= 10 for lease in known.by_id.values())
