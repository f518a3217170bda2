"""Concurrency groups: how many executions run at the same time, and which wait."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thornback.core.executor.execution import Execution


@dataclass(slots=True)
class Lane:
    """A concurrency group of an actor; a task worker has one, with limit 1."""

    limit: int
    running: int = 0
    queue: deque[Execution] = field(default_factory=deque)
