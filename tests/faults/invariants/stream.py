"""Made-up runs: events as the engine would report them, for one checker."""

from __future__ import annotations

from typing import Any

from thornback.core.ids import NodeId, WorkerId, return_id, task_id, worker_id
from thornback.faults.invariants import Checker, Monitor

NODE: NodeId = b"\0\0\0\1\0\0\0\1"
OTHER: NodeId = b"\0\0\0\2\0\0\0\1"
DRIVER: WorkerId = worker_id(NODE, 1)
WORKER: WorkerId = worker_id(NODE, 2)
SECOND: WorkerId = worker_id(OTHER, 1)
TASK = task_id(DRIVER, 1)
LATER = task_id(DRIVER, 2)
OBJECT = return_id(TASK, 0)


class Stream:
    """Shows events to one checker, a microsecond apart."""

    def __init__(self, checker: Checker) -> None:
        self.monitor = Monitor([checker])
        self.time = 0

    def event(self, kind: str, subject: bytes, detail: Any = None) -> Stream:
        """One event; returns the stream."""
        self.time += 1000
        self.monitor.event(self.time, kind, subject, detail)
        return self

    def message(self, sender: bytes, to: bytes, message: Any) -> Stream:
        """One message; returns the stream."""
        self.time += 1000
        self.monitor.message(self.time, sender, to, message)
        return self

    @property
    def found(self) -> list[str]:
        """Which parts of the promise were broken."""
        return [violation.where for violation in self.monitor.violations]
