"""Nodes that leave with notice, and what moves away from them."""

from __future__ import annotations

from thornback.core.ids import ActorId, NodeId, ObjectId
from thornback.core.messages.base import Message


class DrainNode(Message, frozen=True, tag=224):
    """Anyone to GCS: this node is to leave the cluster; answered with DrainAnswered."""

    request: int
    node_id: NodeId
    reason: str
    timeout: int
    """Nanoseconds until it must be gone; -1: it has all the time that it needs."""


class DrainAnswered(Message, frozen=True, tag=225):
    """GCS to asker."""

    request: int
    refusal: str
    """Why the node cannot leave; empty: it is leaving."""


class LeaveCluster(Message, frozen=True, tag=226):
    """GCS to raylet: take no more work, see to it that nothing is lost, and answer with NodeDrained."""

    reason: str
    timeout: int
    """As in DrainNode."""


class NodeDrained(Message, frozen=True, tag=227):
    """Raylet to GCS: nothing is left here, or the time is over; answered with NodeRemoved."""


class NodeRemoved(Message, frozen=True, tag=228):
    """GCS to raylet: you are not part of the cluster any more; end."""


class MoveActor(Message, frozen=True, tag=229):
    """GCS to worker: your node leaves. Take no more calls, answer those that are here, then say ActorMoved."""

    actor_id: ActorId
    incarnation: int
    reason: str


class ActorMoved(Message, frozen=True, tag=230):
    """Worker to GCS: all callers have my replies; start the next incarnation elsewhere."""

    actor_id: ActorId
    incarnation: int


class TakeObject(Message, frozen=True, tag=231):
    """Raylet to raylet: my node leaves; fetch this object from it and keep it. Answered with ObjectTaken."""

    object_id: ObjectId
    size: int


class ObjectTaken(Message, frozen=True, tag=232):
    """Raylet to raylet: I have it, or I could not fetch it."""

    object_id: ObjectId
    here: bool


class PrimaryMoved(Message, frozen=True, tag=233):
    """Raylet to owner: my node leaves; that node's copy of the object counts instead of mine."""

    object_id: ObjectId
    node: NodeId
