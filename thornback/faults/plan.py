"""Plans: the faults that happen in one run. As JSON, each fault is an object whose field ``kind`` names it.

The vocabulary is in :mod:`.process_faults`, :mod:`.node_faults`, :mod:`.link_faults` and :mod:`.storage_faults`; all of
it can be imported from here. Times are seconds since the start, rates are probabilities, and nodes are given by index
(0 is the head).
"""

from __future__ import annotations

from typing import Any, TypeAlias, Union, get_args

import msgspec

from thornback.faults.base import MESSAGE_NAMES, Fault, LastingFault, Trigger
from thornback.faults.events import TRIGGER_EVENTS
from thornback.faults.link_faults import (
    Bandwidth,
    Cut,
    Delay,
    Duplicate,
    LinkFault,
    LoseMessage,
    Loss,
    Reorder,
    Reset,
    Within,
)
from thornback.faults.node_faults import (
    ClockDrift,
    ClockStep,
    CrashGcs,
    CrashNode,
    CrashRack,
    CrashRaylet,
    LateHeartbeats,
    LaunchNodes,
    PauseNode,
    PauseRaylet,
    PreemptNode,
    SlowCommits,
    SlowNode,
)
from thornback.faults.process_faults import (
    CrashDriver,
    CrashOwner,
    CrashWorker,
    FailedStart,
    OutOfMemory,
    PauseWorker,
    SlowStart,
)
from thornback.faults.storage_faults import (
    CorruptChunk,
    CorruptSpill,
    EvictCopies,
    FillStore,
    SlowDisk,
    SpillError,
    TornSpill,
)

__all__ = [
    "KINDS",
    "MESSAGE_NAMES",
    "TRIGGER_EVENTS",
    "AnyFault",
    "Bandwidth",
    "ClockDrift",
    "ClockStep",
    "CorruptChunk",
    "CorruptSpill",
    "CrashDriver",
    "CrashGcs",
    "CrashNode",
    "CrashOwner",
    "CrashRack",
    "CrashRaylet",
    "CrashWorker",
    "Cut",
    "Delay",
    "Duplicate",
    "EvictCopies",
    "FailedStart",
    "Fault",
    "FillStore",
    "LastingFault",
    "LateHeartbeats",
    "LaunchNodes",
    "LinkFault",
    "LoseMessage",
    "Loss",
    "OutOfMemory",
    "PauseNode",
    "PauseRaylet",
    "PauseWorker",
    "Plan",
    "PreemptNode",
    "Reorder",
    "Reset",
    "SlowCommits",
    "SlowDisk",
    "SlowNode",
    "SlowStart",
    "SpillError",
    "TornSpill",
    "Trigger",
    "Within",
    "json_schema",
]

AnyFault: TypeAlias = Union[
    CrashWorker,
    CrashOwner,
    CrashDriver,
    PauseWorker,
    OutOfMemory,
    SlowStart,
    FailedStart,
    CrashNode,
    CrashRaylet,
    CrashRack,
    PreemptNode,
    LaunchNodes,
    CrashGcs,
    SlowCommits,
    LateHeartbeats,
    PauseNode,
    PauseRaylet,
    SlowNode,
    ClockStep,
    ClockDrift,
    Cut,
    Loss,
    Duplicate,
    Reorder,
    Delay,
    Bandwidth,
    Reset,
    LoseMessage,
    FillStore,
    EvictCopies,
    SpillError,
    TornSpill,
    CorruptSpill,
    SlowDisk,
    CorruptChunk,
]

KINDS: dict[str, type[Fault]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyFault)}
"""The whole vocabulary, by the names that plans use."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Faults that happen in one run."""

    faults: tuple[AnyFault, ...] = ()
    name: str = ""
    """For people."""

    @property
    def is_lossy(self) -> bool:
        """Whether messages on a link can be lost."""
        return any(fault.lossy for fault in self.faults)

    @property
    def end(self) -> float:
        """When the last fault has begun or ended, in seconds; faults without end count by their beginning."""
        return max((fault.end for fault in self.faults), default=0.0)

    def problem(self, nodes: int) -> tuple[int, str, str] | None:
        """The first fault that a cluster of ``nodes`` nodes cannot have: its place in the plan, the field, and the
        reason; None if there is none. Nodes that the plan launches count."""
        known = nodes + sum(fault.count for fault in self.faults if isinstance(fault, LaunchNodes))
        for index, fault in enumerate(self.faults):
            for field, named in fault.named_nodes():
                for node in named:
                    if node >= known:
                        which = "only node 0" if known == 1 else f"nodes 0 to {known - 1}"
                        return index, field, f"there is no node {node} in a cluster of {known} nodes: it has {which}"
        return None

    def to_json(self) -> bytes:
        """The plan as :func:`thornback.faults.loader.load_plan` reads it."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of plans."""
    schema = msgspec.json.schema(Plan)
    triggers = schema["$defs"]["Trigger"]["properties"]
    for field, names in (("message", MESSAGE_NAMES), ("event", TRIGGER_EVENTS)):
        triggers[field] = {"enum": [*names, None], "default": None}
    schema["$defs"]["LoseMessage"]["properties"]["message"] = {"enum": list(MESSAGE_NAMES)}
    schema["$defs"]["Plan"]["properties"]["$schema"] = {"type": "string"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Thornback fault plan", **schema}
