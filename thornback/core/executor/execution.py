"""One run of user code: from pickled arguments to stored results. Runs in a user thread, outside of any turn."""

from __future__ import annotations

import inspect
import pickle
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from thornback.core import blocking, errors, runtime, serialization
from thornback.core.context import TaskContext, current
from thornback.core.ids import Address, ObjectId, TaskId, return_id, short
from thornback.core.messages import DYNAMIC, STREAMING, Content, Dependency, Stored, TaskCall, TaskTemplate, Value
from thornback.core.objects import layout
from thornback.core.serialization import NO_ARGUMENTS, Argument, covering, dumps, error_value, loads, loads_value
from thornback.core.waits.blocked import ARGUMENT, GENERATOR
from thornback.core.waits.thread import ROOM_PATIENCE, wait_for

if TYPE_CHECKING:
    from thornback.core.executor.executor import Executor

TASK = "task"
CALL = "actor call"
CREATION = "actor creation"
CHECKPOINT = "actor checkpoint"


class Outcome(msgspec.Struct, eq=False):
    """How a run ended."""

    results: list[Content] = msgspec.field(default_factory=list)
    error: Value | None = None
    retryable: bool = False
    cancelled: bool = False
    exits: bool = False
    """The actor wants to end."""
    items: int = 0
    run_time: int = 0
    start: int = 0


