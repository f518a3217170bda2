"""What reaches the GCS too late, from nodes, drivers and jobs that have ended, or before an actor is registered."""

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
    ActorUpdate,
    CreateGroup,
    Death,
    Deaths,
    EndJob,
    FunctionDefinition,
    GroupSpec,
    GroupUpdate,
    Heartbeat,
    JobStarted,
    KillActor,
    MeetGcs,
    Message,
    NodeFenced,
    NodeView,
    PutKey,
    RegisterActor,
    RegisterNode,
    RequestLease,
    ReserveBundles,
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


def states(answers: list[Message]) -> list[str]:
    return [answer.state for answer in answers if isinstance(answer, GroupUpdate)]


def test_a_process_on_a_node_that_was_given_up_is_not_listened_to_by_later_gcs_either() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    cluster.register(OTHER)
    cluster.hears(STRANGER, PutKey(1, "key", b"before"))
    cluster.pass_time(60, alive=HEAD)
    assert cluster.gcs.tables.nodes.alive() == [HEAD], "a node that is not heard of is given up"
    for incarnation in (1, 2):
        answers = cluster.hears(STRANGER, MeetGcs(incarnation), PutKey(2, "key", b"too late"))
        assert not answers, f"GCS {incarnation} must not answer a process that lives on as if nothing had happened"
        assert cluster.gcs.tables.keys.table["key"] == b"before"
        cluster.restart()


def test_a_node_that_a_later_gcs_has_given_up_is_fenced_when_it_comes_back() -> None:
    cluster = Cluster()
    for node in (HEAD, OTHER):
        cluster.register(node)
    cluster.restart()
    for node in (HEAD, OTHER):
        cluster.hears(node, MeetGcs(2))
        cluster.register(node)
    cluster.pass_time(60, alive=HEAD)
    assert cluster.gcs.tables.nodes.alive() == [HEAD], "a node that is not heard of is given up"
    assert cluster.hears(OTHER, Heartbeat()) == [NodeFenced()], (
        "it must hear that it was given up, or it stays a zombie"
    )


def test_the_end_of_a_driver_ends_its_job_though_nobody_else_knows_the_job_yet() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    job_id = cluster.start_job(DRIVER)
    cluster.hears(HEAD, Deaths((Death(DRIVER, "killed"),)))
    assert cluster.gcs.tables.jobs.has_ended(job_id), "a raylet that hears of no job only reports the driver's end"
    assert not cluster.hears(DRIVER, StartJob("n", "", {})), "a late request of a dead driver starts no job"
    cluster.restart()
    assert cluster.gcs.tables.jobs.has_ended(job_id), "a job that has ended stays so"


def test_a_group_that_is_asked_for_after_the_end_of_its_job_holds_nothing() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    job_id = cluster.start_job(DRIVER)
    cluster.hears(DRIVER, EndJob(job_id))
    answers = cluster.hears(WORKER, CreateGroup(group(job_id)))
    assert states(answers) == ["REMOVED"], "who asks is told that the group has ended with its job"
    assert not any(isinstance(message, ReserveBundles) for _, message in cluster.sent)


def test_a_group_that_a_dead_actor_has_asked_for_holds_nothing() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    job_id = cluster.start_job(DRIVER)
    answers = cluster.hears(WORKER, CreateGroup(group(job_id, actor_id=task_id(DRIVER, 3))))
    assert states(answers) == ["REMOVED"], "a group ends with the actor that made it, also if that comes first"


def test_a_group_of_a_job_that_runs_is_placed() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    job_id = cluster.start_job(DRIVER)
    cluster.hears(WORKER, CreateGroup(group(job_id)))
    assert any(isinstance(message, ReserveBundles) for _, message in cluster.sent)


def test_an_actor_that_is_killed_before_it_is_registered_never_starts() -> None:
    for gcs_crashes in (False, True):
        cluster = Cluster()
        cluster.register(HEAD)
        spec = actor(WORKER, cluster.start_job(DRIVER))
        cluster.hears(DRIVER, KillActor(spec.actor_id, True, 0))
        if gcs_crashes:
            cluster.restart()
            for process in (HEAD, DRIVER, WORKER):
                cluster.hears(process, MeetGcs(2))
            cluster.register(HEAD)
        answers = cluster.hears(WORKER, RegisterActor(spec, False))
        assert [each.state for each in answers if isinstance(each, ActorUpdate)] == ["DEAD"], f"{gcs_crashes=}"
        assert not any(isinstance(message, RequestLease) for _, message in cluster.sent)
        assert not any(table == "early_kills" and value for (table, _), value in cluster.rows.items())


def test_what_is_noted_of_actors_that_nobody_registers_ends_with_their_owner() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    cluster.hears(DRIVER, KillActor(task_id(WORKER, 9), True, 0))
    cluster.hears(HEAD, Deaths((Death(WORKER, "killed"),)))
    assert not any(table == "early_kills" and value for (table, _), value in cluster.rows.items())
