"""What user threads do with the core, step by step; all that waits does so in :mod:`thornback.core.waits.thread`.

Every function here runs outside of any turn, enters the core with ``with runtime.turn:`` and waits with
``runtime.block``. The public API is a thin layer over these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from thornback.core import errors, serialization
from thornback.core.context import current
from thornback.core.ids import (
    GCS,
    ActorId,
    ObjectId,
    TaskId,
    return_id,
    task_id,
)
from thornback.core.messages import (
    ActorSpec,
    Content,
    DrainNode,
    EndJob,
    FunctionDefinition,
    GetNamedActor,
    GetView,
    JobTerms,
    NodeView,
    ObjectAllocated,
    QueryState,
    StartJob,
    Stored,
    Strategy,
    TaskTemplate,
    Value,
)
from thornback.core.objects import layout
from thornback.core.owner.objects import Block
from thornback.core.owner.references import Reference
from thornback.core.runtime import Runtime, Waiter
from thornback.core.serialization import Argument, Serialized, covering, dumps, dumps_arguments, loads, loads_value
from thornback.core.waits.blocked import GET, NAMED_ACTOR, NEXT, PUT, WAIT
from thornback.core.waits.thread import ROOM_PATIENCE, wait_for

LAST_WORDS = 2.0
"""Seconds that a driver which leaves waits for the GCS at most."""


# --- Objects --------------------------------------------------------------------------------------------------------


def put(runtime: Runtime, value: Any, owner_pin: bool = False, origin: str = "") -> ObjectId:
    """Make an object of a value; the id carries one local reference.

    Args:
        owner_pin: keep it in memory: it is never spilled.
        origin: where the value comes from, for people.

    Raises:
        SerializationError: the value cannot be pickled.
        ObjectStoreFullError: there is no room for it.
    """
    serialized = dumps(value)
    owner = runtime.core.owner
    with runtime.turn:
        reference = owner.new_object(origin)
    try:
        content = store(runtime, reference.object_id, serialized, origin, owner_pin)
    except BaseException:
        owner.dropped.append(reference.object_id)
        raise
    with runtime.turn:
        owner.put(reference, content)
    return reference.object_id


def store(runtime: Runtime, object_id: ObjectId, value: Serialized, origin: str = "", pinned: bool = False) -> Content:
    """Bring a value to where it belongs by its size: inline, or sealed into the node's shared memory.

    Args:
        origin: where the value comes from, for people.
        pinned: never spill it.
    """
    owner = runtime.core.owner
    if value.size <= owner.config.inline_limit:
        return value.to_value()
    size, parts = layout.parts_of(value)
    with runtime.turn:
        waiter = owner.writing.allocate(object_id, size, origin, pinned)
    try:
        wait_for(runtime, waiter, None, (PUT, (object_id,), 1), ROOM_PATIENCE)
        answer: ObjectAllocated = waiter.result
        if answer.offset == -1:
            raise errors.ObjectStoreFullError(answer.reason)
        if answer.offset >= 0:
            owner.objects.memory.write(answer.offset, parts)
    except BaseException:
        with runtime.turn:
            owner.writing.abort(object_id)
        raise
    if answer.offset >= 0:
        with runtime.turn:
            owner.writing.seal(object_id)
    return Stored(size, (owner.node_id,), value.contained)


class Fetch:
    """Several values on their way to this process."""

    __slots__ = ("abandoned", "blocks", "runtime", "waiter")

    def __init__(self, runtime: Runtime, object_ids: Sequence[ObjectId]) -> None:
        self.runtime = runtime
        self.abandoned = False
        self.blocks: dict[ObjectId, Block | None] = {}
        unique = dict.fromkeys(object_ids)
        self.waiter = Waiter(len(unique))
        hold, watch, known = runtime.core.owner.references.hold, runtime.core.owner.objects.watch, self._known
        for object_id in unique:
            reference = hold(object_id)
            if reference.content is None:
                watch(reference, self, known)
            else:
                known(reference)

    def _known(self, reference: Reference) -> None:
        if type(reference.content) is Value:
            self._arrived(reference.object_id, None)
        else:
            self.runtime.core.owner.objects.make_local(reference, partial(self._arrived, reference.object_id))

    def _arrived(self, object_id: ObjectId, block: Block | None) -> None:
        if self.abandoned:
            if block is not None:
                self.runtime.core.owner.objects.unused(object_id)
            self.runtime.core.owner.references.release(object_id)
        else:
            self.blocks[object_id] = block
            self.waiter.count_down()

    def abandon(self) -> None:
        """Within a turn: give back what came, and what still comes."""
        self.abandoned = True
        owner = self.runtime.core.owner
        for object_id, block in self.blocks.items():
            if block is not None:
                owner.objects.unused(object_id)
            owner.references.release(object_id)

    def contents(self) -> dict[ObjectId, Value | memoryview]:
        """Within a turn: what to unpickle; call :meth:`release` afterwards."""
        owner = self.runtime.core.owner
        found: dict[ObjectId, Value | memoryview] = {}
        for object_id, block in self.blocks.items():
            if block is not None:
                found[object_id] = block.failure or owner.objects.read(object_id, block)
            else:
                content = owner.references.table[object_id].content
                assert isinstance(content, Value)
                found[object_id] = content
        return found

    def release(self) -> None:
        """Within a turn: the values are unpickled."""
        for object_id in self.blocks:
            self.runtime.core.owner.references.release(object_id)


def get(runtime: Runtime, object_ids: Sequence[ObjectId], timeout: float | None) -> list[Any]:
    """The values of several objects, in order.

    Raises:
        GetTimeoutError: not all were there after ``timeout`` seconds.
        ThornbackError: the error of the first failed one, in order.
    """
    with runtime.turn:
        contents = _present(runtime, object_ids)
        if contents is None:
            fetch = Fetch(runtime, object_ids)
    if contents is None:
        contents = _fetched(runtime, fetch, object_ids, timeout)
    try:
        if len(object_ids) == 1:
            return [_value_of(object_ids[0], contents[object_ids[0]])]
        return [_value_of(object_id, contents[object_id]) for object_id in object_ids]
    finally:
        for object_id, content in contents.items():
            if type(content) is not Value or content.contained:
                runtime.drop(object_id)
        contents.clear()


def _fetched(
    runtime: Runtime, fetch: Fetch, object_ids: Sequence[ObjectId], timeout: float | None
) -> dict[ObjectId, Value | memoryview]:
    count = len(object_ids)
    try:
        done = wait_for(runtime, fetch.waiter, timeout, (GET, object_ids, count))
    except BaseException:
        with runtime.turn:
            fetch.abandon()
        raise
    with runtime.turn:
        if done:
            contents = fetch.contents()
            for object_id, content in contents.items():
                _cover(runtime, object_id, content)
            fetch.release()
            return contents
        missing = fetch.waiter.remaining
        fetch.abandon()
    raise errors.GetTimeoutError(f"{missing} of {count} values were not ready after {timeout:g} s")


def _cover(runtime: Runtime, object_id: ObjectId, content: Value | memoryview) -> None:
    """Within a turn: while it is unpickled, what may contain references is kept by a local reference of its own."""
    if type(content) is not Value or content.contained:
        runtime.core.owner.references.table[object_id].local += 1


def _present(runtime: Runtime, object_ids: Sequence[ObjectId]) -> dict[ObjectId, Value | memoryview] | None:
    """Within a turn: what to unpickle, if all of it is in this process already."""
    objects = runtime.core.owner.objects
    table, blocks = runtime.core.owner.references.table, objects.blocks
    for object_id in object_ids:
        reference = table.get(object_id)
        if reference is None or not (type(reference.content) is Value or object_id in blocks):
            return None
    found: dict[ObjectId, Value | memoryview] = {}
    for object_id in object_ids:
        if object_id in found:
            continue
        content = table[object_id].content
        if type(content) is Value:
            found[object_id] = content
        else:
            block = blocks[object_id]
            block.users += 1
            found[object_id] = objects.read(object_id, block)
        _cover(runtime, object_id, found[object_id])
    return found


def _value_of(object_id: ObjectId, content: Value | memoryview) -> Any:
    if type(content) is Value and not content.contained:
        value = loads(content.data, content.buffers)
        if content.is_error:
            raise value.as_instance_of_cause() if isinstance(value, errors.TaskError) else value
        return value
    token = covering.set(object_id)
    try:
        if isinstance(content, Value):
            return loads_value(content)
        data, buffers = layout.split(content)
        return loads(data, buffers)
    finally:
        covering.reset(token)


def wait(
    runtime: Runtime, object_ids: Sequence[ObjectId], num_returns: int, timeout: float | None, fetch_local: bool
) -> list[int]:
    """Positions of the ready ones: at most ``num_returns``, in the order given."""
    owner = runtime.core.owner
    with runtime.turn:
        ready = _first_known(runtime, object_ids, num_returns)
        if len(ready) < num_returns:
            waiter = owner.when_known(object_ids, num_returns)
    if len(ready) < num_returns:
        try:
            wait_for(runtime, waiter, timeout, (WAIT, object_ids, num_returns))
        finally:
            with runtime.turn:
                owner.forget_waiter(object_ids, waiter)
                ready = _first_known(runtime, object_ids, num_returns)
    return ready


def _first_known(runtime: Runtime, object_ids: Sequence[ObjectId], count: int) -> list[int]:
    """Within a turn: positions of the first ``count`` that have a content."""
    table = runtime.core.owner.references.table
    known: list[int] = []
    for position, object_id in enumerate(object_ids):
        reference = table.get(object_id)
        if reference is not None and reference.content is not None:
            known.append(position)
            if len(known) == count:
                break
    return known


def when_ready(runtime: Runtime, object_id: ObjectId, callback: Callable[[], None]) -> None:
    """Call ``callback`` in some turn, possibly of another thread, once the value can be read here without waiting."""
    owner = runtime.core.owner
    with runtime.turn:
        reference = owner.references.hold(object_id)

        def local(block: Block | None) -> None:
            if block is not None:
                owner.objects.unused(object_id)
            owner.references.release(object_id)
            callback()

        owner.objects.make_local(reference, local)


# --- Tasks ----------------------------------------------------------------------------------------------------------


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
        _drop_temporaries(runtime, args, kwargs, dependencies)
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


def _drop_temporaries(
    runtime: Runtime, args: tuple[Any, ...], kwargs: dict[str, Any], dependencies: Sequence[ObjectId]
) -> None:
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
        runtime.core.owner.tasks.cancel(object_id, force, recursive)


def cancel_stream(runtime: Runtime, task: TaskId, force: bool, recursive: bool) -> None:
    """Stop a generator task."""
    cancel(runtime, return_id(task, 0), force, recursive)


# --- Actors ---------------------------------------------------------------------------------------------------------


def create_actor(
    runtime: Runtime, spec: ActorSpec, args: tuple[Any, ...], kwargs: dict[str, Any], get_if_exists: bool
) -> tuple[ActorId, bytes]:
    """Make an actor; an actor with a name is registered when this returns.

    Returns its id, and the handle bytes of the actor that had the name if ``get_if_exists`` found one (else b"").

    Raises:
        ValueError: a live actor has that name.
    """
    arguments, dependencies = prepare_arguments(runtime, args, kwargs)
    owner = runtime.core.owner
    with runtime.turn:
        context = current.get()
        if context is not None and context.strategy.capture:
            spec = msgspec.structs.replace(spec, strategy=captured(spec.strategy, context.strategy))
        owner.counter += 1
        actor_id = task_id(owner.worker_id, owner.counter)
        spec = msgspec.structs.replace(spec, actor_id=actor_id, arguments=arguments)
        creation = owner.actors.create(spec, dependencies, get_if_exists)
        _drop_temporaries(runtime, args, kwargs, dependencies)
    if not spec.name:
        return actor_id, b""
    wait_for(runtime, creation.registered, None, (NAMED_ACTOR, (actor_id,), 1))
    answer = creation.registered.result
    if answer is None or not answer.existing:
        return actor_id, b""
    owner.dropped.append(return_id(actor_id, 0))
    if not get_if_exists:
        raise ValueError(
            f"the name {spec.name!r} is taken by a live actor in namespace {spec.namespace!r}; use another name, or "
            "get_if_exists=True to get that actor"
        )
    return answer.existing, answer.handle


def kill_actor(runtime: Runtime, actor_id: ActorId, no_restart: bool) -> None:
    """End an actor at once."""
    with runtime.turn:
        runtime.core.owner.actors.kill(actor_id, no_restart)


def get_named_actor(runtime: Runtime, name: str, namespace: str) -> tuple[ActorId, bytes]:
    """Id and handle bytes of a live actor.

    Raises:
        ValueError: there is none of that name.
    """
    with runtime.turn:
        waiter = runtime.core.owner.request(GCS, GetNamedActor, name, namespace)
    wait_for(runtime, waiter)
    if not waiter.result.actor_id:
        raise ValueError(f"there is no actor named {name!r} in namespace {namespace!r}")
    return waiter.result.actor_id, waiter.result.handle


# --- Cluster --------------------------------------------------------------------------------------------------------


def start_job(
    runtime: Runtime, namespace: str, entrypoint: str, metadata: dict[str, str], terms: JobTerms | None = None
) -> None:
    """Make this driver a job of the cluster; afterwards ``core.owner.job_id`` is set."""
    owner = runtime.core.owner
    with runtime.turn:
        waiter = owner.await_job()
        runtime.core.owner.gcs.send(StartJob(namespace, entrypoint, metadata, terms or JobTerms()))
    runtime.block(waiter)


def end_job(runtime: Runtime) -> None:
    """Tell the cluster that this driver is done, and wait a moment until that, and what it asked for before (such as to
    kill an actor), can be lost no more."""
    owner = runtime.core.owner
    settled = Waiter()
    with runtime.turn:
        owner.gcs.settled = settled.complete
        owner.gcs.send(EndJob(owner.job_id))
    runtime.block(settled, LAST_WORDS)


def view(runtime: Runtime) -> list[NodeView]:
    """All nodes of the cluster, dead ones included, as the GCS knows them."""
    with runtime.turn:
        waiter = runtime.core.owner.await_view()
        runtime.core.owner.gcs.send(GetView(0))
    wait_for(runtime, waiter)
    return list(waiter.result.nodes)


def query(runtime: Runtime, table: str) -> list[dict[str, Any]]:
    """Rows of one of the cluster's state tables (actors, nodes, tasks, jobs, workers, objects, timeline)."""
    to = runtime.core.node_id if table in ("workers", "objects") else GCS
    with runtime.turn:
        waiter = runtime.core.owner.request(to, QueryState, table)
    wait_for(runtime, waiter)
    rows: list[dict[str, Any]] = json.loads(waiter.result.rows)
    return rows


def drain_node(runtime: Runtime, node: bytes, reason: str, timeout: int) -> str:
    """Have a node leave within ``timeout`` nanoseconds (-1: when it can); the answer says why it cannot, or is ""."""
    with runtime.turn:
        waiter = runtime.core.owner.request(GCS, DrainNode, node, reason, timeout)
    wait_for(runtime, waiter)
    refusal: str = waiter.result.refusal
    return refusal


def query_at(runtime: Runtime, questions: Sequence[tuple[bytes, str]], timeout: float) -> list[list[dict[str, Any]]]:
    """Rows of tables of several nodes and processes, each given as (address, table); none of one that does not answer
    in ``timeout`` seconds, as it may have ended."""
    with runtime.turn:
        waiters = [runtime.core.owner.request(to, QueryState, table) for to, table in questions]
    answers = []
    for waiter in waiters:
        answers.append(json.loads(waiter.result.rows) if runtime.block(waiter, timeout) else [])
    return answers
