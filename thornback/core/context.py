"""What the running user code is part of: the task, the actor, the resources it holds."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import msgspec

from thornback.core.ids import ActorId, JobId, TaskId
from thornback.core.messages import Strategy


class TaskContext(msgspec.Struct, eq=False):
    """One execution, as seen from inside. ``task_id`` is empty in a driver."""

    task_id: TaskId = b""
    name: str = ""
    attempt: int = 0
    job_id: JobId = 0
    namespace: str = ""
    actor_id: ActorId = b""
    actor: Any = None
    """The actor instance, in an actor's methods."""
    incarnation: int = 0
    resources: dict[str, int] = msgspec.field(default_factory=dict)
    gpu_ids: tuple[int, ...] = ()
    strategy: Strategy = msgspec.field(default_factory=Strategy)
    runtime_env: str = ""
    cancelled: bool = False
    holds_cpu: bool = False
    """Whether blocking gives the CPU back to the raylet."""


current: ContextVar[TaskContext | None] = ContextVar("thornback_task", default=None)
"""None outside of tasks."""
