"""What the simulated hardware is like: all durations and rates in one place."""

from __future__ import annotations

from dataclasses import dataclass

from thornback.core.config import MILLISECOND, SECOND

MICROSECOND = 1000


@dataclass(frozen=True, slots=True)
class Model:
    """Speeds of the simulated machines. Times are nanoseconds, rates are bytes per second.

    Attributes:
        local_latency: of a message between two processes of a node.
        latency: of a message between nodes.
        jitter: up to which a random time is added to ``latency``.
        bandwidth: of a node's outgoing network connection.
        node_start: until a node process is up; varies by a half.
        worker_start: until a worker process is up; varies by a half.
        commit: of one durable write.
        poll: least time that a user thread takes to ask for something that is not there.
    """

    local_latency: int = 20 * MICROSECOND
    latency: int = 200 * MICROSECOND
    jitter: int = 50 * MICROSECOND
    bandwidth: float = 1.25e9
    node_start: int = 200 * MILLISECOND
    worker_start: int = 40 * MILLISECOND
    commit: int = 1 * MILLISECOND
    poll: int = 10 * MICROSECOND


def nanoseconds(seconds: float) -> int:
    """Seconds as users write them in the engine's unit."""
    return round(seconds * SECOND)