class Execution:
    """One task, actor call or actor construction on this worker.

    Attributes:
        caller: who gets the reply.
        source: the lease or actor id that the reply names.
        covered: references met in the arguments, kept alive by the caller until the reply.
        handed: references in the results; this process holds them until the reply is on its way.
    """

    __slots__ = (
        "arguments",
        "attempt",
        "caller",
        "context",
        "covered",
        "dependencies",
        "executor",
        "handed",
        "is_async",
        "kind",
        "lane",
        "name",
        "sequence",
        "source",
        "started",
        "task_id",
        "template",
    )

    def __init__(
        self,
        executor: Executor,
        kind: str,
        caller: Address,
        source: bytes,
        call: TaskCall,
        template: TaskTemplate,
        context: TaskContext,
        lane: str,
        is_async: bool,
    ) -> None:
        self.executor = executor
        self.kind = kind
        self.caller = caller
        self.source = source
        self.task_id: TaskId = call.task_id
        self.arguments = call.arguments
        self.dependencies = call.dependencies
        self.attempt = call.attempt
        self.sequence = call.sequence
        self.template = template
        self.name = template.name
        self.context = context
        self.lane = lane
        self.is_async = is_async
        self.covered: list[ObjectId] = []
        self.handed: list[ObjectId] = []
        self.started = 0
        """When its code began to run, on the node's clock."""

    @property
    def runs_once(self) -> bool:
        """Whether it is a task that may not run again: what it returned must leave before the next one starts, which
        could end this process."""
        return self.kind == TASK and not self.template.max_retries

    # --- Running

    def run(self) -> Outcome:
        """Run to the end. Never raises."""
        outcome = self._begin()
        token = current.set(self.context)
        try:
            self._check_cancelled()
            function, args, kwargs = self._prepare(outcome)
            result = function(*args, **kwargs)
            del args, kwargs
            self._collect(result, outcome)
        except BaseException as error:
            self._failed(error, outcome)
        finally:
            current.reset(token)
        outcome.run_time = self.executor.clock.now() - outcome.run_time
        return outcome

    async def run_async(self) -> Outcome:
        """As :meth:`run`, on the event loop of an asyncio actor."""
        outcome = self._begin()
        token = current.set(self.context)
        try:
            self._check_cancelled()
            function, args, kwargs = self._prepare(outcome)
            result = function(*args, **kwargs)
            del args, kwargs
            if inspect.isawaitable(result):
                result = await result
            if inspect.isasyncgen(result):
                await self._collect_async(result, outcome)
            else:
                self._collect(result, outcome)
        except BaseException as error:
            self._failed(error, outcome)
        finally:
            current.reset(token)
        outcome.run_time = self.executor.clock.now() - outcome.run_time
        return outcome

    def interrupted(self, error: BaseException) -> Outcome:
        """The outcome of a run that was stopped before, or just outside of, :meth:`run`."""
        outcome = Outcome()
        self._failed(error, outcome)
        return outcome

    def _begin(self) -> Outcome:
        outcome = Outcome()
        self._count_from_here(outcome)
        self.started = outcome.run_time
        return outcome

    def _count_from_here(self, outcome: Outcome) -> None:
        """The time that arguments take to come here is none of the task's own: it would be another elsewhere."""
        outcome.run_time = self.executor.clock.now()
        outcome.start = self.executor.runtime.wall_time()

    def _check_cancelled(self) -> None:
        if self.context.cancelled:
            raise errors.TaskCancelledError(f"task {self.name} was cancelled")

    def _prepare(self, outcome: Outcome) -> tuple[Any, list[Any], dict[str, Any]]:
        token = covering.set(self.covered)
        try:
            function = self.executor.function_for(self)
            if self.arguments.data == NO_ARGUMENTS.data:
                return function, [], {}
            args, kwargs = loads_value(self.arguments)
            if self.dependencies:
                values = self._load_dependencies()
                self._count_from_here(outcome)
                args = [values[each.index] if type(each) is Argument else each for each in args]
                kwargs = {key: values[each.index] if type(each) is Argument else each for key, each in kwargs.items()}
        finally:
            covering.reset(token)
        return function, args, kwargs

    def _load_dependencies(self) -> list[Any]:
        """The values of arguments that were references."""
        large = self._large_arguments()
        try:
            return [self._load(dependency, large) for dependency in self.dependencies]
        finally:
            if large:
                large.clear()
                with self.executor.runtime.turn:
                    self.executor.arguments.taken(self)

    def _large_arguments(self) -> dict[ObjectId, Value | memoryview]:
        """What to unpickle for those that were not in the call itself; waits until all are in this node's memory."""
        host = self.executor.runtime
        with host.turn:
            waiter = self.executor.arguments.waiter_of(self)
        if waiter is None:
            return {}
        # If an argument must be made again first, somebody needs the CPU for it.
        object_ids = tuple(dependency.object_id for dependency in self.dependencies)
        wait_for(host, waiter, None, (ARGUMENT, object_ids, len(object_ids)), ROOM_PATIENCE)
        with host.turn:
            return self.executor.arguments.take(self)

    def _load(self, dependency: Dependency, large: dict[ObjectId, Value | memoryview]) -> Any:
        content = large.get(dependency.object_id, dependency.content)
        if isinstance(content, memoryview):
            data, buffers = layout.split(content)
            return loads(data, buffers, dependency.content.contained)
        assert isinstance(content, Value)
        value = loads_value(content)
        if content.is_error:
            raise value
        return value

    # --- Results

    def _collect(self, result: Any, outcome: Outcome) -> None:
        count = self.template.num_returns
        if self.kind == CREATION:
            self.executor.checkpoints.restore(result)
            self.executor.actor.instance = result
        elif self.kind == CHECKPOINT:
            self.executor.checkpoints.collect(result, outcome)
        elif count in (STREAMING, DYNAMIC):
            self._collect_items(iter(result), outcome)
        elif count == 1:
            outcome.results.append(self._store(result, 0))
        elif count:
            for index, value in enumerate(self._unpack(result, count)):
                outcome.results.append(self._store(value, index))

    def _unpack(self, result: Any, count: int) -> list[Any]:
        try:
            values = list(result)
        except TypeError:
            raise ValueError(
                f"{self.name} has num_returns={count} but returned one {type(result).__name__}, not {count} values"
            ) from None
        if len(values) != count:
            raise ValueError(f"{self.name} has num_returns={count} but returned {len(values)} values")
        return values

    def _collect_items(self, items: Iterator[Any], outcome: Outcome) -> None:
        for value in items:
            self._emit(value, outcome.items)
            outcome.items += 1
            if not self._may_continue(outcome.items):
                getattr(items, "close", _nothing)()
                break
        self._finish_generator(outcome)

    async def _collect_async(self, items: Any, outcome: Outcome) -> None:
        async for value in items:
            self._emit(value, outcome.items)
            outcome.items += 1
            waiter = self.executor.generators.room_for(self, outcome.items)
            if not waiter.done:
                await runtime.wait_in_coroutine(waiter)
            if waiter.result is False:
                await items.aclose()
                break
        self._finish_generator(outcome)

    def _emit(self, value: Any, index: int) -> None:
        self._check_cancelled()
        content = self._store(value, index + 1)
        with self.executor.runtime.turn:
            self.executor.generators.item_made(self, index, content)

    def _may_continue(self, made: int) -> bool:
        waiter = self.executor.generators.room_for(self, made)
        wait = (GENERATOR, (self.caller,), 1)
        wait_for(self.executor.runtime, waiter, None, wait)
        return waiter.result is not False

    def _finish_generator(self, outcome: Outcome) -> None:
        if self.template.num_returns == DYNAMIC:
            ids = [return_id(self.task_id, index + 1) for index in range(outcome.items)]
            value = serialization.make_dynamic_generator(ids)
            outcome.results.append(self._store(value, 0))

    def _store(self, value: Any, index: int) -> Content:
        if type(value) in serialization.PLAIN_TYPES:
            data = pickle.dumps(value, 5)
            if len(data) <= self.executor.owner.config.inline_limit:
                return Value(data)
            serialized = serialization.Serialized(data, [], ())
        else:
            serialized = dumps(value)
        host = self.executor.runtime
        if serialized.contained:
            with host.turn:
                for object_id in serialized.contained:
                    self.executor.owner.references.hold(object_id)
                    self.handed.append(object_id)
        if serialized.size <= self.executor.owner.config.inline_limit:
            return serialized.to_value()
        return blocking.store(host, return_id(self.task_id, index), serialized, f"task {self.name}")

    # --- Failures

    def _failed(self, error: BaseException, outcome: Outcome) -> None:
        self._drop_results(outcome)
        if isinstance(error, errors.ActorExit):
            outcome.exits = True
            text = f"{self.name}: the actor ended itself with exit_actor()"
            outcome.error = error_value(errors.ActorDiedError(text, self.context.actor_id.hex()))
        elif self.context.cancelled or isinstance(error, errors.TaskCancelledError):
            outcome.cancelled = True
            text = f"task {self.name} ({short(self.task_id)}) was cancelled"
            outcome.error = error_value(errors.TaskCancelledError(text))
        elif isinstance(error, SystemExit) and self.kind != TASK:
            outcome.exits = True
            outcome.error = error_value(errors.ActorDiedError(f"{self.name}: the actor called sys.exit({error.code})"))
        else:
            outcome.retryable = self._is_retryable(error)
            outcome.error = self._error_value(error)
        error.__traceback__ = None  # its frames would keep arguments in memory

    def _drop_results(self, outcome: Outcome) -> None:
        stored = [index for index, content in enumerate(outcome.results) if isinstance(content, Stored)]
        outcome.results.clear()
        if stored:
            with self.executor.runtime.turn:
                for index in stored:
                    self.executor.owner.objects.report_copy(return_id(self.task_id, index))

    def _is_retryable(self, error: BaseException) -> bool:
        rule = self.template.retry_exceptions
        if isinstance(rule, bool):
            return rule
        cause = error.cause if isinstance(error, errors.TaskError) and error.cause is not None else error
        try:
            return isinstance(cause, pickle.loads(rule))
        except Exception:
            return False

    def _error_value(self, error: BaseException) -> Value:
        lines = traceback.format_exception(type(error), error, _user_part(error))
        where = f"pid {self.executor.pid}, worker {short(self.executor.owner.worker_id)}"
        cause: BaseException | None = error
        if isinstance(error, errors.TaskError):
            cause = error.cause or error
        return error_value(errors.TaskError(self.name, cause, "".join(lines), where))


def _user_part(error: BaseException) -> Any:
    """The traceback without the engine's own outermost frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") == __name__ and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _nothing() -> None:
    pass
