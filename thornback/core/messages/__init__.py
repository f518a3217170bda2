"""Everything that processes say to each other, one type per thing said.

Frozen msgspec structs: cheap to make, validated when decoded, safe to parse from strangers. User values ride inside as
opaque pickled bytes. Ids are the ``bytes`` of :mod:`thornback.core.ids`; times are nanoseconds; sizes are bytes.
A handler of message type ``FooBar`` is the method ``on_foo_bar(sender, message)`` of the one component that takes it.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

import msgspec

from thornback.core.messages.actors import (
    ALIVE,
    DEAD,
    PENDING,
    RESTARTING,
    ActorCreated,
    ActorExiting,
    ActorOutOfScope,
    ActorRegistered,
    ActorSpec,
    ActorTasksRefused,
    ActorUpdate,
    CreateActor,
    GetNamedActor,
    KillActor,
    NamedActor,
    PushActorTasks,
    RegisterActor,
    SubscribeActor,
)
from thornback.core.messages.base import (
    Message,
    Record,
    ResourceMap,
)
from thornback.core.messages.leases import (
    AcquireCpu,
    CancelLease,
    CpuAcquired,
    KillWorker,
    LeaseGranted,
    LeaseInfeasible,
    LeaseLost,
    LeaseSpilled,
    ReclaimLeases,
    ReleaseCpu,
    RequestLease,
    ReturnLease,
)
from thornback.core.messages.nodes import (
    Death,
    Deaths,
    EndJob,
    EndWorker,
    GetView,
    Heartbeat,
    JobEnded,
    JobStarted,
    NodeFenced,
    NodeRegistered,
    NodeView,
    RegisterNode,
    RegisterWorker,
    ReportResources,
    StartJob,
    ViewDelta,
)
from thornback.core.messages.objects import (
    AbortObject,
    AddBorrower,
    AllocateObject,
    BorrowerAdded,
    CopyChanged,
    FetchObject,
    FreeObjects,
    GetObject,
    HandoversReviewed,
    HandoverTaken,
    KeepCopy,
    ObjectAllocated,
    ObjectChunk,
    ObjectContent,
    ObjectPinned,
    ObjectUnavailable,
    PinFailed,
    PinObject,
    RemoveBorrower,
    ReviewHandovers,
    SealObject,
    TrimPins,
    UnpinObject,
)
from thornback.core.messages.placement_groups import (
    BundlesHeld,
    BundlesReserved,
    CommitBundles,
    CreateGroup,
    FindGroup,
    GroupFound,
    GroupSpec,
    GroupUpdate,
    PolicyRegistered,
    ReleaseBundles,
    RemoveGroup,
    ReserveBundles,
    SubscribeGroup,
)
from thornback.core.messages.reports import (
    GetKey,
    KeyValue,
    LogLines,
    PutKey,
    QueryState,
    StateRows,
    TaskEvent,
    TaskEvents,
)
from thornback.core.messages.tasks import (
    DYNAMIC,
    STREAMING,
    CancelRequest,
    CancelTask,
    FunctionDefinition,
    LeaseBlocked,
    LeaseUnblocked,
    PushTasks,
    StealTasks,
    Strategy,
    StreamConsumed,
    StreamItem,
    TaskCall,
    TaskReplies,
    TaskReply,
    TasksReturned,
    TaskTemplate,
)
from thornback.core.messages.values import (
    Content,
    Dependency,
    Stored,
    Value,
)

MESSAGES: tuple[type[Message], ...] = tuple(Message.__subclasses__())
"""All message types, in the order of their definition."""

encode = msgspec.msgpack.Encoder().encode
"""One or a list of messages as msgpack."""
_decoder: Any = None


def decode(data: bytes | memoryview) -> list[Message]:
    """The inverse of ``encode`` of a list of messages.

    Raises:
        msgspec.DecodeError: these are not messages.
    """
    global _decoder
    if _decoder is None:
        _decoder = msgspec.msgpack.Decoder(list[reduce(or_, MESSAGES)])  # type: ignore[misc]
    messages: list[Message] = _decoder.decode(data)
    return messages


__all__ = [
    "ALIVE",
    "DEAD",
    "DYNAMIC",
    "MESSAGES",
    "PENDING",
    "RESTARTING",
    "STREAMING",
    "AbortObject",
    "AcquireCpu",
    "ActorCreated",
    "ActorExiting",
    "ActorOutOfScope",
    "ActorRegistered",
    "ActorSpec",
    "ActorTasksRefused",
    "ActorUpdate",
    "AddBorrower",
    "AllocateObject",
    "BorrowerAdded",
    "BundlesHeld",
    "BundlesReserved",
    "CancelLease",
    "CancelRequest",
    "CancelTask",
    "CommitBundles",
    "Content",
    "CopyChanged",
    "CpuAcquired",
    "CreateActor",
    "CreateGroup",
    "Death",
    "Deaths",
    "Dependency",
    "EndJob",
    "EndWorker",
    "FetchObject",
    "FindGroup",
    "FreeObjects",
    "FunctionDefinition",
    "GetKey",
    "GetNamedActor",
    "GetObject",
    "GetView",
    "GroupFound",
    "GroupSpec",
    "GroupUpdate",
    "HandoverTaken",
    "HandoversReviewed",
    "Heartbeat",
    "JobEnded",
    "JobStarted",
    "KeepCopy",
    "KeyValue",
    "KillActor",
    "KillWorker",
    "LeaseBlocked",
    "LeaseGranted",
    "LeaseInfeasible",
    "LeaseLost",
    "LeaseSpilled",
    "LeaseUnblocked",
    "LogLines",
    "Message",
    "NamedActor",
    "NodeFenced",
    "NodeRegistered",
    "NodeView",
    "ObjectAllocated",
    "ObjectChunk",
    "ObjectContent",
    "ObjectPinned",
    "ObjectUnavailable",
    "PinFailed",
    "PinObject",
    "PolicyRegistered",
    "PushActorTasks",
    "PushTasks",
    "PutKey",
    "QueryState",
    "ReclaimLeases",
    "Record",
    "RegisterActor",
    "RegisterNode",
    "RegisterWorker",
    "ReleaseBundles",
    "ReleaseCpu",
    "RemoveBorrower",
    "RemoveGroup",
    "ReportResources",
    "RequestLease",
    "ReserveBundles",
    "ResourceMap",
    "ReturnLease",
    "ReviewHandovers",
    "SealObject",
    "StartJob",
    "StateRows",
    "StealTasks",
    "Stored",
    "Strategy",
    "StreamConsumed",
    "StreamItem",
    "SubscribeActor",
    "SubscribeGroup",
    "TaskCall",
    "TaskEvent",
    "TaskEvents",
    "TaskReplies",
    "TaskReply",
    "TaskTemplate",
    "TasksReturned",
    "TrimPins",
    "UnpinObject",
    "Value",
    "ViewDelta",
    "decode",
    "encode",
]
