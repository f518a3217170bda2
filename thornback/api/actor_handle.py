"""Handles: how programs call an actor, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NoReturn, TypeVar

from thornback.api import current, identity
from thornback.api.actor_type import KnownType, MethodInfo, known_type, with_options
from thornback.api.call_site import call_site
from thornback.api.generators import ObjectRefGenerator
from thornback.api.ids import ActorID
from thornback.api.lazy import blocking
from thornback.api.object_ref import connected, note_pickled
from thornback.api.options import suggestion
from thornback.api.remote_function import several
from thornback.core import context
from thornback.core.ids import ActorId, return_id
from thornback.core.messages import STREAMING
from thornback.core.runtime import Runtime

A = TypeVar("A")


class ActorMethod:
    """One method of one actor. ``handle.method.remote(...)`` calls it.

    Args:
        handle: of the actor.
        name: of the method.
        info: its options and parameters.
    """

    __slots__ = ("_handle", "_info", "_name")

    def __init__(self, handle: ActorHandle[Any], name: str, info: MethodInfo) -> None:
        self._handle = handle
        self._name = name
        self._info = info

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method and return at once.

        Returns:
            a reference to the result; for ``num_returns`` above 1 a list of references, for 0 None, for generators
            an ObjectRefGenerator.

        Raises:
            TypeError: the method does not take these arguments.
            SerializationError: an argument cannot be pickled.
            PendingCallsLimitExceeded: see the option ``max_pending_calls``.
        """
        runtime = current.runtime or current.require()
        handle = self._handle
        known = handle._known
        running = context.current.get()
        owner = runtime.core.owner
        job_id = owner.job_id if running is None else running.job_id
        template = known.template(self._name, self._info, job_id)
        if template.key not in owner.sites:
            owner.sites.note(template, call_site())
        self._info.parameters.check(self._name, args, kwargs)
        info = known.info
        task_id, object_ids = blocking.call_actor(
            runtime, handle._actor_id, template, args, kwargs, info.max_pending_calls, info.out_of_order
        )
        if runtime.core.config.record_call_sites:
            blocking.note_call_site(runtime, object_ids, f"{call_site()} (method {template.name})")
        if template.num_returns == STREAMING:
            return ObjectRefGenerator(task_id, runtime)
        return several(object_ids, runtime)

    def options(self, **given: Any) -> ActorMethod:
        """The same method with other options; see :func:`thornback.method`.

        Raises:
            TypeError, ValueError: an option is unknown or has a bad value.
        """
        return ActorMethod(self._handle, self._name, with_options(self._info, given))

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"{self._name} runs in the actor: call {self._name}.remote(...), which returns an ObjectRef")

    def __repr__(self) -> str:
        return f"ActorMethod({self._handle._known.info.name}.{self._name})"


class ActorHandle(Generic[A]):
    """A handle of an actor of class ``A``. Its attributes are the methods of the class, each with ``.remote(...)``.

    Handles can be passed on and stored. The actor ends when its last handle is gone, unless it is detached.

    Args:
        actor_id: the actor.
        known: its class.
        runtime: of the process, in which this handle is counted already.
    """

    __slots__ = ("__weakref__", "_actor_id", "_drop", "_known")

    def __init__(self, actor_id: ActorId, known: KnownType, runtime: Runtime) -> None:
        self._actor_id = actor_id
        self._known = known
        self._drop: Callable[[bytes], None] | None = runtime.drop if known.info.counted else None

    def __del__(self) -> None:
        try:
            if self._drop is not None:
                self._drop(return_id(self._actor_id, 0))
        except AttributeError:
            pass

    def __getattr__(self, name: str) -> ActorMethod:
        if name.startswith("_") and name in ActorHandle.__slots__:
            raise AttributeError(name)
        info = self._known.method(name)
        if info is None:
            known = self._known.info
            raise AttributeError(f"actor class {known.name!r} has no method {name!r}{suggestion(name, known.methods)}")
        return ActorMethod(self, name, info)

    @property
    def _ray_actor_id(self) -> ActorID:
        return ActorID(self._actor_id)

    def __dir__(self) -> list[str]:
        return sorted(self._known.info.methods)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and self._actor_id == other._actor_id

    def __hash__(self) -> int:
        return hash(self._actor_id)

    def __repr__(self) -> str:
        return f"ActorHandle({self._known.info.name}, {self._actor_id.hex()})"

    def __copy__(self) -> ActorHandle[A]:
        return self

    def __deepcopy__(self, memo: Mapping[int, Any]) -> ActorHandle[A]:
        return self

    def __reduce__(self) -> tuple[Callable[..., ActorHandle[Any]], tuple[bytes, bytes]]:
        if self._known.info.counted:
            note_pickled(return_id(self._actor_id, 0))
        return rebuild_handle, (self._actor_id, self._known.encoded)


def rebuild_handle(actor_id: ActorId, encoded: bytes) -> ActorHandle[Any]:
    """A handle that arrived inside a value.

    Raises:
        RuntimeError: this process is not part of a cluster.
    """
    return added_handle(connected(), actor_id, encoded)


def added_handle(runtime: Runtime, actor_id: ActorId, encoded: bytes) -> ActorHandle[Any]:
    """One more handle of an actor in this process: it arrived, was found by name, or the actor runs here."""
    known = known_type(encoded)
    if known.info.counted:
        with runtime.turn:
            runtime.core.owner.references_deserialized((return_id(actor_id, 0),))
    return ActorHandle(actor_id, known, runtime)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle[Any]:
    """The actor that has a name.

    Args:
        name: as given in the option ``name`` of its class.
        namespace: where it has that name; None is the program's own.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: there is no such actor.
    """
    for what, text in (("name", name), ("namespace", namespace)):
        if not isinstance(text, str) and (text is not None or what == "name"):
            raise TypeError(f"get_actor(): {what} must be a string, not {text!r}")
        if text == "":
            raise ValueError(f"get_actor(): {what} must not be empty")
    runtime = current.require()
    actor_id, encoded = blocking.get_named_actor(runtime, name, namespace or identity.namespace_of(runtime))
    return added_handle(runtime, actor_id, encoded)


def kill(actor: ActorHandle[Any], *, no_restart: bool = True) -> None:
    """End an actor at once, in the middle of whatever it does.

    Args:
        actor: its handle.
        no_restart: if False, the actor is restarted as after a crash, within its ``max_restarts``.

    Raises:
        ValueError: ``actor`` is not a handle.
    """
    if not isinstance(actor, ActorHandle):
        raise ValueError(f"kill() takes an actor handle, not {type(actor).__name__}; tasks are ended with cancel(ref)")
    blocking.kill_actor(current.require(), actor._actor_id, no_restart)
