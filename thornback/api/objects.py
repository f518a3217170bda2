"""Values in the cluster: put, get, wait, and cancelling the tasks that make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar, overload

from thornback.api import current
from thornback.api.call_site import call_site
from thornback.api.generators import DynamicObjectRefGenerator, ObjectRefGenerator
from thornback.api.lazy import blocking
from thornback.api.object_ref import ObjectRef
from thornback.core.runtime import Runtime

T = TypeVar("T")


def put(value: T, *, _owner: None = None, _pin_memory: bool = False) -> ObjectRef[T]:
    """Store a value and return a reference to it, to be passed to many tasks without copying it each time.

    Args:
        value: anything that can be pickled.

    Raises:
        TypeError: ``value`` is a reference already.
        SerializationError: it cannot be pickled.
        ObjectStoreFullError: there is no room for it.
    """
    if isinstance(value, ObjectRef):
        raise TypeError("put() of an ObjectRef: it is a reference already; pass it on as it is, or in a list")
    if isinstance(value, ObjectRefGenerator):
        raise TypeError("put() of an ObjectRefGenerator: put a list of its items instead")
    if _owner is not None:
        raise ValueError("put(_owner=...): the process that calls put() owns the object; call put() inside the actor")
    runtime = current.require()
    return ObjectRef(blocking.put(runtime, value, _pin_memory, call_site()), runtime.drop)


@overload
def get(refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...


@overload
def get(refs: Sequence[ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...


@overload
def get(refs: DynamicObjectRefGenerator[T], *, timeout: float | None = None) -> list[T]: ...


def get(refs: Any, *, timeout: float | None = None) -> Any:
    """Wait for values and return them.

    Args:
        refs: a reference, or a list of them.
        timeout: seconds; 0 takes only what is there, None waits as long as it takes.

    Returns:
        the value, or the list of values in the order of ``refs``.

    Raises:
        TypeError: ``refs`` holds something that is not a reference.
        GetTimeoutError: not all values came in time.
        TaskError: the task raised; the error is also an instance of the cause's type.
        ThornbackError: the value cannot come; see :mod:`thornback.exceptions`.
    """
    runtime = current.runtime or current.require()
    if timeout is not None:
        _check_timeout("get", timeout)
    if isinstance(refs, ObjectRef):
        if refs._drop is not runtime.drop:
            _raise_stale(refs)
        return blocking.get(runtime, (refs._id,), timeout)[0]
    if isinstance(refs, (list, tuple)):
        return blocking.get(runtime, _ids_of("get", refs, runtime), timeout)
    if isinstance(refs, DynamicObjectRefGenerator):
        return blocking.get(runtime, _ids_of("get", list(refs), runtime), timeout)
    if isinstance(refs, ObjectRefGenerator):
        return refs
    raise TypeError(f"get() takes an ObjectRef or a list of them, not {_describe(refs)}")


def wait(
    refs: list[ObjectRef[T]], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[ObjectRef[T]], list[ObjectRef[T]]]:
    """Wait until some values exist.

    Args:
        refs: references, each once.
        num_returns: how many must be ready.
        timeout: seconds after which it returns with fewer; 0 only looks, None waits as long as it takes.
        fetch_local: also bring them to this node.

    Returns:
        at most ``num_returns`` references that are ready, and all others, both in the order of ``refs``.

    Raises:
        TypeError: ``refs`` is not a list of references.
        ValueError: a reference is given twice, or ``num_returns`` or ``timeout`` is out of range.
    """
    if not isinstance(refs, list):
        raise TypeError(f"wait() takes a list of ObjectRefs, not {_describe(refs)}")
    if timeout is not None:
        _check_timeout("wait", timeout)
    if not isinstance(num_returns, int) or isinstance(num_returns, bool):
        raise TypeError(f"wait(): num_returns must be a whole number, not {num_returns!r}")
    runtime = current.runtime or current.require()
    object_ids = _ids_of("wait", refs, runtime)
    if len(set(object_ids)) != len(refs):
        raise ValueError("wait() takes each ObjectRef only once")
    if not refs:
        return [], []
    if not 1 <= num_returns <= len(refs):
        raise ValueError(
            f"wait(): num_returns must be from 1 to {len(refs)}, the number of ObjectRefs, not {num_returns}"
        )
    positions = blocking.wait(runtime, object_ids, num_returns, timeout, fetch_local)
    ready = [refs[position] for position in positions]
    if len(positions) == 1:
        return ready, refs[: positions[0]] + refs[positions[0] + 1 :]
    chosen = set(positions)
    return ready, [ref for position, ref in enumerate(refs) if position not in chosen]


def cancel(ref: ObjectRef[Any] | ObjectRefGenerator[Any], *, force: bool = False, recursive: bool = True) -> None:
    """Stop the task that makes a value: it is not started, or interrupted. ``get`` then raises TaskCancelledError.

    Does nothing for a task that has ended.

    Args:
        ref: any result of the task.
        force: end the worker process if the task runs (not for actors: see ``kill``).
        recursive: cancel also the tasks that it has submitted.

    Raises:
        TypeError: ``ref`` is not a reference.
        ValueError: ``force`` for a method of an actor.
    """
    runtime = current.require()
    if isinstance(ref, ObjectRefGenerator):
        blocking.cancel_stream(runtime, ref.task_id(), force, recursive)
    elif isinstance(ref, ObjectRef):
        blocking.cancel(runtime, ref._id, force, recursive)
    else:
        raise TypeError(f"cancel() takes an ObjectRef or an ObjectRefGenerator, not {_describe(ref)}")


_ONLY_REFS = {ObjectRef}


def _ids_of(caller: str, refs: Sequence[Any], runtime: Runtime) -> list[bytes]:
    process, object_ids = runtime.drop, []
    if set(map(type, refs)) == _ONLY_REFS:
        object_ids = [ref._id for ref in refs if ref._drop is process]
        if len(object_ids) == len(refs):
            return object_ids
        object_ids = []
    for position, ref in enumerate(refs):
        if not isinstance(ref, ObjectRef):
            raise TypeError(f"{caller}() takes ObjectRefs, but item {position} is {_describe(ref)}")
        if ref._drop is not process:
            _raise_stale(ref)
        object_ids.append(ref._id)
    return object_ids


def _check_timeout(caller: str, timeout: float) -> None:
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
        raise TypeError(f"{caller}(): timeout must be a number of seconds or None, not {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"{caller}(): timeout must be at least 0, not {timeout!r}")


def _raise_stale(ref: ObjectRef[Any]) -> NoReturn:
    raise ValueError(
        f"{ref!r} was made in another process or before shutdown(), and means nothing here: references reach other "
        "processes as arguments, results or inside values, not through global variables"
    )


def _describe(value: Any) -> str:
    kind = type(value).__name__
    hint = "; did you forget .remote(...)?" if callable(value) else ""
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({kind}){hint}"
