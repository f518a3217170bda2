"""Faults of whole machines, of the GCS, and of clocks."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from thornback.faults.base import Count, Factor, Fault, LastingFault, NodeIndex, OtherNode, Seconds


class CrashNode(Fault, frozen=True, kw_only=True, tag="crash_node"):
    """A machine is lost: all its processes end at once, and its memory is gone."""

    node: OtherNode
    reboot_after: Seconds | None = None
    """It starts again at the same address, as a new node, after so many seconds; by default never."""

    @property
    def end(self) -> float:
        """When it has happened, or the machine is up again."""
        return super().end + (self.reboot_after or 0.0)


class CrashRaylet(Fault, frozen=True, kw_only=True, tag="crash_raylet"):
    """The raylet of a node is killed. Its workers notice a little later and end; the machine starts a new raylet."""

    node: OtherNode
    orphans_live: Seconds = 0.05
    """How long workers run on without their raylet."""
    restart_after: Seconds | None = 1.0
    """Null: never."""

    @property
    def end(self) -> float:
        """When it has happened, or a new raylet is up."""
        return super().end + max(self.orphans_live, self.restart_after or 0.0)


class CrashRack(Fault, frozen=True, kw_only=True, tag="crash_rack"):
    """Several machines are lost together: a switch or a power supply has failed."""

    nodes: Annotated[list[OtherNode], Meta(min_length=1)]
    spread: Seconds = 0.0
    """Between the first and the last of them, in the order given."""
    reboot_after: Seconds | None = None

    @property
    def end(self) -> float:
        """When all are lost, or up again."""
        return super().end + self.spread + (self.reboot_after or 0.0)


class PreemptNode(Fault, frozen=True, kw_only=True, tag="preempt_node"):
    """The cloud takes a machine away, with notice: the cluster is told, and the machine is lost when it is over."""

    node: OtherNode
    notice: Seconds
    reboot_after: Seconds | None = None

    @property
    def end(self) -> float:
        """When the machine is lost, or another is up in its place."""
        return super().end + self.notice + (self.reboot_after or 0.0)


class LaunchNodes(Fault, frozen=True, kw_only=True, tag="launch_nodes"):
    """New machines are asked for, which get the next indexes; fewer than asked for, or none, come; they may be late."""

    count: Count = 1
    arrive: Annotated[int, Meta(ge=0)] | None = None
    """How many come up; by default all. 0: the launch has failed."""
    delay: Seconds = 0.0
    """Longer than a start usually takes: the launch stalls."""
    cpus: Annotated[float, Meta(ge=0)] = 2.0
    """Of each."""

    def problem(self) -> str:
        """Why this fault is impossible; "" if it is not."""
        if self.arrive is not None and self.arrive > self.count:
            return f"arrive ({self.arrive}) must not be more than count ({self.count})"
        return super().problem()

    @property
    def end(self) -> float:
        """When they have been started."""
        return super().end + self.delay


class CrashGcs(Fault, frozen=True, kw_only=True, tag="crash_gcs"):
    """The GCS ends; a new one loads what is durable."""

    restart_after: Seconds = 1.0
    unsynced: Literal["lost", "kept"] = "lost"
    """What becomes of the writes that were under way to the disk, of whose success the GCS had not heard: either may
    happen."""

    @property
    def end(self) -> float:
        """When it is started again."""
        return super().end + self.restart_after


class SlowCommits(LastingFault, frozen=True, kw_only=True, tag="slow_commits"):
    """The durable store of the GCS takes longer for each commit."""

    delay: Seconds


class LateHeartbeats(LastingFault, frozen=True, kw_only=True, tag="late_heartbeats"):
    """The heartbeats of a node are held back until the fault ends, and nothing else: past the threshold it is declared
    dead although all goes well there."""

    node: OtherNode


class PauseNode(LastingFault, frozen=True, kw_only=True, tag="pause_node"):
    """All processes of a node stop taking part, and go on later as if nothing had happened."""

    node: OtherNode

    def problem(self) -> str:
        """Why this fault is impossible; "" if it is not."""
        return super().problem() or _problem_of_pause(self)


class PauseRaylet(LastingFault, frozen=True, kw_only=True, tag="pause_raylet"):
    """The node process of a node, on the head with the GCS, stops taking part, and goes on later as if nothing had
    happened; workers and drivers of the node run on."""

    node: NodeIndex

    def problem(self) -> str:
        """Why this fault is impossible; "" if it is not."""
        return super().problem() or _problem_of_pause(self)


def _problem_of_pause(fault: LastingFault) -> str:
    if fault.at is None and fault.after is None:
        return "it needs at (seconds since the start) or after (a message or event)"
    return "" if fault.duration is not None else "a pause needs until or lasting"


class SlowNode(LastingFault, frozen=True, kw_only=True, tag="slow_node"):
    """Computing and starting processes takes longer on a node."""

    node: NodeIndex
    factor: Factor


class ClockStep(Fault, frozen=True, kw_only=True, tag="clock_step"):
    """The clock of a node jumps forward: what ``time.time()`` shows there, and the engine's own clock, as after a
    suspended virtual machine goes on. ``time.monotonic()`` does not jump, as operating systems promise."""

    node: NodeIndex
    seconds: Seconds


class ClockDrift(Fault, frozen=True, kw_only=True, tag="clock_drift"):
    """The clock of a node runs too fast (or, below 0, too slow)."""

    always_timed = False

    node: NodeIndex
    parts_per_million: Annotated[float, Meta(ge=-500_000, le=500_000)]
