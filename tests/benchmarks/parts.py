"""One process of the engine without a world around it: what it sends is kept in a list, answers are made up here."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from time import monotonic_ns
from typing import Any

from thornback.core import ids
from thornback.core.config import Config
from thornback.core.messages import (
    FunctionDefinition,
    JobStarted,
    LeaseGranted,
    Message,
    PushTasks,
    RequestLease,
    Strategy,
    TaskCall,
    TaskReplies,
    TaskReply,
    TaskTemplate,
    Value,
)
from thornback.core.owner.task import Task
from thornback.core.ports import NoTrace, Ports
from thornback.core.serialization import define_function, dumps, dumps_arguments
from thornback.core.worker import WorkerCore

NODE = bytes(ids.NODE_ID_SIZE - 1) + b"\x01"
DRIVER = ids.worker_id(NODE, 1)
CPU = {"CPU": 10_000}
ARGUMENTS = dumps_arguments((), {}).to_value()
RESULT: Value = dumps(b"ok").to_value()


def nothing() -> bytes:
    """The function that all tasks here call."""
    return b"ok"


DEFINITION: FunctionDefinition = define_function(nothing, "nothing")
TEMPLATE = TaskTemplate(
    b"template", DEFINITION.function_id, "nothing", 1, 3, False, CPU, Strategy(), 0, -1, job_id=1, runtime_env=""
)


class Clock:
    """Real time; timers never fire."""

    def now(self) -> int:
        """Nanoseconds."""
        return monotonic_ns()

    def call_after(self, delay: int, call: Callable[[], None]) -> Any:
        """Forget the call."""


class Numbers:
    """Streams by name."""

    def stream(self, purpose: str) -> random.Random:
        """A stream."""
        return random.Random(purpose)


class Memory:
    """Shared memory that nobody uses."""

    capacity = 1 << 30


class Outbox:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Message]] = []

    def send(self, to: bytes, message: Message) -> None:
        """Keep it."""
        self.sent.append((to, message))

    def take(self, kind: type[Message]) -> list[Any]:
        """The messages of this type; all others are dropped."""
        found = [message for _, message in self.sent if type(message) is kind]
        self.sent.clear()
        return found


class LoneDriver:
    """The core of a driver. Its workers answer when :meth:`answer` is called."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        memory: Any = Memory()
        self.core = WorkerCore(DRIVER, Ports(Clock(), Numbers(), self.outbox, NoTrace()), memory, None, Config(), 1)
        self.owner = self.core.owner
        self._workers = count(100)

    def submit(self, tasks: int) -> list[Task]:
        """Register calls, as ``.remote()`` does after it has pickled the arguments."""
        submit = self.owner.tasks.submit
        return [submit(TEMPLATE, DEFINITION, ARGUMENTS, (), b"") for _ in range(tasks)]

    def grant(self) -> None:
        """Answer all requests for workers."""
        for request in self.outbox.take(RequestLease):
            worker = ids.worker_id(NODE, next(self._workers))
            self.core.receive(NODE, LeaseGranted(request.lease_id, worker))

    def warm(self) -> None:
        """Lease workers and learn that the tasks are short."""
        tasks = self.submit(100)
        self.run_all()
        self.drop(tasks)

    def run_all(self) -> None:
        """Let workers answer until all tasks have ended."""
        while self.owner.tasks.unfinished:
            self.core.end_turn()
            self.answer(self.pushed())
            self.grant()

    def pushed(self) -> list[tuple[bytes, TaskReplies]]:
        """The answers to all tasks that were sent, by worker."""
        pushes = [(to, message) for to, message in self.outbox.sent if isinstance(message, PushTasks)]
        self.outbox.sent = [(to, message) for to, message in self.outbox.sent if not isinstance(message, PushTasks)]
        return [
            (to, TaskReplies(push.lease_id, tuple(TaskReply(call.task_id, 0, (RESULT,)) for call in push.tasks)))
            for to, push in pushes
        ]

    def answer(self, replies: list[tuple[bytes, TaskReplies]]) -> None:
        """Let replies arrive."""
        for worker, message in replies:
            self.core.receive(worker, message)

    def drop(self, tasks: list[Task]) -> None:
        """Collect the references to all results."""
        self.owner.dropped.extend(ids.return_id(task.task_id, 0) for task in tasks)
        tasks.clear()
        self.core.end_turn()


class LoneWorker:
    """The core of a worker, whose user code runs when :meth:`run` is called."""

    is_simulated = False

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.ready: deque[Any] = deque()
        self.turn = nullcontext()
        memory: Any = Memory()
        ports = Ports(Clock(), Numbers(), self.outbox, NoTrace())
        user_code: Any = self
        self.core = WorkerCore(ids.worker_id(NODE, 2), ports, memory, user_code, Config(), 1)
        assert self.core.executor is not None
        self.executor = self.core.executor
        runtime: Any = self
        self.executor.runtime = runtime
        self.core.receive(NODE, JobStarted(1, ""))
        self._tasks = count(1)

    def wall_time(self) -> int:
        """Part of the runtime."""
        return 0

    def start(self, execution: Any) -> None:
        """Part of the port for user code."""
        self.ready.append(execution)

    def mark_started(self, sequence: int) -> None:
        """Part of the port for user code."""

    def push(self, tasks: int) -> PushTasks:
        """A message with tasks, as an owner sends it."""
        calls = tuple(
            TaskCall(ids.task_id(DRIVER, next(self._tasks)), TEMPLATE.key, ARGUMENTS, (), 0, number)
            for number in range(tasks)
        )
        return PushTasks(b"lease", (DEFINITION,), (TEMPLATE,), calls)

    def run(self, message: PushTasks) -> None:
        """Take the tasks, run them all, and answer."""
        self.core.receive(DRIVER, message)
        while self.ready:
            execution = self.ready.popleft()
            self.executor.finished(execution, execution.run())
        self.core.end_turn()
        self.outbox.sent.clear()
