"""One actor as the GCS knows it, and what of it is durable."""

from __future__ import annotations

import msgspec

from thornback.core.ids import ActorId, LeaseId, NodeId, WorkerId
from thornback.core.messages import DEAD, PENDING, ActorSpec, Value
from thornback.core.messages.base import Record


class ActorRow(Record, frozen=True):
    """What changes in the life of an actor, as it lies in the durable store; its specification lies beside it, once."""

    state: str
    incarnation: int
    restarts: int
    lease_id: LeaseId
    lease_node: NodeId
    worker_id: WorkerId
    gpu_ids: tuple[int, ...]
    reason: str
    error: Value | None
    ending: str
    kill_wanted: int
    moves: int
    moving: bool


encode = msgspec.msgpack.Encoder().encode
decode_row = msgspec.msgpack.Decoder(ActorRow).decode
decode_spec = msgspec.msgpack.Decoder(ActorSpec).decode


class Actor:
    """One actor, through all its incarnations."""

    __slots__ = (
        "alive_since",
        "ending",
        "error",
        "failures",
        "gpu_ids",
        "incarnation",
        "kill_wanted",
        "lease_id",
        "lease_node",
        "moves",
        "moving",
        "reason",
        "restarts",
        "spec",
        "state",
        "unconfirmed",
        "worker_id",
    )

    def __init__(self, spec: ActorSpec) -> None:
        self.spec = spec
        self.state = PENDING
        self.incarnation = 0
        """Of its present or last worker; grows with every worker that is asked to become it."""
        self.restarts = 0
        self.moves = 0
        """Restarts since its node was to leave, which do not count as ``max_restarts``."""
        self.moving = False
        """Its node leaves: it has been told to end there, and starts again elsewhere."""
        self.lease_id: LeaseId = b""
        self.lease_node: NodeId = b""
        self.worker_id: WorkerId = b""
        self.gpu_ids: tuple[int, ...] = ()
        self.reason = ""
        self.error: Value | None = None
        self.ending = ""
        """Set: it ends when it has done what it was asked, and is not restarted."""
        self.kill_wanted = 0
        """The incarnation that somebody wanted to be killed and restarted; 0: none."""
        self.alive_since = 0
        self.failures = 0
        """Incarnations in a row that ended soon."""
        self.unconfirmed = False
        """Its lease is from before the GCS came back, and its node has not yet said that it still holds it."""

    @property
    def actor_id(self) -> ActorId:
        """Its id."""
        return self.spec.actor_id

    def slim(self) -> None:
        """It will not be made again: what is left of its specification is for people."""
        definition = msgspec.structs.replace(self.spec.definition, blob=b"", contained=())
        nothing = Value(b"")
        self.spec = msgspec.structs.replace(
            self.spec, definition=definition, arguments=nothing, dependencies=(), handle=b""
        )

    def to_row(self) -> bytes:
        """What must be durable of it."""
        return encode(
            ActorRow(
                self.state,
                self.incarnation,
                self.restarts,
                self.lease_id,
                self.lease_node,
                self.worker_id,
                self.gpu_ids,
                self.reason,
                self.error,
                self.ending,
                self.kill_wanted,
                self.moves,
                self.moving,
            )
        )

    def restore(self, value: bytes) -> None:
        """Take over a committed row."""
        row = decode_row(value)
        for field in row.__struct_fields__:
            setattr(self, field, getattr(row, field))
        self.unconfirmed = bool(self.lease_id) and self.state != DEAD
