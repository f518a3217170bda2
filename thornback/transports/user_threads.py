"""Where the user code of a worker runs: its main thread, threads per concurrency group, or an asyncio loop."""

from __future__ import annotations

import os
import threading
from collections import deque
from queue import SimpleQueue
from threading import get_ident
from typing import TYPE_CHECKING, Any

from thornback.core.ids import TaskId
from thornback.core.ports import Execution
from thornback.core.runtime import Waiter
from thornback.transports.asyncio_lane import AsyncioLane
from thornback.transports.marked_output import MarkedOutput
from thornback.transports.started_page import StartedPage

if TYPE_CHECKING:
    from thornback.transports.worker_runtime import WorkerRuntime


class UserThreads:
    """The :class:`thornback.core.ports.UserCode` of one worker."""

    def __init__(self, page: StartedPage, slot: int, output: MarkedOutput) -> None:
        self._page = page
        self._slot = slot
        self.output = output
        self.runtime: WorkerRuntime
        """Set before the first turn."""
        self.ready: deque[Any] = deque()
        """Executions for the main thread."""
        self.arrival = Waiter()
        """Done when :attr:`ready` has something."""
        self._lanes: dict[str, _ThreadLane] = {}
        self._asyncio: AsyncioLane | None = None
        self._threads: dict[TaskId, int] = {}
        self._gpu_ids: tuple[int, ...] = ()

    # --- The port -----------------------------------------------------------------------------------------------------

    def open_lanes(self, lanes: dict[str, int], with_event_loop: bool) -> None:
        """How many run at the same time in each concurrency group of the actor that this process became."""
        if with_event_loop:
            self._open_asyncio()
            return
        for name, size in lanes.items():
            if name or size > 1:
                self._lanes[name] = _ThreadLane(self, name, size)

    def start(self, execution: Execution) -> None:
        """Run it as soon as its lane has a free thread."""
        if self._asyncio is None and execution.is_async:
            self._open_asyncio()
        if self._asyncio is not None:
            self._asyncio.start(execution)
            return
        lane = self._lanes.get(execution.lane)
        if lane is not None:
            lane.start(execution)
            return
        self.ready.append(execution)
        self.arrival.complete()

    def interrupt(self, task_id: TaskId) -> None:
        """Raise in the user code of the task, if it runs."""
        ident = self._threads.get(task_id)
        if ident is not None:
            self.runtime.pump.interrupt(ident)
        elif self._asyncio is not None:
            self._asyncio.cancel(task_id)

    def mark_started(self, sequence: int) -> None:
        """Note in shared memory that the task with this sequence number starts now."""
        self._page.mark(self._slot, sequence)

    def exit(self, reason: str) -> None:
        """End this process after the present turn."""
        self.runtime.leave(reason)

    # --- For the main thread ------------------------------------------------------------------------------------------

    @property
    def has_asyncio(self) -> bool:
        """Whether everything runs on an asyncio loop from now on, and the main thread has nothing to do."""
        return self._asyncio is not None

    def _open_asyncio(self) -> None:
        self._asyncio = AsyncioLane(self)
        self.arrival.complete()

    # --- For the lanes ------------------------------------------------------------------------------------------------

    def run(self, execution: Any) -> Any:
        """Run it in the calling thread, which counts as inside the core before and after; returns the outcome."""
        ident = get_ident()
        pump = self.runtime.pump
        self.output.name = execution.name
        self._show_gpus(execution.context.gpu_ids)
        self._threads[execution.task_id] = ident
        try:
            try:
                pump.protect(ident, False)
                outcome = execution.run()
            finally:
                pump.protect(ident, True)
        except BaseException as error:
            outcome = execution.interrupted(error)
        del self._threads[execution.task_id]
        pump.take_interrupt(ident)
        return outcome

    def _show_gpus(self, gpu_ids: tuple[int, ...]) -> None:
        """Let CUDA see just the GPUs that the task was given; a process that never got any is left as it is."""
        if gpu_ids != self._gpu_ids:
            self._gpu_ids = gpu_ids
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpu_ids))


class _ThreadLane:
    """Threads of one concurrency group; started when needed, up to ``size``."""

    def __init__(self, owner: UserThreads, name: str, size: int) -> None:
        self._owner = owner
        self._name = name
        self._size = size
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._threads = 0
        self._unfinished = 0

    def start(self, execution: Any) -> None:
        self._unfinished += 1
        self._queue.put(execution)
        if self._threads < min(self._size, self._unfinished):
            self._threads += 1
            name = f"thornback-{self._name or 'actor'}-{self._threads}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        owner = self._owner
        pump = owner.runtime.pump
        pump.protect(get_ident(), True)
        while True:
            execution = self._queue.get()
            outcome = owner.run(execution)
            with pump.lock:
                self._unfinished -= 1
                owner.runtime.finished(execution, outcome)
                pump.settle()
            del execution, outcome
