"""What this worker tells the GCS of the tasks that have ended here, for timelines and lists of tasks."""

from __future__ import annotations

from thornback.core.config import SECOND
from thornback.core.executor.execution import Execution, Outcome
from thornback.core.ids import GCS, WorkerId
from thornback.core.messages import TaskEvent, TaskEvents
from thornback.core.ports import Ports

PERIOD = 1 * SECOND
BATCH = 1000


class Timeline:
    """Ended tasks that the GCS has not been told of."""

    def __init__(self, worker_id: WorkerId, ports: Ports) -> None:
        self._worker_id = worker_id
        self._clock = ports.clock
        self._transport = ports.transport
        self._events: list[TaskEvent] = []
        self._timer = False

    def add(self, execution: Execution, outcome: Outcome) -> None:
        """A task has ended."""
        state = "cancelled" if outcome.cancelled else "failed" if outcome.error is not None else "finished"
        end = outcome.start + outcome.run_time
        event = TaskEvent(
            execution.task_id, execution.attempt, execution.name, self._worker_id, outcome.start, end, state
        )
        self._events.append(event)
        if len(self._events) >= BATCH:
            self.flush()
        elif not self._timer:
            self._timer = True
            self._clock.call_after(PERIOD, self.flush)

    def flush(self) -> None:
        """Tell the GCS now."""
        self._timer = False
        events, self._events = self._events, []
        if events:
            self._transport.send(GCS, TaskEvents(tuple(events)))
