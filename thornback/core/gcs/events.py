"""Finished executions, for the timeline and the list of tasks."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from thornback.core.ids import Address, node_of
from thornback.core.messages import TaskEvent, TaskEvents

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore


class EventTable:
    """The latest executions of the cluster."""

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.events: deque[TaskEvent] = deque(maxlen=gcs.config.task_events)

    def on_task_events(self, sender: Address, message: TaskEvents) -> None:
        """A worker reports what it has run."""
        self.events.extend(message.events)
        self.gcs.slow_nodes.record(message.events)

    def rows(self) -> list[dict[str, Any]]:
        """For people. Times are nanoseconds since the epoch."""
        return [
            {
                "task_id": event.task_id.hex(),
                "attempt": event.attempt,
                "name": event.name,
                "worker_id": event.worker_id.hex(),
                "node_id": node_of(event.worker_id).hex(),
                "start": event.start,
                "end": event.end,
                "state": event.outcome.upper(),
            }
            for event in self.events
        ]
