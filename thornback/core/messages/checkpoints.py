"""Saved states of actors, and what callers must keep until their calls are in one."""

from __future__ import annotations

from typing import ClassVar

from thornback.core.ids import ActorId, Address
from thornback.core.messages.base import Message, Record
from thornback.core.messages.tasks import TaskReply
from thornback.core.messages.values import Value


class AppliedCall(Record, frozen=True):
    """A call that is in a checkpoint and whose caller may not have the reply."""

    caller: Address
    place: int
    reply: TaskReply


class Checkpoint(Record, frozen=True):
    """The state of an actor after some calls of each caller, all of them from the first to the last in its order."""

    incarnation: int
    number: int
    """Grows with each checkpoint of the incarnation."""
    state: Value
    """What ``save_checkpoint`` returned."""
    applied: tuple[tuple[Address, int], ...]
    """By caller: the place of the last call that is in the state."""
    replies: tuple[AppliedCall, ...]


class SaveCheckpoint(Message, frozen=True, tag=220):
    """Worker to GCS: the actor's state is this; answered with CheckpointSaved when that is durable."""

    latest_by: ClassVar[tuple[str, ...] | None] = ("actor_id",)

    actor_id: ActorId
    incarnation: int
    checkpoint: Checkpoint | None
    """None: the actor cannot save its state, and must end."""
    error: Value | None = None
    """Why it cannot."""


class CheckpointSaved(Message, frozen=True, tag=221):
    """GCS to worker: the checkpoint is durable; the next incarnation starts from it, or from a later one."""

    actor_id: ActorId
    number: int


class CheckpointTaken(Message, frozen=True, tag=222):
    """Worker to caller: your calls up to this place need never be replayed. Answered with CheckpointNoted."""

    actor_id: ActorId
    place: int


class CheckpointNoted(Message, frozen=True, tag=223):
    """Caller to worker: I have the replies of my calls up to this place."""

    actor_id: ActorId
    place: int
