"""Each safety invariant is broken by a made-up run, and kept by a similar one that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.faults.invariants.stream import DRIVER, LATER, NODE, OBJECT, OTHER, SECOND, TASK, WORKER, Stream
from thornback.core import errors
from thornback.core import messages as m
from thornback.core.ids import GCS, NODE_ID_SIZE, task_id
from thornback.core.ports import Write
from thornback.core.serialization import dumps, error_value
from thornback.faults import invariants as inv
from thornback.faults.invariants import SAFETY, Checker

LEASE, LEASE_2 = task_id(DRIVER, 100), task_id(DRIVER, 101)
ACTOR, ACTOR_2 = task_id(DRIVER, 50), task_id(DRIVER, 51)
GROUP = task_id(DRIVER, 60)
CPU = {"CPU": 10_000}
ONE, TWO = (dumps(value).to_value() for value in (1, 2))
ERROR = errors.WorkerCrashedError("the worker has crashed")

Fill = Callable[[Stream], Any]


def start(stream: Stream, attempt: int = 0, task: bytes = TASK, worker: bytes = WORKER) -> Stream:
    """A task starts."""
    return stream.event("task.started", task, (attempt, "task", DRIVER, LEASE, worker, ""))


def construct(stream: Stream, incarnation: int, worker: bytes) -> Stream:
    """The constructor of the actor starts."""
    return stream.event("task.started", ACTOR, (incarnation, "actor creation", GCS, ACTOR, worker, ""))


def call(stream: Stream, task: bytes, worker: bytes, attempt: int = 0, caller: bytes = DRIVER) -> Stream:
    """A method of the actor starts."""
    return stream.event("task.started", task, (attempt, "actor call", caller, ACTOR, worker, ""))


def register(stream: Stream, actor: bytes = ACTOR, name: str = "", restarts: int = 0, free: bool = False) -> Stream:
    """The GCS has a new actor."""
    return stream.event("actor.registered", actor, ("space", name, restarts, free))


def grant(stream: Stream, lease: bytes, held: Any = CPU, gpus: Any = None, bundle: int = -1) -> Stream:
    """A node with one CPU and one GPU grants a lease, perhaps in a bundle of the group."""
    group = GROUP if bundle >= 0 else b""
    return stream.event("lease.granted", lease, (NODE, held, gpus or {}, group, bundle, DRIVER))


def up(stream: Stream) -> Stream:
    """That node, which has 1,000 bytes of shared memory."""
    return stream.event("node.up", NODE, {"CPU": 10_000, "GPU": 10_000, "object_store_memory": 1000})


def reserve(stream: Stream, index: int = 0, node: bytes = NODE, total: Any = CPU) -> Stream:
    """A node sets a bundle aside."""
    return stream.event("bundle.reserved", GROUP, (node, index, 1, total, {}))


def created(stream: Stream, strategy: str, nodes: tuple[bytes, ...]) -> Stream:
    """A group counts as placed."""
    return stream.event("group.created", GROUP, (strategy, (CPU, CPU), nodes))


def limited(stream: Stream, lease: bytes) -> Stream:
    """Job 7, which may have one CPU, asks for a lease."""
    terms = m.JobTerms(1.0, CPU)
    return stream.message(DRIVER, NODE, m.RequestLease(lease, DRIVER, CPU, m.Strategy(), 7, "", "f", terms=terms))


def node_row(alive: bool) -> bytes:
    """How the other node lies in the durable store."""
    return msgspec.msgpack.encode(m.NodeView(OTHER, 1, "other", {}, {}, {}, alive=alive))


BROKEN: list[tuple[type[Checker], str, Fill]] = [
    (
        inv.ResolvesOnce,
        "a task ended twice",
        lambda s: s.event("task.finished", TASK, 0).event("task.failed", TASK, 1),
    ),
    (
        inv.ResolvesOnce,
        "resolved twice",
        lambda s: s.event("object.ready", OBJECT, ONE).event("object.ready", OBJECT, ONE),
    ),
    (
        inv.ResolvesOnce,
        "a borrower is told another value",
        lambda s: s.event("object.ready", OBJECT, ONE).message(DRIVER, WORKER, m.ObjectContent(OBJECT, TWO)),
    ),
    (
        inv.Attempts,
        "an attempt of a task started twice",
        lambda s: start(start(s.event("task.submitted", TASK, ("f", 3, b"")))),
    ),
    (
        inv.Attempts,
        "more attempts of a task than allowed",
        lambda s: start(start(s.event("task.submitted", TASK, ("f", 0, b""))), attempt=1),
    ),
    (
        inv.Attempts,
        "a second run without permission",
        lambda s: s.event("task.submitted", TASK, ("f", 0, b"")).event("task.speculated", TASK, 1),
    ),
    (
        inv.Attempts,
        "more attempts of a task than allowed",
        lambda s: start(s.event("task.submitted", TASK, ("f", 1, b"")).event("task.speculated", TASK, 1), attempt=3),
    ),
    (inv.Capacity, "more handed out than there is", lambda s: grant(grant(up(s), LEASE), LEASE_2)),
    (
        inv.Capacity,
        "more handed out than there is",
        lambda s: grant(grant(up(s), LEASE, {"GPU": 5000}, {0: 5000}), LEASE_2, {"GPU": 5000}, {0: 6000}),
    ),
    (
        inv.Capacity,
        "more handed out than there is",
        lambda s: grant(grant(up(s), LEASE).event("lease.cpu", LEASE, (NODE, -10_000)), LEASE_2).event(
            "lease.cpu", LEASE, (NODE, 10_000)
        ),
    ),
    (inv.Capacity, "more handed out than there is", lambda s: grant(reserve(up(s)), LEASE)),
    (
        inv.Capacity,
        "more handed out than there is",
        lambda s: grant(grant(reserve(up(s)), LEASE, bundle=0), LEASE_2, bundle=0),
    ),
    (inv.Capacity, "a lease granted twice", lambda s: grant(grant(up(s), LEASE, {}), LEASE, {})),
    (inv.Capacity, "a lease in a bundle that is not there", lambda s: grant(up(s), LEASE, bundle=1)),
    (inv.Capacity, "a lease on a node that is not up", lambda s: grant(up(s).event("process.end", NODE, ""), LEASE)),
    (inv.Capacity, "a bundle set aside twice", lambda s: reserve(reserve(up(s), total={}), total={})),
    (
        inv.DeadHolders,
        "a lease for a dead holder",
        lambda s: grant(s.message(GCS, NODE, m.Deaths((m.Death(DRIVER[:NODE_ID_SIZE], "it died"),))), LEASE),
    ),
    (inv.DeadHolders, "a lease of a fenced node", lambda s: grant(s.event("node.fenced", NODE), LEASE)),
    (inv.DeadHolders, "a start on a fenced node", lambda s: start(s.event("node.fenced", NODE))),
    (inv.CallOrder, "a call starts after a later one", lambda s: call(call(s, LATER, WORKER), TASK, WORKER)),
    (
        inv.Incarnations,
        "an old incarnation starts a call",
        lambda s: call(call(construct(construct(s, 1, WORKER), 2, SECOND), TASK, SECOND), LATER, WORKER),
    ),
    (inv.Incarnations, "a call where the actor was never constructed", lambda s: call(s, TASK, WORKER)),
    (inv.Restarts, "constructed too often", lambda s: construct(construct(register(s), 1, WORKER), 2, SECOND)),
    (
        inv.Restarts,
        "an incarnation constructed twice",
        lambda s: construct(construct(register(s, restarts=5), 1, WORKER), 1, SECOND),
    ),
    (
        inv.Restarts,
        "restarted too often",
        lambda s: register(s).event("actor.state", ACTOR, ("RESTARTING", 1, WORKER, 0)),
    ),
    (
        inv.Restarts,
        "a dead actor lives",
        lambda s: s.event("actor.state", ACTOR, ("DEAD", 1, b"", 0)).event("actor.state", ACTOR, ("ALIVE", 1, b"", 0)),
    ),
    (
        inv.Restarts,
        "incarnations go back",
        lambda s: s.event("actor.state", ACTOR, ("ALIVE", 2, WORKER, 5)).event(
            "actor.state", ACTOR, ("ALIVE", 1, SECOND, 5)
        ),
    ),
    (inv.Names, "two actors with one name", lambda s: register(register(s, name="n"), ACTOR_2, "n")),
    (
        inv.Names,
        "two placement groups with one name",
        lambda s: s.event("group.registered", GROUP, ("space", "n")).event("group.registered", ACTOR, ("space", "n")),
    ),
    (
        inv.Restarts,
        "an incarnation that has ended is alive",
        lambda s: (
            register(s, restarts=1)
            .event("actor.state", ACTOR, ("RESTARTING", 1, b"", 1))
            .event("actor.state", ACTOR, ("ALIVE", 1, WORKER, 1))
        ),
    ),
    (
        inv.Restarts,
        "an incarnation that has ended is alive",
        lambda s: register(s).event("actor.state", ACTOR, ("ALIVE", 1, b"", 0)),
    ),
    (
        inv.Quotas,
        "more held than the quota",
        lambda s: grant(grant(limited(limited(s, LEASE), LEASE_2), LEASE), LEASE_2),
    ),
    (
        inv.Quotas,
        "more held than the quota",
        lambda s: grant(
            grant(limited(limited(s, LEASE), LEASE_2), LEASE).event("lease.cpu", LEASE, (NODE, -10_000)), LEASE_2
        ).event("lease.cpu", LEASE, (NODE, 10_000)),
    ),
    (
        inv.Quotas,
        "more held than the quota",
        lambda s: reserve(grant(limited(s, LEASE), LEASE).message(GCS, NODE, m.ReserveBundles(GROUP, 1, (), job_id=7))),
    ),
    (inv.Groups, "created in part", lambda s: created(reserve(s), "PACK", (NODE, b""))),
    (inv.Groups, "created without a bundle", lambda s: created(reserve(s), "PACK", (NODE, OTHER))),
    (
        inv.Groups,
        "STRICT_PACK on several nodes",
        lambda s: created(reserve(reserve(s), 1, OTHER), "STRICT_PACK", (NODE, OTHER)),
    ),
    (
        inv.Groups,
        "STRICT_SPREAD on too few nodes",
        lambda s: created(reserve(reserve(s), 1), "STRICT_SPREAD", (NODE, NODE)),
    ),
    (
        inv.Freed,
        "a primary copy deleted unasked",
        lambda s: s.event("object.deleted", OBJECT, (NODE, True, True, False)),
    ),
    (
        inv.Memory,
        "overlapping blocks",
        lambda s: up(s).event("memory.taken", NODE, (0, 100)).event("memory.taken", NODE, (50, 100)),
    ),
    (
        inv.Memory,
        "overlapping blocks",
        lambda s: up(s).event("memory.taken", NODE, (50, 100)).event("memory.taken", NODE, (0, 51)),
    ),
    (inv.Memory, "a block beyond the capacity", lambda s: up(s).event("memory.taken", NODE, (900, 101))),
    (
        inv.Memory,
        "memory that is read is freed",
        lambda s: (
            up(s)
            .event("memory.taken", NODE, (0, 100))
            .event("object.pinned", OBJECT, (NODE, WORKER, 0, 100))
            .event("memory.given", NODE, (0, 100))
        ),
    ),
    (
        inv.TrueCauses,
        "an owner that lives is said to be dead",
        lambda s: s.event("object.owner_died", OBJECT, WORKER),
    ),
    (
        inv.TrueCauses,
        "an owner that lives is said to be dead",
        lambda s: s.event("object.ready", OBJECT, error_value(errors.OwnerDiedError("gone", OBJECT.hex()))),
    ),
    (
        inv.TrueCauses,
        "a worker that lives is said to have crashed",
        lambda s: start(s).event("object.ready", OBJECT, error_value(ERROR)),
    ),
    (
        inv.TrueCauses,
        "a worker that lives is said to have crashed",
        lambda s: start(start(s), attempt=1, worker=SECOND).event("object.ready", OBJECT, error_value(ERROR)),
    ),
    (inv.TrueCauses, "a crash without a crash", lambda s: s.event("object.ready", OBJECT, error_value(ERROR))),
    (
        inv.TrueCauses,
        "an object said to be lost is not",
        lambda s: s.event("object.ready", OBJECT, error_value(errors.ObjectLostError("lost", OBJECT.hex()))),
    ),
    (
        inv.TrueCauses,
        "cancelled by nobody",
        lambda s: s.event("object.ready", OBJECT, error_value(errors.TaskCancelledError("cancelled"))),
    ),
    (
        inv.Acknowledged,
        "actors: acknowledged before it was durable",
        lambda s: s.message(GCS, DRIVER, m.ActorRegistered(ACTOR, b"", b"")),
    ),
    (
        inv.Acknowledged,
        "jobs: acknowledged before it was durable",
        lambda s: s.message(GCS, DRIVER, m.JobStarted(7, "space")),
    ),
    (
        inv.Acknowledged,
        "placement_groups: acknowledged before it was durable",
        lambda s: s.message(GCS, DRIVER, m.GroupUpdate(GROUP, 1, "CREATED", (), (), "")),
    ),
    (
        inv.Acknowledged,
        "nodes: an end that was told before it was durable",
        lambda s: s.event("gcs.committed", OTHER, Write("nodes", OTHER, node_row(alive=True))).message(
            GCS, NODE, m.Deaths((m.Death(OTHER, "gone"),))
        ),
    ),
    (
        inv.Acknowledged,
        "keys: acknowledged before it was durable",
        lambda s: (
            s.message(WORKER, GCS, m.PutKey(1, "key", b"old", True))
            .event("gcs.committed", b"key", Write("keys", b"key", b"old"))
            .message(DRIVER, GCS, m.PutKey(1, "key", b"new", True))
            .message(GCS, DRIVER, m.KeyValue(1, b"new"))
        ),
    ),
    (
        inv.Acknowledged,
        "keys: a write was made twice",
        lambda s: (
            s.message(DRIVER, GCS, m.PutKey(7, "key", b"1"))
            .event("gcs.committed", b"key", Write("keys", b"key", b"1"))
            .message(WORKER, GCS, m.PutKey(3, "key", b"2"))
            .event("gcs.committed", b"key", Write("keys", b"key", b"2"))
            .message(DRIVER, GCS, m.PutKey(7, "key", b"1"))
            .event("gcs.committed", b"key", Write("keys", b"key", b"1"))
        ),
    ),
    (
        inv.Acknowledged,
        "keys: a repeated write is answered otherwise",
        lambda s: (
            s.message(DRIVER, GCS, m.PutKey(7, "key", b"1", False))
            .message(WORKER, GCS, m.PutKey(3, "key", b"2"))
            .event("gcs.committed", b"key", Write("keys", b"key", b"2"))
            .event("gcs.committed", b"key", Write("keys", b"key", b"1"))
            .message(GCS, DRIVER, m.KeyValue(7, b"1"))
            .message(GCS, DRIVER, m.KeyValue(7, b"2"))
        ),
    ),
    (
        inv.Acknowledged,
        "checkpoints: acknowledged before it was durable",
        lambda s: s.message(GCS, WORKER, m.CheckpointSaved(ACTOR, 1)),
    ),
    (
        inv.Cancelled,
        "a cancelled task succeeded",
        lambda s: s.event("task.cancel", TASK, "x").event("task.finished", TASK, 0),
    ),
]

KEPT: list[tuple[type[Checker], str, Fill]] = [
    (
        inv.ResolvesOnce,
        "resolved again after it was lost",
        lambda s: (
            s.event("object.ready", OBJECT, ONE)
            .event("object.lost", OBJECT)
            .event("object.ready", OBJECT, ONE)
            .message(DRIVER, WORKER, m.ObjectContent(OBJECT, ONE))
        ),
    ),
    (
        inv.Acknowledged,
        "the same write again, by a request of its own",
        lambda s: (
            s.message(DRIVER, GCS, m.PutKey(7, "key", b"1"))
            .event("gcs.committed", b"key", Write("keys", b"key", b"1"))
            .event("gcs.committed", b"key", Write("keys", b"key", b"1"))
            .message(WORKER, GCS, m.PutKey(3, "key", None))
            .event("gcs.committed", b"key", Write("keys", b"key", None))
            .message(DRIVER, GCS, m.PutKey(8, "key", b"1"))
            .event("gcs.committed", b"key", Write("keys", b"key", b"1"))
            .message(GCS, DRIVER, m.KeyValue(7, b"1"))
        ),
    ),
    (
        inv.Attempts,
        "a retry",
        lambda s: start(start(s.event("task.submitted", TASK, ("f", 1, b""))), attempt=1, worker=SECOND),
    ),
    (
        inv.Attempts,
        "a second run beside the retries",
        lambda s: start(s.event("task.submitted", TASK, ("f", 1, b"")).event("task.speculated", TASK, 1), attempt=2),
    ),
    (
        inv.Attempts,
        "retries without limit",
        lambda s: start(start(s.event("task.submitted", TASK, ("f", -1, b""))), attempt=9),
    ),
    (
        inv.Capacity,
        "a CPU lent by a task that waits",
        lambda s: (
            grant(grant(up(s), LEASE).event("lease.cpu", LEASE, (NODE, -10_000)), LEASE_2)
            .event("lease.ended", LEASE_2, NODE)
            .event("lease.cpu", LEASE, (NODE, 10_000))
            .event("lease.ended", LEASE, NODE)
        ),
    ),
    (
        inv.Capacity,
        "a task that outlives its bundle",
        lambda s: (
            grant(reserve(up(s)), LEASE, bundle=0)
            .event("bundle.released", GROUP, (NODE, 0, 1))
            .event("lease.ended", LEASE, NODE)
        ),
    ),
    (
        inv.Capacity,
        "a node starts anew",
        lambda s: grant(up(grant(up(s), LEASE).event("process.end", NODE, "")), LEASE),
    ),
    (inv.DeadHolders, "others died", lambda s: grant(s.message(GCS, NODE, m.Deaths((m.Death(OTHER, ""),))), LEASE)),
    (inv.CallOrder, "in order", lambda s: call(call(s, TASK, WORKER), LATER, WORKER)),
    (inv.CallOrder, "other callers", lambda s: call(call(s, LATER, WORKER), TASK, WORKER, caller=SECOND)),
    (inv.CallOrder, "out of order", lambda s: call(call(register(s, free=True), LATER, WORKER), TASK, WORKER)),
    (
        inv.CallOrder,
        "a call is retried",
        lambda s: call(call(call(s, TASK, WORKER), LATER, WORKER), TASK, WORKER, attempt=1),
    ),
    (
        inv.Incarnations,
        "a zombie on a node that was given up",
        lambda s: call(
            call(construct(construct(s, 1, WORKER), 2, SECOND), TASK, SECOND).event("node.dead", NODE, ""),
            LATER,
            WORKER,
        ),
    ),
    (inv.Restarts, "one restart", lambda s: construct(construct(register(s, restarts=1), 1, WORKER), 2, SECOND)),
    (
        inv.Names,
        "a name of a dead actor",
        lambda s: register(register(s, name="n").event("actor.state", ACTOR, ("DEAD", 1, b"", 0)), ACTOR_2, name="n"),
    ),
    (
        inv.ResolvesOnce,
        "the end of a task that makes a lost object again",
        lambda s: s.event("task.finished", TASK, 0).event("task.rebuilding", TASK, 1).event("task.finished", TASK, 1),
    ),
    (
        inv.Quotas,
        "on a node that is lost",
        lambda s: grant(grant(limited(limited(s, LEASE), LEASE_2), LEASE).event("node.dead", NODE, ""), LEASE_2),
    ),
    (
        inv.Quotas,
        "one after the other",
        lambda s: grant(grant(limited(limited(s, LEASE), LEASE_2), LEASE).event("lease.ended", LEASE, NODE), LEASE_2),
    ),
    (
        inv.Quotas,
        "in a bundle, which counts itself",
        lambda s: grant(grant(limited(limited(s, LEASE), LEASE_2), LEASE), LEASE_2, bundle=0),
    ),
    (inv.Groups, "spread", lambda s: created(reserve(reserve(s), 1, OTHER), "STRICT_SPREAD", (NODE, OTHER))),
    (
        inv.Groups,
        "a node that died unnoticed",
        lambda s: created(reserve(s).event("process.end", OTHER, ""), "PACK", (NODE, OTHER)),
    ),
    (inv.Freed, "its owner's word", lambda s: s.event("object.deleted", OBJECT, (NODE, True, True, True))),
    (inv.Freed, "a copy", lambda s: s.event("object.deleted", OBJECT, (NODE, True, False, False))),
    (
        inv.Freed,
        "a reader on a node that was given up",
        lambda s: (
            s.event("node.dead", OTHER, "")
            .event("object.released", OBJECT)
            .message(
                DRIVER, SECOND, m.ObjectContent(OBJECT, error_value(errors.ObjectLostError("freed", OBJECT.hex())))
            )
        ),
    ),
    (
        inv.Memory,
        "read, then freed, then used again",
        lambda s: (
            up(s)
            .event("memory.taken", NODE, (0, 100))
            .event("object.pinned", OBJECT, (NODE, WORKER, 0, 100))
            .event("object.unpinned", OBJECT, (NODE, WORKER, 1))
            .event("memory.given", NODE, (0, 100))
            .event("memory.taken", NODE, (50, 950))
        ),
    ),
    (
        inv.TrueCauses,
        "a crash",
        lambda s: start(s).event("process.end", WORKER, "").event("object.ready", OBJECT, error_value(ERROR)),
    ),
    (
        inv.TrueCauses,
        "a second attempt that never starts, since its worker ends first",
        lambda s: (
            start(s)
            .event("task.retried", TASK, 1)
            .event("process.end", SECOND, "")
            .event("object.ready", OBJECT, error_value(ERROR))
        ),
    ),
    (
        inv.TrueCauses,
        "a run that makes a lost object again, and never starts, since its worker ends first",
        lambda s: (
            start(s)
            .event("task.rebuilding", TASK, 1)
            .event("process.end", SECOND, "")
            .event("object.ready", OBJECT, error_value(ERROR))
        ),
    ),
    (
        inv.TrueCauses,
        "a straggler whose worker ends, while that of its second run lives",
        lambda s: (
            start(start(s), attempt=1, worker=SECOND)
            .event("process.end", WORKER, "")
            .event("object.ready", OBJECT, error_value(ERROR))
        ),
    ),
    (
        inv.TrueCauses,
        "a node that died",
        lambda s: s.event("node.dead", NODE, "").event("object.owner_died", OBJECT, SECOND),
    ),
    (
        inv.Acknowledged,
        "the end of a node, durable first, and that of a process",
        lambda s: s.event("gcs.committed", OTHER, Write("nodes", OTHER, node_row(alive=False))).message(
            GCS, NODE, m.Deaths((m.Death(OTHER, "gone"), m.Death(DRIVER, "gone")))
        ),
    ),
    (
        inv.Acknowledged,
        "durable first",
        lambda s: s.event("gcs.committed", ACTOR, Write("actors", ACTOR, b"row")).message(
            GCS, DRIVER, m.ActorRegistered(ACTOR, b"", b"")
        ),
    ),
    (
        inv.Cancelled,
        "others succeed",
        lambda s: s.event("task.cancel", TASK, "x").event("task.finished", LATER, 0).event("task.failed", TASK, 0),
    ),
]


@pytest.mark.parametrize(
    ("checker", "where", "fill"), BROKEN, ids=[f"{checker.name}: {where}" for checker, where, _ in BROKEN]
)
def test_a_broken_promise_is_found(checker: type[Checker], where: str, fill: Fill) -> None:
    stream = Stream(checker())
    fill(stream)
    assert stream.found == [where], f"{checker.promise}: this run breaks it once"
    violation = stream.monitor.violations[0]
    assert violation.invariant == checker.name
    assert violation.at == stream.time / 1e9, "the violation says when it happened"


@pytest.mark.parametrize(
    ("checker", "what", "fill"), KEPT, ids=[f"{checker.name}: {what}" for checker, what, _ in KEPT]
)
def test_a_promise_that_is_kept_is_not_reported(checker: type[Checker], what: str, fill: Fill) -> None:
    stream = Stream(checker())
    fill(stream)
    assert stream.found == [], f"{what} is allowed"


def test_bytes_that_nobody_has_sealed() -> None:
    checker = inv.SealedBytes()
    bytes_at = {(NODE, 0): b"sealed", (OTHER, 8): b"sealed", (OTHER, 16): b"wrong!"}
    checker.peek = lambda node, offset, size: bytes_at.get((node, offset))
    stream = Stream(checker)
    stream.event("object.sealed", OBJECT, (NODE, 0, 6, True)).event("object.sealed", OBJECT, (OTHER, 8, 6, False))
    stream.event("object.read", OBJECT, (OTHER, 8, 6))
    assert stream.found == [], "the copy and the reader have the bytes that were sealed"
    stream.event("object.sealed", OBJECT, (OTHER, 16, 6, False)).event("object.read", OBJECT, (OTHER, 16, 6))
    stream.event("object.restored", OBJECT, (OTHER, 16, 6))
    assert stream.found == [
        "a copy has other bytes",
        "a reader gets other bytes",
        "a spilled object has other bytes",
    ]


def test_an_object_that_is_let_go_while_a_process_has_a_reference() -> None:
    checker = inv.Freed()
    checker.holders = lambda object_id: [WORKER] if object_id == OBJECT else []
    stream = Stream(checker).event("object.released", LATER + b"\0\0\0\0")
    assert stream.found == []
    assert stream.event("object.released", OBJECT).found == ["let go while referenced"]


def test_a_reader_that_finds_its_object_let_go() -> None:
    stream = Stream(inv.Freed())
    gone = error_value(errors.ObjectLostError("it was freed", OBJECT.hex()))
    stream.event("object.released", OBJECT).message(DRIVER, WORKER, m.ObjectContent(OBJECT, gone))
    assert stream.found == ["a reader finds it let go"]


def test_an_actor_that_lives_and_is_said_to_be_dead() -> None:
    checker = inv.TrueCauses()
    stream = Stream(checker)
    stream.event("object.ready", OBJECT, error_value(errors.ActorDiedError("it died", ACTOR.hex())))
    assert [wrong.where for wrong in checker.wrong_deaths()] == ["an actor that lives is said to be dead"]
    stream.event("actor.state", ACTOR, ("DEAD", 1, b"", 0))
    assert checker.wrong_deaths() == []


def test_an_actor_that_is_said_to_be_dead_before_it_is() -> None:
    error = error_value(errors.ActorDiedError("it died", ACTOR.hex()))
    early = inv.TrueCauses()
    register(Stream(early)).event("object.ready", OBJECT, error).event("actor.state", ACTOR, ("DEAD", 1, b"", 0))
    assert [wrong.where for wrong in early.wrong_deaths()] == ["an actor is said to be dead too early"]
    early.killed(SECOND, m.KillActor(ACTOR, True))
    early.killed(DRIVER, m.KillActor(ACTOR, False))
    assert early.wrong_deaths() != [], "it was killed by another process, and may have been started again"
    early.killed(DRIVER, m.KillActor(ACTOR, True))
    assert early.wrong_deaths() == [], "it is dead for whoever kills it"
    late = inv.TrueCauses()
    register(Stream(late)).event("actor.state", ACTOR, ("DEAD", 1, b"", 0)).event("object.ready", OBJECT, error)
    assert late.wrong_deaths() == []


def test_every_safety_invariant_can_fail() -> None:
    special = {inv.SealedBytes, inv.Ledgers, inv.Placement, inv.HandedOn, inv.Leaving, inv.Room}
    tested = {checker for checker, _, _ in BROKEN} | special
    assert tested == set(SAFETY), "each has a run in this file, or in another one here, that breaks it"
