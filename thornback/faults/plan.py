"""The vocabulary of faults. A plan is a list of them; as JSON, each is an object whose field ``kind`` names it.

Times are seconds since the start, rates are probabilities, and nodes are given by index (0 is the head).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias, Union

import msgspec
from msgspec import Meta

Seconds: TypeAlias = Annotated[float, Meta(ge=0)]
Rate: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
NodeIndex: TypeAlias = Annotated[int, Meta(ge=0)]
Nodes: TypeAlias = Annotated[list[NodeIndex], Meta(min_length=1)]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=True):
    """Base of all faults."""

    lossy: ClassVar[bool] = False
    """Whether it can lose messages on a link."""


class CrashWorker(Fault, frozen=True, kw_only=True, tag="crash_worker"):
    """A worker process is killed: at a time, or when it is about to send a reply."""

    node: NodeIndex
    worker: Annotated[int, Meta(ge=0)] | None = None
    """Counts the workers that the node starts, from 0; by default the first one that runs a task."""
    at: Seconds | None = None
    after_replies: Annotated[int, Meta(ge=0)] | None = None
    """It dies as soon as that many task replies have left it; 0: before its first reply leaves."""


class CrashNode(Fault, frozen=True, kw_only=True, tag="crash_node"):
    """All processes of a node end at once, and its memory is lost."""

    node: Annotated[int, Meta(ge=1)]
    at: Seconds
    reboot_after: Seconds | None = None
    """It starts again, as a new node, after so many seconds."""


class PauseNode(Fault, frozen=True, kw_only=True, tag="pause_node"):
    """All processes of a node stop taking part, and go on later as if nothing had happened."""

    node: Annotated[int, Meta(ge=1)]
    at: Seconds
    until: Seconds


class SlowNode(Fault, frozen=True, kw_only=True, tag="slow_node"):
    """Computing and starting processes takes longer on a node."""

    node: NodeIndex
    factor: Annotated[float, Meta(gt=0)]
    at: Seconds = 0.0
    until: Seconds | None = None


class SlowStart(Fault, frozen=True, kw_only=True, tag="slow_start"):
    """Starting a worker takes longer."""

    node: NodeIndex
    delay: Seconds
    at: Seconds = 0.0
    until: Seconds | None = None


class FailedStart(Fault, frozen=True, kw_only=True, tag="failed_start"):
    """The next worker processes of a node end before they are up."""

    node: NodeIndex
    count: Annotated[int, Meta(ge=1)] = 1
    at: Seconds = 0.0


class LinkFault(Fault, frozen=True, kw_only=True):
    """Base of the faults of links: from the nodes ``a`` to the nodes ``b`` and back. By default all nodes."""

    a: Nodes | None = None
    b: Nodes | None = None
    one_way: bool = False
    """Only from ``a`` to ``b``."""
    at: Seconds = 0.0
    until: Seconds | None = None


class Cut(LinkFault, frozen=True, kw_only=True, tag="cut"):
    """No message passes."""

    lossy: ClassVar[bool] = True


class Loss(LinkFault, frozen=True, kw_only=True, tag="loss"):
    """Some messages are lost."""

    lossy: ClassVar[bool] = True
    rate: Rate


class Duplicate(LinkFault, frozen=True, kw_only=True, tag="duplicate"):
    """Some messages arrive twice."""

    lossy: ClassVar[bool] = True
    rate: Rate


class Reorder(LinkFault, frozen=True, kw_only=True, tag="reorder"):
    """Some messages are late, and overtaken by others."""

    lossy: ClassVar[bool] = True
    rate: Rate
    window: Seconds = 0.01
    """How late at most."""


class Delay(LinkFault, frozen=True, kw_only=True, tag="delay"):
    """Messages take longer."""

    seconds: Seconds
    jitter: Seconds = 0.0
    """Up to which a random time is added."""


class Bandwidth(LinkFault, frozen=True, kw_only=True, tag="bandwidth"):
    """Large messages take longer."""

    factor: Annotated[float, Meta(gt=0)]
    """On the bandwidth; below 1 is slower."""


class Reset(Fault, frozen=True, kw_only=True, tag="reset"):
    """The connection between two nodes breaks: what is under way is lost."""

    lossy: ClassVar[bool] = True
    a: NodeIndex
    b: NodeIndex
    at: Seconds


class ClockStep(Fault, frozen=True, kw_only=True, tag="clock_step"):
    """The clock of a node jumps forward."""

    node: NodeIndex
    seconds: Seconds
    at: Seconds


class ClockDrift(Fault, frozen=True, kw_only=True, tag="clock_drift"):
    """The clock of a node runs too fast (or, below 0, too slow)."""

    node: NodeIndex
    parts_per_million: Annotated[float, Meta(ge=-500_000, le=500_000)]
    at: Seconds = 0.0


AnyFault: TypeAlias = Union[
    CrashWorker,
    CrashNode,
    PauseNode,
    SlowNode,
    SlowStart,
    FailedStart,
    Cut,
    Loss,
    Duplicate,
    Reorder,
    Delay,
    Bandwidth,
    Reset,
    ClockStep,
    ClockDrift,
]


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
        times = [0.0]
        for fault in self.faults:
            for name in ("at", "until"):
                times.append(getattr(fault, name, None) or 0.0)
            times.append((getattr(fault, "at", None) or 0.0) + (getattr(fault, "reboot_after", None) or 0.0))
        return max(times)

    def to_json(self) -> bytes:
        """The plan as :func:`thornback.faults.loader.load_plan` reads it."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)
