"""What the processes of the real world say to each other about themselves; the core never sees it."""

from __future__ import annotations

from thornback.core.messages.base import Message


class NodeEnds(Message, frozen=True, tag=250):
    """Node process to driver: this session ends, and why."""

    reason: str


class EndGcs(Message, frozen=True, tag=251):
    """Driver to node process: let the GCS end, and start another one from what is durable. For faults."""

    restart_after: int
    """Nanoseconds."""
    keep_unsynced: bool
    """Whether writes that were under way become durable before the end, or are lost."""


class DelayCommits(Message, frozen=True, tag=252):
    """Driver to node process: each commit of the GCS takes so much longer from now on. For faults."""

    delay: int
    """Nanoseconds; 0 ends it."""
