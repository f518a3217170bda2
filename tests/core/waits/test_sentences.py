"""Every kind of reason gives a clause that says what is waited for and what would help."""

from __future__ import annotations

from typing import get_args

import pytest

from thornback.core.config import SECOND
from thornback.core.messages.waits import (
    COPY,
    LEASE,
    OBJECT,
    TASK,
    ActorComing,
    AnyReason,
    Backoff,
    Blocked,
    CopyComing,
    Finished,
    GroupComing,
    Held,
    Holding,
    NodeInUse,
    Occupied,
    Reason,
    ResourcesMissing,
    Sent,
    Subject,
    WorkerStarting,
    WorkerWanted,
)
from thornback.core.waits.sentences import _clause, cycle_text, explain
from thornback.core.waits.walk import Found

NODE = b"\0\0\0\1\0\0\0\1"
NAMES = {NODE: "node-7"}
TASK_ID = NODE + b"\0\0\0\2" + b"\0\0\0\0\0\0\0\3"
THE_OBJECT = Subject(TASK_ID[:12], OBJECT, TASK_ID + b"\0\0\0\0")
THE_LEASE = Subject(NODE, LEASE, TASK_ID)
THE_COPY = Subject(NODE, COPY, TASK_ID + b"\0\0\0\0")
MORE_OF_IT = (Occupied, Held, NodeInUse)
"""Reasons that only lead from one subject to the next."""


def sentence(*steps: tuple[Subject, Reason], lasted: int = 0) -> str:
    return explain([(subject, Found(reason, lasted)) for subject, reason in steps], NAMES)


def missing(**changes: object) -> Reason:
    fields: dict[str, object] = {
        "name": "f",
        "demand": {"CPU": 20_000},
        "node": NODE,
        "free": {"CPU": 10_000},
        "total": {"CPU": 40_000},
        "holdings": (Holding("g", 2, {"CPU": 30_000}),),
        "ahead": 0,
        "others": 0,
    }
    return ResourcesMissing(**(fields | changes))  # type: ignore[arg-type]


def test_every_kind_of_reason_has_words() -> None:
    wordless = {kind.__name__ for kind in get_args(AnyReason) if _clause.dispatch(kind) is _clause.dispatch(Reason)}
    assert wordless == {kind.__name__ for kind in MORE_OF_IT}


def test_a_queue_names_the_need_the_room_and_the_holders() -> None:
    wanted = WorkerWanted(name="f", needs=(THE_LEASE,), needed=1, ahead=0)
    assert sentence((THE_OBJECT, wanted), (THE_LEASE, missing())) == (
        "f (node-7.w2.t3) waits until {CPU: 2} is free: node-7 has {CPU: 1} of {CPU: 4} free; "
        "held by g {CPU: 3} of job 2"
    )


def test_what_stands_before_it_and_other_nodes_are_mentioned() -> None:
    text = sentence((THE_LEASE, missing(ahead=1200, others=3, freest=NODE, freest_has={"CPU": 5_000})))
    assert "waits behind 1,200 like it until" in text
    assert "free, and of the 3 other nodes none has more than {CPU: 0.5} (node-7); held by" in text


def test_many_holders_are_counted() -> None:
    holdings = tuple(Holding(f"g{number}", 1, {"CPU": 10_000}) for number in range(9))
    assert sentence((THE_LEASE, missing(holdings=holdings))).endswith("g3 {CPU: 1} of job 1 and 5 more")


def test_free_room_that_is_kept_for_another() -> None:
    text = sentence((THE_LEASE, missing(free={"CPU": 20_000}, kept_for="large")))
    assert text == "f waits for its turn on node-7, where room is kept for large, which has waited longer"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Backoff(name="f", attempt=2), "has failed and starts again by itself in a moment, as attempt 3"),
        (Sent(name="f", rebuilding=True), "is made again, since its value was lost,"),
        (Finished(name="f", failed=True), "has failed; get() raises its error"),
        (Finished(name="f", failed=False, size=8_000_000, nodes=(NODE,)), "is done; its 8,000,000 bytes are on node-7"),
        (WorkerStarting(node=NODE), "has its resources on node-7, where a worker process starts for 2.0 s"),
        (GroupComing(state="PENDING", why=""), "is about to get its place: there is room"),
    ],
)
def test_clauses(reason: Reason, expected: str) -> None:
    assert sentence((THE_OBJECT, reason), lasted=2 * SECOND).endswith(expected)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("pulling", "and is on its way to node-7, where 3 of 8,000 bytes have come"),
        ("restoring", "and is read back from the disk of node-7"),
        ("room", "and waits for room for 8,000 bytes in the shared memory of node-7 (9,000 bytes)"),
        ("writing", "and is being written on node-7"),
    ],
)
def test_a_value_on_its_way(step: str, expected: str) -> None:
    done = Finished(name="f", failed=False, size=8000, nodes=(NODE,))
    copy = CopyComing(step=step, size=8000, received=3, capacity=9000)
    assert expected in sentence((THE_OBJECT, done), (THE_COPY, copy))


def test_a_restart_says_why() -> None:
    text = sentence((THE_OBJECT, ActorComing(name="A", restarting=True, why="its node died")))
    assert text.endswith("is being made again (its node died)")


@pytest.mark.parametrize(("holds", "advice"), [(True, "num_cpus=0"), (False, "async methods")])
def test_the_text_of_a_cycle_says_what_helps(holds: bool, advice: str) -> None:
    task = Subject(TASK_ID[:12], TASK, TASK_ID)
    blocked = Blocked(
        name="f",
        needs=(THE_OBJECT,),
        needed=1,
        call="get()",
        site="p.py:3 f",
        origin="p.py:2 f",
        job_id=1,
        has_timeout=False,
    )
    chain = [(task, Found(blocked, SECOND)), (THE_OBJECT, Found(missing() if holds else Sent(), 0))]
    text = cycle_text(chain, NAMES)
    assert "p.py:3 f" in text and "p.py:2 f" in text and advice in text.splitlines()[-1]
