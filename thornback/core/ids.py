"""Identifiers: plain ``bytes`` whose prefixes say where a thing lives.

::

    NodeId    8 bytes   one incarnation of one node; a node that restarts gets a new one
    WorkerId 12 bytes   NodeId + counter: one process (worker or driver) on that node
    TaskId   20 bytes   WorkerId of the process that submitted it + counter
    ObjectId 24 bytes   TaskId of the task that makes it (or of the put) + return index
    ActorId  20 bytes   the TaskId of the actor's creation
    LeaseId  20 bytes   WorkerId of the process that holds it + counter

The owner of a task or an object, and the node of a process, are therefore prefixes of its id: no table is needed to
find them. An :data:`Address` is the id of the process it names: a WorkerId, a NodeId (the raylet of that node) or
:data:`GCS`. Ids are never used twice, so a message from or to a dead incarnation is recognized by its address alone.
"""

from __future__ import annotations

from struct import Struct
from typing import TypeAlias

NodeId: TypeAlias = bytes
WorkerId: TypeAlias = bytes
TaskId: TypeAlias = bytes
ObjectId: TypeAlias = bytes
ActorId: TypeAlias = bytes
LeaseId: TypeAlias = bytes
JobId: TypeAlias = int
Address: TypeAlias = bytes

NODE_ID_SIZE = 8
WORKER_ID_SIZE = 12
TASK_ID_SIZE = 20
OBJECT_ID_SIZE = 24

GCS: Address = b"gcs"

_COUNTER_32 = Struct(">I")
_COUNTER_64 = Struct(">Q")
pack_counter_32 = _COUNTER_32.pack
pack_counter_64 = _COUNTER_64.pack
FIRST_RETURN = pack_counter_32(0)


def worker_id(node: NodeId, counter: int) -> WorkerId:
    """The id of the ``counter``-th process on ``node``."""
    return node + pack_counter_32(counter)


def task_id(submitter: WorkerId, counter: int) -> TaskId:
    """The id of the ``counter``-th task, put or lease made by the process ``submitter``."""
    return submitter + pack_counter_64(counter)


def return_id(task: TaskId, index: int) -> ObjectId:
    """The id of return value ``index`` (from 0) of ``task``."""
    return task + pack_counter_32(index)


def task_of(object_id: ObjectId) -> TaskId:
    """The task that makes (or the put that made) the object."""
    return object_id[:TASK_ID_SIZE]


def index_of(object_id: ObjectId) -> int:
    """Which return value of its task the object is."""
    index: int = _COUNTER_32.unpack(object_id[TASK_ID_SIZE:])[0]
    return index


def owner_of(task_or_object: bytes) -> WorkerId:
    """The process that owns a task, object, actor or lease."""
    return task_or_object[:WORKER_ID_SIZE]


def node_of(address: Address) -> NodeId:
    """The node a process runs on; a NodeId is its own node."""
    return address[:NODE_ID_SIZE]


def is_node(address: Address) -> bool:
    """Whether the address names a raylet."""
    return len(address) == NODE_ID_SIZE


def short(identifier: bytes) -> str:
    """A form for people: leading zeros of each field dropped (``3.w2.t17.r0``)."""
    if identifier == GCS:
        return "gcs"
    node = identifier[:NODE_ID_SIZE].hex().lstrip("0") or "0"
    parts = ["n" + node]
    if len(identifier) >= WORKER_ID_SIZE:
        parts.append(f"w{int.from_bytes(identifier[NODE_ID_SIZE:WORKER_ID_SIZE], 'big')}")
    if len(identifier) >= TASK_ID_SIZE:
        parts.append(f"t{int.from_bytes(identifier[WORKER_ID_SIZE:TASK_ID_SIZE], 'big')}")
    if len(identifier) >= OBJECT_ID_SIZE:
        parts.append(f"r{int.from_bytes(identifier[TASK_ID_SIZE:OBJECT_ID_SIZE], 'big')}")
    return ".".join(parts)
