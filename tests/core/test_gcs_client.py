"""What a process asks of the GCS is kept until it is durable, and no longer than it matters."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from tests.core.gcs.cluster import actor as actor_spec
from thornback.core.config import Config
from thornback.core.gcs_client import GcsClient
from thornback.core.ids import GCS, task_id, worker_id
from thornback.core.messages import (
    ActorSpec,
    BarrierPassed,
    Checkpoint,
    CommitBarrier,
    Death,
    Deaths,
    GcsStarted,
    MeetGcs,
    NodeHolds,
    RegisterActor,
    RemoveGroup,
    SaveCheckpoint,
    SubscribeActor,
    Value,
)
from thornback.core.ports import Ports

NODE = b"\0" * 7 + b"\1"
ME = worker_id(NODE, 1)
ACTORS = [task_id(ME, number) for number in range(3)]


class Surroundings:
    """The ports of a process, of which a test lets the last timer come due."""

    enabled = False

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.due: Any = None

    def now(self) -> int:
        return 0

    def call_after(self, delay: int, call: Any) -> Surroundings:
        self.due = call
        return self

    def cancel(self) -> None:
        self.due = None

    def stream(self, purpose: str) -> random.Random:
        return random.Random(purpose)

    def send(self, to: bytes, message: Any) -> None:
        assert to == GCS
        self.sent.append(message)

    def taken(self) -> list[Any]:
        """What was sent since the last look, without barriers."""
        found = [message for message in self.sent if not isinstance(message, CommitBarrier)]
        self.sent = []
        return found


def client(config: Config | None = None) -> tuple[GcsClient, Surroundings]:
    here: Any = Surroundings()
    return GcsClient(Ports(here, here, here, here), config or Config()), here


def spec(actor_id: bytes) -> ActorSpec:
    return msgspec.structs.replace(actor_spec(ME, 1), actor_id=actor_id)


def checkpoint(actor: bytes, number: int) -> SaveCheckpoint:
    return SaveCheckpoint(actor, 1, Checkpoint(1, number, Value(bytes(1000)), (), ()))


def test_while_the_gcs_is_away_only_the_latest_state_of_each_thing_is_kept() -> None:
    gcs, here = client()
    for number in range(1000):
        for actor in ACTORS:
            gcs.send(checkpoint(actor, number))
    assert gcs.kept == len(ACTORS), "a checkpoint takes the place of the one before it, of the same actor"
    here.taken()
    here.due()
    assert here.taken() == [checkpoint(actor, 999) for actor in ACTORS], "so only the last ones are sent again"


def test_what_is_said_anew_to_each_gcs_that_comes_and_goes_is_kept_once() -> None:
    gcs, here = client()
    ended = [Deaths((Death(worker_id(NODE, number), "it was killed"),)) for number in range(2, 5)]

    def say_again() -> None:
        for message in (NodeHolds((), (), (), incarnation), *ended, *map(SubscribeActor, ACTORS)):
            gcs.send(message)

    gcs.returned = say_again
    for incarnation in range(2, 50):
        gcs.on_gcs_started(GCS, GcsStarted(incarnation))
        here.taken()
        here.due()
    assert here.taken()[-7:] == [NodeHolds((), (), (), 49), *ended, *map(SubscribeActor, ACTORS)]
    assert gcs.kept == 7, "48 came and went, and none has heard it durably; what it holds now is what counts"


def test_what_cannot_be_superseded_is_kept_and_sent_in_order() -> None:
    gcs, here = client()
    groups = [task_id(ME, number) for number in range(100)]
    for group in groups:
        gcs.send(RemoveGroup(group))
    gcs.send(SubscribeActor(ACTORS[0]))
    gcs.send(RemoveGroup(groups[0]))
    gcs.on_gcs_started(GCS, GcsStarted(2))
    here.taken()
    here.due()
    again = [RemoveGroup(group) for group in groups[1:]]
    expected = [MeetGcs(2), *again, SubscribeActor(ACTORS[0]), RemoveGroup(groups[0])]
    assert here.taken() == expected, "each wish once, where it was uttered last"


def test_a_barrier_settles_what_was_sent_before_it_and_not_what_took_its_place() -> None:
    gcs, here = client()
    gcs.send(checkpoint(ACTORS[0], 1))
    gcs.send(checkpoint(ACTORS[0], 2))
    gcs.on_barrier_passed(GCS, BarrierPassed(1))
    assert gcs.kept == 1, "the second one may not be durable"
    barrier = here.sent[-1]
    assert isinstance(barrier, CommitBarrier) and barrier.number == 2
    gcs.on_barrier_passed(GCS, BarrierPassed(2))
    assert gcs.kept == 0
    gcs.send(checkpoint(ACTORS[0], 3))
    assert gcs.kept == 1


def test_what_was_answered_is_not_sent_again() -> None:
    gcs, here = client()
    for number, actor in enumerate(ACTORS):
        gcs.send(RegisterActor(spec(actor), bool(number)))
    gcs.answered(RegisterActor, ACTORS[1])
    gcs.answered(RegisterActor, ACTORS[1])
    here.taken()
    here.due()
    assert [message.actor_id for message in here.taken()] == [ACTORS[0], ACTORS[2]], (
        "the answer says that it is durable; repeated later it could be heard as a new wish"
    )


def test_who_waits_for_room_goes_on_when_enough_is_durable() -> None:
    gcs, here = client(Config(gcs_kept_limit=3))
    assert gcs.await_room().done, "there is room"
    for number in range(3):
        gcs.send(RemoveGroup(task_id(ME, number)))
    assert gcs.is_full
    first, second = gcs.await_room(), gcs.await_room()
    gcs.on_gcs_started(GCS, GcsStarted(2))
    here.due()
    assert not first.done and not second.done, "nothing has become durable"
    gcs.on_barrier_passed(GCS, BarrierPassed(1))
    assert first.done and second.done, "all that wait look again"
    gcs.send(RegisterActor(spec(ACTORS[0]), False))
    third = gcs.await_room()
    assert not third.done
    gcs.answered(RegisterActor, ACTORS[0])
    assert third.done
