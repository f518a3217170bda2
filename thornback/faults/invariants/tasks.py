"""How often tasks start, and what a cancelled one may still say."""

from __future__ import annotations

from thornback.core.executor.execution import CALL, TASK
from thornback.core.ids import TaskId, short
from thornback.faults.invariants.base import Checker, Detail


class Attempts(Checker):
    """Counts starts against what the caller has allowed."""

    name = "attempts"
    promise = (
        "a task or method starts at most once for each attempt, and has at most 1 + max_retries attempts, besides "
        "second runs of stragglers that allow them"
    )

    def __init__(self) -> None:
        super().__init__()
        self._allowed: dict[TaskId, tuple[str, int]] = {}
        self._started: dict[TaskId, set[int]] = {}

    def on_task_submitted(self, time: int, subject: bytes, detail: Detail) -> None:
        """Somebody calls a function or method."""
        name, max_retries, _actor = detail
        self._allowed[subject] = name, max_retries

    def on_task_speculated(self, time: int, subject: bytes, detail: Detail) -> None:
        """Its owner runs a straggler a second time, which does not count as a retry."""
        name, retries = self._allowed.get(subject, ("?", -1))
        if retries == 0:
            self.fail(subject, "a second run without permission", f"{name} ({short(subject)}) has max_retries=0")
        self._allowed[subject] = name, retries + 1 if retries >= 0 else retries

    def on_task_excused(self, time: int, subject: bytes, detail: Detail) -> None:
        """Its worker was ended for want of memory, or since its node leaves: the retry that follows does not count."""
        name, retries = self._allowed.get(subject, ("?", -1))
        self._allowed[subject] = name, retries + 1 if retries >= 0 else retries

    def on_task_started(self, time: int, subject: bytes, detail: Detail) -> None:
        """A worker begins to run it."""
        attempt, kind = detail[:2]
        if kind not in (TASK, CALL):
            return
        started = self._started.setdefault(subject, set())
        name, retries = self._allowed.get(subject, ("?", -1))
        if attempt in started:
            text = f"attempt {attempt} of {name} ({short(subject)}) has started twice"
            self.fail(subject, f"an attempt of a {kind} started twice", text)
        started.add(attempt)
        if 0 <= retries < len(started) - 1 or (0 <= retries < attempt):
            text = f"{name} ({short(subject)}) with max_retries={retries} starts its attempt number {attempt}"
            self.fail(subject, f"more attempts of a {kind} than allowed", text)


class Cancelled(Checker):
    """Remembers which tasks their owners have cancelled."""

    name = "cancelled"
    promise = "a task that was cancelled before its owner had a result never reports success afterwards"

    def __init__(self) -> None:
        super().__init__()
        self._cancelled: dict[TaskId, None] = {}

    def on_task_cancel(self, time: int, subject: bytes, detail: Detail) -> None:
        """Its owner has cancelled an unfinished task."""
        self._cancelled[subject] = None

    def on_task_finished(self, time: int, subject: bytes, detail: Detail) -> None:
        """Its owner counts it as a success."""
        if subject in self._cancelled:
            self.fail(subject, "a cancelled task succeeded", f"task {short(subject)} was cancelled, and then succeeded")
