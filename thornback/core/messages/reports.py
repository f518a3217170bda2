"""Keys, questions about the state of the cluster, and reports to people."""

from __future__ import annotations

from thornback.core.ids import TaskId, WorkerId
from thornback.core.messages.base import Message, Record


class PutKey(Message, frozen=True, tag=110):
    """Anyone to GCS: set a durable key; answered with KeyValue. Made once, however often it is heard."""

    request: int
    """Grows with each PutKey of the sender."""
    key: str
    value: bytes | None
    """None deletes."""
    overwrite: bool = True
    answered: int = 0
    """The sender has the answers to all its requests up to this one."""


class GetKey(Message, frozen=True, tag=111):
    """Anyone to GCS; answered with KeyValue."""

    request: int
    key: str


class KeyValue(Message, frozen=True, tag=112):
    """GCS to asker: the value now; to a PutKey, the value right after it was made."""

    request: int
    value: bytes | None


class QueryState(Message, frozen=True, tag=113):
    """Anyone to GCS, to a raylet or to a process: rows of one of its tables; answered with StateRows."""

    request: int
    table: str


class StateRows(Message, frozen=True, tag=114):
    """Rows as a JSON array of objects."""

    request: int
    rows: bytes


class TaskEvent(Record, frozen=True):
    """One finished execution, for the timeline."""

    task_id: TaskId
    attempt: int
    name: str
    worker_id: WorkerId
    start: int
    end: int
    """Both in nanoseconds since the epoch (virtual in the simulated world)."""
    outcome: str


class TaskEvents(Message, frozen=True, tag=115):
    """Worker to GCS, now and then."""

    events: tuple[TaskEvent, ...]


class LogLines(Message, frozen=True, tag=116):
    """Raylet to driver: output of a worker of its job."""

    worker_id: WorkerId
    pid: int
    name: str
    stream: str
    """stdout or stderr"""
    lines: tuple[str, ...]
