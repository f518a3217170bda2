"""Faults of single processes: workers, owners, drivers."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from thornback.faults.base import Count, Fault, LastingFault, NodeIndex, Seconds

Moment: TypeAlias = Literal["before_running", "running", "before_reply", "after_reply"]
WorkerNumber: TypeAlias = Annotated[int, Meta(ge=0)]
"""Counts the workers that a node starts, from 0."""


class CrashWorker(Fault, frozen=True, kw_only=True, tag="crash_worker"):
    """A worker process is killed: at a time, after an event, or at a moment in the life of a task that it runs."""

    always_timed = False

    node: NodeIndex
    worker: WorkerNumber | None = None
    """By default the first one that runs a task, or that reaches the moment."""
    moment: Moment | None = None
    """``before_running``: a task has arrived and has not started; ``running``: it has started; ``before_reply``: it has
    ended, and its reply has not left; ``after_reply``: the reply has left."""
    nth: Count = 1
    """With ``moment``: of which task."""

    def problem(self) -> str:
        """Why this fault is impossible; "" if it is not."""
        if sum(each is not None for each in (self.at, self.after, self.moment)) != 1:
            return "crash_worker needs one of at (seconds), after (a message or event) and moment (of a task)"
        if self.nth > 1 and self.moment is None:
            return "nth goes with moment: of which task it is"
        return super().problem()


class CrashOwner(Fault, frozen=True, kw_only=True, tag="crash_owner"):
    """A worker that owns something is killed: it has submitted tasks, made actors or put objects. Nothing happens while
    there is none on the node."""

    node: NodeIndex


class CrashDriver(Fault, frozen=True, kw_only=True, tag="crash_driver"):
    """A driver is killed: what its job started and that is not detached must end. In a simulation it is never the
    program's own; nothing happens while there is no other."""

    node: NodeIndex = 0


class PauseWorker(LastingFault, frozen=True, kw_only=True, tag="pause_worker"):
    """A worker process stops taking part, and goes on later as if nothing had happened."""

    node: NodeIndex
    worker: WorkerNumber | None = None
    """By default the first one that runs a task."""


class OutOfMemory(Fault, frozen=True, kw_only=True, tag="out_of_memory"):
    """The memory of a node is used up: the raylet ends the worker whose task is cheapest to run again."""

    node: NodeIndex


class SlowStart(LastingFault, frozen=True, kw_only=True, tag="slow_start"):
    """Starting a worker takes longer."""

    node: NodeIndex
    delay: Seconds


class FailedStart(Fault, frozen=True, kw_only=True, tag="failed_start"):
    """The next worker processes of a node end before they are up."""

    always_timed = False

    node: NodeIndex
    count: Count = 1
