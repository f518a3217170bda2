"""The runtime of a worker: its main thread waits for tasks, runs them, and pumps whenever it has none."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import threading
from pathlib import Path
from time import monotonic_ns
from types import FrameType
from typing import Any, NoReturn

from thornback.core.config import MILLISECOND, SECOND, Config
from thornback.core.runtime import Waiter
from thornback.transports.process_runtime import ProcessRuntime
from thornback.transports.template import StartRequest, WorkerEnvironment
from thornback.transports.turns import report_bug
from thornback.transports.user_threads import UserThreads

_REPLIES_WAIT = MILLISECOND
_EXIT_LIMIT = SECOND
_IDLE = 0.1
"""Seconds without work after which a worker collects its garbage, once."""


class WorkerRuntime(ProcessRuntime):
    """Hosts a :class:`thornback.core.worker.WorkerCore` with an executor."""

    def __init__(self, environment: WorkerEnvironment, request: StartRequest, user_threads: UserThreads) -> None:
        self._user_threads = user_threads
        self._leaving: str | None = None
        self._has_run = False
        """Tasks or calls have run since garbage was last collected for want of work."""
        user_threads.runtime = self
        self._life_fd = environment.life_fd
        super().__init__(
            Path(environment.directory),
            request.worker_id,
            environment.memory,
            Config.of(request.config),
            user_threads,
            request.job_id,
        )
        executor = self.core.executor
        assert executor is not None
        executor.runtime = self
        executor.pid = os.getpid()

    def serve(self) -> NoReturn:
        """Run tasks for ever; the main thread of the worker."""
        main = threading.get_ident()
        pump, user_threads = self.pump, self._user_threads
        pump.protect(main, True)
        signal.signal(signal.SIGURG, self._on_cancel)
        with pump.lock:
            self.core.start(os.getpid())
        pump.start_ticker()
        ready = user_threads.ready
        settled = 0
        while True:
            if not ready:
                self._await_execution(main)
                settled = monotonic_ns()
                continue
            execution = ready.popleft()
            outcome = user_threads.run(execution)
            self._has_run = True
            with pump.lock:
                self.finished(execution, outcome)
                answer_now = execution.runs_once
                del execution, outcome
                if ready and (answer_now or monotonic_ns() - settled > _REPLIES_WAIT):
                    pump.settle()
                    pump.poll_if_free()
                    settled = monotonic_ns()

    def _await_execution(self, main: int) -> None:
        user_threads = self._user_threads
        with self.pump.lock:
            if user_threads.ready:
                return
            waiter = user_threads.arrival = Waiter()
        try:
            if user_threads.has_asyncio:
                threading.Event().wait()  # the loop's thread pumps; this one would only take turns with it
            if self._has_run and not self.pump.wait(waiter, _IDLE):
                self._has_run = False
                gc.collect()  # what a task left in cycles, an error with its frames say, may hold references
            self.pump.wait(waiter, None)
        except KeyboardInterrupt:
            pass  # meant for a task that has ended meanwhile
        self.pump.protect(main, True)

    def finished(self, execution: Any, outcome: Any) -> None:
        """User code has come back (lock held)."""
        assert self.core.executor is not None
        try:
            self.core.executor.finished(execution, outcome)
        except Exception:
            report_bug()
        self.pump.mark_dirty()

    def _on_cancel(self, _number: int, _frame: FrameType | None) -> None:
        """Signal handler: the pump has asked for an interrupt of the main thread."""
        main = threading.get_ident()
        if self.pump.has_interrupt(main) and not self.pump.interrupt_main():
            self.pump.take_interrupt(main)
            raise KeyboardInterrupt

    # --- Ends ---------------------------------------------------------------------------------------------------------

    def leave(self, reason: str) -> None:
        """End this process once the present turn is over."""
        self._leaving = reason

    def _settle(self) -> None:
        super()._settle()
        if self._leaving is not None:
            self._exit()

    def _exit(self) -> NoReturn:
        deadline = self.loop.now() + _EXIT_LIMIT
        while self.links.unsent and self.loop.now() < deadline:
            self.loop.dispatch(self.loop.poll(deadline))
        try:
            atexit._run_exitfuncs()
        finally:
            self._user_threads.output.flush()
            self.remove_socket()
            os._exit(0)

    def session_ended(self, reason: str) -> None:
        """The node process is gone, and so must be its workers."""
        os._exit(1)

    def close(self) -> None:
        """Nothing: a worker leaves when its raylet says so."""

    def abandon(self, refusal: BaseException) -> None:
        """Give up all descriptors, in a child of this process."""
        if self._life_fd >= 0:
            os.close(self._life_fd)
        super().abandon(refusal)
