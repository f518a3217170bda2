"""Threads that wait: a note each, one timer for all, and a report of what lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from thornback.core.config import SECOND, Config
from thornback.core.context import TaskContext
from thornback.core.ids import GCS
from thornback.core.messages import ReportWaits
from thornback.core.messages.waits import PROCESS, TASK, Subject
from thornback.core.runtime import Waiter
from thornback.core.waits.blocked import GET, LONGEST_PAUSE, BlockedThreads
from thornback.core.waits.thread import wait_for

WORKER = b"process-0001"
PERIOD = 5 * SECOND


class Process:
    """A process with a clock that is turned by hand, whose threads are names."""

    def __init__(self, period: int = PERIOD) -> None:
        self.time = 0
        self.timers: list[tuple[int, Callable[[], None]]] = []
        self.reports: list[tuple[int, tuple[Subject, ...]]] = []
        self.running = "main"
        self.threads = ["main"]
        clock: Any = SimpleNamespace(now=lambda: self.time, call_after=self._call_after)
        ports: Any = SimpleNamespace(clock=clock, transport=SimpleNamespace(send=self._send))
        self.blocked = BlockedThreads(WORKER, ports, Config(wait_check=period))
        self.runtime: Any = SimpleNamespace(
            thread=lambda: self.running,
            turn=contextlib.nullcontext(),
            block=self._block,
            site_of=lambda thread: f"program.py:1 {thread}",
            has_other_threads=lambda thread: self.threads != [thread],
            core=SimpleNamespace(blocked=self.blocked, executor=None),
        )
        self.during: Callable[[], None] = lambda: None

    def _call_after(self, delay: int, call: Callable[[], None]) -> None:
        self.timers.append((self.time + delay, call))

    def _send(self, to: bytes, message: ReportWaits) -> None:
        assert to == GCS
        self.reports.append((self.time, message.subjects))

    def _block(self, waiter: Waiter, timeout: float | None) -> bool:
        self.during()
        return True

    def wait(self, during: Callable[[], None], timeout: float | None = None) -> None:
        """Wait for an object; ``during`` happens meanwhile."""
        self.during = during
        wait_for(self.runtime, Waiter(), timeout, (GET, (b"object",), 1))

    def advance(self, until: int) -> None:
        """Let time pass."""
        while self.timers and min(self.timers)[0] <= until:
            timer = min(self.timers, key=lambda each: each[0])
            self.timers.remove(timer)
            self.time = timer[0]
            timer[1]()
        self.time = until


def test_a_short_wait_costs_no_message_and_at_most_one_timer() -> None:
    process = Process()
    for _ in range(100):
        process.wait(lambda: process.advance(process.time + SECOND // 100))
    assert len(process.timers) == 1 and process.reports == []
    process.advance(60 * SECOND)
    assert process.timers == [], "the timer ends when nobody waits"


def test_a_long_wait_is_reported_again_and_again_at_growing_intervals() -> None:
    process = Process()
    process.wait(lambda: process.advance(600 * SECOND))
    times = [time for time, _ in process.reports]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] in (PERIOD, 2 * PERIOD) and len(times) < 20
    assert pauses == sorted(pauses) and pauses[-1] <= LONGEST_PAUSE + PERIOD
    assert {subjects for _, subjects in process.reports} == {(Subject(WORKER, PROCESS, WORKER),)}
    assert process.blocked.waits() == {}


def test_the_task_of_a_thread_is_named() -> None:
    process = Process()
    context = TaskContext(task_id=b"task")
    process.blocked.notes["main"] = ((GET, (b"object",), 1), False, context, process.time)
    process.blocked.watch(process.runtime)
    process.advance(2 * PERIOD)
    assert process.reports[0][1] == (Subject(WORKER, TASK, b"task"),)
    wait = process.blocked.of_task(b"task")
    assert wait is not None and process.blocked.site_of(wait) == "program.py:1 main"


def test_a_wait_with_a_timeout_is_not_reported() -> None:
    process = Process()
    process.wait(lambda: process.advance(60 * SECOND), timeout=100)
    assert process.reports == []


def test_nothing_is_looked_at_where_that_is_switched_off() -> None:
    process = Process(period=0)
    process.wait(lambda: process.advance(60 * SECOND))
    assert process.timers == [] and process.reports == []


def test_a_program_with_another_thread_may_go_on() -> None:
    process = Process()
    found: list[Any] = []

    def look() -> None:
        found.append(process.blocked.of_program())

    process.wait(look)
    process.threads.append("other")
    process.wait(look)
    assert found[0] is not None and found[1] is None
