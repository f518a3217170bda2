"""Calls of functions and of methods: their arguments, their generators, and how they are stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from thornback.core import errors, serialization
from thornback.core.blocking.objects import put
from thornback.core.context import current
from thornback.core.ids import ActorId, ObjectId, TaskId, return_id
from thornback.core.messages import FunctionDefinition, Strategy, TaskTemplate, Value
from thornback.core.runtime import Runtime
from thornback.core.serialization import Argument, Serialized, dumps, dumps_arguments
from thornback.core.waits.blocked import NEXT
from thornback.core.waits.thread import wait_for


def prepare_arguments(
    runtime: Runtime, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Value, tuple[ObjectId, ...]]:
    """Pickle the arguments of a call: top-level references become dependencies, large values become objects.

    Ids of large values carry a local reference that the caller of this function drops once the call is registered.
    """
    if not args and not kwargs:
        return serialization.NO_ARGUMENTS, ()
    dependencies: list[ObjectId] = []
    for argument in args:
        if type(argument) not in serialization.PLAIN_TYPES:
            args = tuple(_substitute(argument, dependencies) for argument in args)
            break
    if kwargs:
        kwargs = {name: _substitute(argument, dependencies) for name, argument in kwargs.items()}
    serialized = dumps_arguments(args, kwargs)
    if serialized.size > runtime.core.config.inline_limit:
        serialized = _put_large(runtime, args, kwargs, dependencies)
    return serialized.to_value(), tuple(dependencies)


def _substitute(argument: Any, dependencies: list[ObjectId]) -> Any:
    if type(argument) is serialization.reference_type:
        dependencies.append(argument._id)  # type: ignore[attr-defined]
        return Argument(len(dependencies) - 1)
    return argument


def _put_large(
    runtime: Runtime, args: tuple[Any, ...], kwargs: dict[str, Any], dependencies: list[ObjectId]
) -> Serialized:
    limit = runtime.core.config.inline_limit

    def smaller(argument: Any) -> Any:
        if type(argument) is Argument or (
            type(argument) in serialization.PLAIN_TYPES and not isinstance(argument, (str, bytes))
        ):
            return argument
        if dumps(argument).size <= limit // 4:
            return argument
        dependencies.append(put(runtime, argument))
        return Argument(len(dependencies) - 1)

    args = tuple(smaller(argument) for argument in args)
    kwargs = {name: smaller(argument) for name, argument in kwargs.items()}
    return dumps_arguments(args, kwargs)


def submit(
    runtime: Runtime,
    template: TaskTemplate,
    definition: FunctionDefinition,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[TaskId, list[ObjectId]]:
    """Call a remote function. The ids of its returns carry one local reference each; a streaming generator has none.

    Raises:
        SerializationError: an argument cannot be pickled.
    """
    return _submit(runtime, template, definition, args, kwargs, b"", -1)


def call_actor(
    runtime: Runtime,
    actor_id: ActorId,
    template: TaskTemplate,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    max_pending_calls: int = -1,
    out_of_order: bool = False,
) -> tuple[TaskId, list[ObjectId]]:
    """Call an actor method, as :func:`submit`. With ``out_of_order`` it may overtake calls that wait for arguments.

    Raises:
        PendingCallsLimitExceeded: so many calls of this process to the actor have not ended.
    """
    if out_of_order:
        with runtime.turn:
            runtime.core.owner.actors.client(actor_id).out_of_order = True
    return _submit(runtime, template, None, args, kwargs, actor_id, max_pending_calls)


def _submit(
    runtime: Runtime,
    template: TaskTemplate,
    definition: FunctionDefinition | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    actor_id: ActorId,
    max_pending_calls: int,
) -> tuple[TaskId, list[ObjectId]]:
    arguments, dependencies = prepare_arguments(runtime, args, kwargs)
    context = current.get()
    parent = b"" if context is None else context.task_id
    owner = runtime.core.owner
    if context is not None and context.strategy.capture and not actor_id:
        template = captured_template(runtime, template, context.strategy)
    with runtime.turn:
        if max_pending_calls > 0 and owner.actors.client(actor_id).unfinished >= max_pending_calls:
            raise errors.PendingCallsLimitExceeded(
                f"{template.name}: the actor has {max_pending_calls} pending calls of this process already, "
                "its max_pending_calls"
            )
        task = owner.tasks.submit(template, definition, arguments, dependencies, parent, actor_id)
        drop_temporaries(runtime, args, kwargs, dependencies)
        return task.task_id, task.returns()


def note_call_site(runtime: Runtime, object_ids: Sequence[ObjectId], site: str) -> None:
    """These results were asked for by that line; for people, where ``record_call_sites`` is on."""
    with runtime.turn:
        for object_id in object_ids:
            reference = runtime.core.owner.references.table.get(object_id)
            if reference is not None:
                reference.origin = site


def captured(strategy: Strategy, parent: Strategy) -> Strategy:
    """The strategy of what a task in a placement group submits: any bundle of the group, unless it says otherwise."""
    if strategy != Strategy():
        return strategy
    return Strategy(group=parent.group, capture=True)


def captured_template(runtime: Runtime, template: TaskTemplate, parent: Strategy) -> TaskTemplate:
    """The template as it is used by a task whose group captures its children."""
    strategy = captured(template.strategy, parent)
    if strategy is template.strategy:
        return template
    known = runtime.core.owner.captured
    key = template.key + strategy.group
    if key not in known:
        if len(known) >= 1000:
            known.clear()
        known[key] = msgspec.structs.replace(template, key=key, strategy=strategy)
    return known[key]


def drop_temporaries(
    runtime: Runtime, args: tuple[Any, ...], kwargs: dict[str, Any], dependencies: Sequence[ObjectId]
) -> None:
    """Within a turn: the call is registered, so large arguments that became objects need no reference of their own."""
    if not dependencies:
        return
    reference_type = serialization.reference_type
    given = sum(type(argument) is reference_type for argument in (*args, *kwargs.values()))
    for object_id in dependencies[given:]:
        runtime.core.owner.references.drop_local(object_id)


def next_item(runtime: Runtime, task: TaskId, index: int, timeout: float | None) -> ObjectId | None:
    """Item ``index`` of a streaming generator, with one local reference; None at its end.

    Raises:
        GetTimeoutError: it was not there after ``timeout`` seconds.
    """
    streams = runtime.core.owner.streams
    with runtime.turn:
        waiter = streams.wait(task, index)
    if not wait_for(runtime, waiter, timeout, (NEXT, (task,), 1)):
        raise errors.GetTimeoutError(f"the generator's item {index} was not ready after {timeout:g} s")
    with runtime.turn:
        return streams.take(task, index)


def close_stream(runtime: Runtime, task: TaskId) -> None:
    """Nobody takes further items."""
    with runtime.turn:
        runtime.core.owner.streams.close(task)


def stream_completed(runtime: Runtime, task: TaskId) -> ObjectId:
    """An object, with one local reference, that is ready when a streaming generator has ended."""
    with runtime.turn:
        return runtime.core.owner.streams.completion(task)


def cancel(runtime: Runtime, object_id: ObjectId, force: bool, recursive: bool) -> None:
    """Stop the task that makes an object."""
    with runtime.turn:
        runtime.core.owner.cancellation.cancel(object_id, force, recursive)


def cancel_stream(runtime: Runtime, task: TaskId, force: bool, recursive: bool) -> None:
    """Stop a generator task."""
    cancel(runtime, return_id(task, 0), force, recursive)
