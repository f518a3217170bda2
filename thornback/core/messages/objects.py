"""Borrowing, locating, reading and freeing objects."""

from __future__ import annotations

from thornback.core.ids import NodeId, ObjectId, WorkerId
from thornback.core.messages.base import Message, Record
from thornback.core.messages.values import Content


class AddBorrower(Message, frozen=True, tag=80):
    """To the owner: ``borrower`` holds one more registration of the object; answered with BorrowerAdded to the sender.

    The sender keeps the object alive until that answer.
    """

    object_id: ObjectId
    borrower: WorkerId


class BorrowerAdded(Message, frozen=True, tag=81):
    """Owner to the sender of AddBorrower."""

    object_id: ObjectId
    borrower: WorkerId


class RemoveBorrower(Message, frozen=True, tag=82):
    """Borrower to owner: ``count`` of its registrations end."""

    object_id: ObjectId
    count: int


class GetObject(Message, frozen=True, tag=83):
    """Borrower to owner: tell me the content when there is one; answered with ObjectContent."""

    object_id: ObjectId


class ObjectContent(Message, frozen=True, tag=84):
    """Owner to borrower."""

    object_id: ObjectId
    content: Content


class ObjectUnavailable(Message, frozen=True, tag=85):
    """Borrower to owner: these nodes do not have it (any more). Answered with ObjectContent once it is back."""

    object_id: ObjectId
    nodes: tuple[NodeId, ...]


class AllocateObject(Message, frozen=True, tag=86):
    """Process to its raylet: I want to write an object of this size; answered with ObjectAllocated."""

    object_id: ObjectId
    size: int
    origin: str = ""
    """Where it comes from (the line that put it, or the task that returns it), for people."""
    pinned: bool = False
    """Never spill it."""


class ObjectAllocated(Message, frozen=True, tag=87):
    """Raylet to process: write here; or why not."""

    object_id: ObjectId
    offset: int
    """Into the node's shared memory; -1 if there is no room, -2 if a copy exists already."""
    reason: str = ""


class SealObject(Message, frozen=True, tag=88):
    """Process to its raylet: it is written; this is the primary copy, kept until FreeObjects.

    The writer's pin lasts until its first UnpinObject.
    """

    object_id: ObjectId
    pin: bool
    """The writer goes on reading it."""


class PinObject(Message, frozen=True, tag=89):
    """Process to its raylet: I want to read it, wherever it is; answered with ObjectPinned or PinFailed."""

    object_id: ObjectId
    size: int
    nodes: tuple[NodeId, ...]


class ObjectPinned(Message, frozen=True, tag=90):
    """Raylet to process: it is here, and stays until you say UnpinObject."""

    object_id: ObjectId
    offset: int
    size: int


class PinFailed(Message, frozen=True, tag=91):
    """Raylet to process: none of these nodes has it."""

    object_id: ObjectId
    nodes: tuple[NodeId, ...]
    reason: str
    full: bool = False
    """It exists, but this node had no room for it in time."""


class UnpinObject(Message, frozen=True, tag=92):
    """Process to its raylet: ``count`` pins end."""

    object_id: ObjectId
    count: int


class FreeObjects(Message, frozen=True, tag=93):
    """Owner to raylets that hold copies: nobody refers to these any more."""

    object_ids: tuple[ObjectId, ...]


class FetchObject(Message, frozen=True, tag=94):
    """Raylet to raylet: send me this part; answered with ObjectChunk."""

    object_id: ObjectId
    offset: int
    size: int


class ObjectChunk(Message, frozen=True, tag=95):
    """Raylet to raylet: a part of an object, or that it is not here."""

    object_id: ObjectId
    offset: int
    total: int
    """Size of the object; -1: not here."""
    data: bytes
    checksum: int = 0
    """CRC-32 of the data."""


class CopyChanged(Message, frozen=True, tag=96):
    """Raylet (or a worker, of its node) to owner: this node has (or no longer has) a copy."""

    object_id: ObjectId
    present: bool
    reason: str = ""
    """Why it is gone, unless that is in the nature of things."""


class AbortObject(Message, frozen=True, tag=160):
    """Process to its raylet: I will not write what I have allocated."""

    object_id: ObjectId


class HandoverTaken(Message, frozen=True, tag=161):
    """Borrower to owner: the registration that ``giver`` made for me has reached me, with the reference."""

    object_id: ObjectId
    giver: WorkerId


class ReviewHandovers(Message, frozen=True, tag=162):
    """Owner to borrower: ``giver`` has ended; what it registered for you and has not reached you is void."""

    giver: WorkerId


class HandoversReviewed(Message, frozen=True, tag=163):
    """Borrower to owner: I take nothing more from ``giver``; every HandoverTaken was sent before this."""

    giver: WorkerId


class KeepCopy(Message, frozen=True, tag=164):
    """Owner to raylet: the primary copy is gone; yours is it now. Answered with CopyChanged if it is not there."""

    object_id: ObjectId


class TrimPins(Message, frozen=True, tag=165):
    """Raylet to process: room is short; give back the pins of objects that you do not read now."""


class Wanted(Record, frozen=True):
    """An object that a task needs, and where it was when its owner told."""

    object_id: ObjectId
    size: int
    nodes: tuple[NodeId, ...]


class PinArguments(Message, frozen=True, tag=210):
    """Worker to its raylet: a task wants to read all of these at once; answered with ArgumentsPinned or
    ArgumentsFailed. Repeated with ``ahead=False`` when the task starts before the answer."""

    request: int
    """Of this worker; never used twice."""
    objects: tuple[Wanted, ...]
    ahead: bool
    """The task has not started: take only what room is left over."""


class ArgumentsPinned(Message, frozen=True, tag=211):
    """Raylet to worker: all are here, and stay until UnpinObject."""

    request: int
    blocks: tuple[tuple[ObjectId, int, int], ...]
    """Object, offset into the node's shared memory, size."""


class ArgumentsFailed(Message, frozen=True, tag=212):
    """Raylet to worker: one of them cannot be had, and none is pinned."""

    request: int
    object_id: ObjectId
    nodes: tuple[NodeId, ...]
    """Those that do not have it."""
    reason: str
    full: bool = False
    """It exists, but there was no room for all of them in time."""


class DropArguments(Message, frozen=True, tag=213):
    """Worker to its raylet: the objects of this request are not needed, or not now."""

    request: int


class ArgumentsInUse(Message, frozen=True, tag=214):
    """Worker to its raylet, in answer to TrimPins: a task runs here with large arguments."""
