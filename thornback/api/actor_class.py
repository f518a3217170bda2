"""Classes whose instances live in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar, overload

from thornback.api import actor_type, current, identity, options, templates
from thornback.api.actor_handle import ActorHandle, added_handle
from thornback.api.lazy import blocking
from thornback.api.options import value_of
from thornback.api.remote_function import define
from thornback.api.signatures import Parameters, constructor_parameters
from thornback.core.messages import ActorSpec, FunctionDefinition, Value
from thornback.core.runtime import Runtime

P = ParamSpec("P")
A = TypeVar("A")


class ActorClass(Generic[P, A]):
    """A class that :func:`thornback.remote` has wrapped. ``Class.remote(...)`` starts an actor.

    ``P`` are the constructor's parameters (each may also be given as an ObjectRef of its value) and ``A`` is the class.
    A class may inherit from an actor class; it inherits from the wrapped class then and is no actor class itself.

    Args:
        cls: the class itself.
        chosen: checked options.
    """

    def __init__(self, cls: type[A], chosen: Mapping[str, Any]) -> None:
        self._setup(cls, dict(chosen))

    def _setup(self, cls: type[A], chosen: dict[str, Any]) -> None:
        self._cls = cls
        self._chosen = chosen
        self._definition: tuple[Callable[[bytes], None], FunctionDefinition] | None = None
        self._methods: dict[str, actor_type.MethodInfo] | None = None
        self._parameters: Parameters | None = None
        self.__name__ = cls.__name__
        self.__qualname__ = cls.__qualname__
        self.__module__ = cls.__module__
        self.__doc__ = cls.__doc__

    @overload
    def remote(self, *args: P.args, **kwargs: P.kwargs) -> ActorHandle[A]: ...

    @overload
    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle[A]: ...

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle[A]:
        """Start an actor, with these arguments for the constructor, and return its handle at once.

        A constructor that raises shows when the first method is called.

        Raises:
            TypeError: the constructor does not take these arguments.
            ValueError: the name is taken, or a method names a concurrency group that the class does not declare.
            SerializationError: an argument or something that the class refers to cannot be pickled.
        """
        runtime = current.require()
        if self._parameters is None:
            self._parameters = constructor_parameters(self._cls)
        self._parameters.check(self.__name__, args, kwargs)
        spec = self._spec(runtime)
        get_if_exists = value_of("actor", self._chosen, "get_if_exists")
        actor_id, existing = blocking.create_actor(runtime, spec, args, kwargs, get_if_exists)
        if existing:
            return added_handle(runtime, actor_id, existing)
        return ActorHandle(actor_id, actor_type.known_type(spec.handle), runtime)

    def options(self, **options: Any) -> ActorClass[P, A]:
        """The same class with other options; see :func:`thornback.remote`.

        Raises:
            TypeError, ValueError: an option is unknown or has a bad value.
        """
        return self._with(options)

    def _with(self, given: Mapping[str, Any]) -> ActorClass[P, A]:
        other: ActorClass[P, A] = ActorClass(self._cls, self._chosen | options.check("actor", given))
        other._definition, other._methods, other._parameters = self._definition, self._methods, self._parameters
        return other

    def _spec(self, runtime: Runtime) -> ActorSpec:
        chosen = self._chosen
        handle = self._handle_bytes()
        held = templates.demand("actor", chosen)
        return ActorSpec(
            actor_id=b"",
            definition=self._define(runtime),
            arguments=Value(b""),
            dependencies=(),
            name=chosen.get("name", ""),
            namespace=chosen.get("namespace") or identity.namespace_of(runtime),
            detached=self._is_detached,
            max_restarts=value_of("actor", chosen, "max_restarts"),
            max_task_retries=value_of("actor", chosen, "max_task_retries"),
            max_concurrency=chosen.get("max_concurrency", 0),
            concurrency_groups=chosen.get("concurrency_groups", {}),
            is_async=actor_type.is_async(self._cls),
            out_of_order=bool(chosen.get("allow_out_of_order_execution")),
            max_pending_calls=value_of("actor", chosen, "max_pending_calls"),
            resources=held,
            placement_resources=templates.placement_demand(chosen, held),
            strategy=templates.strategy(chosen),
            job_id=identity.job_id_of(runtime),
            runtime_env=templates.runtime_env_json(chosen.get("runtime_env")) or identity.runtime_env_of(runtime),
            handle=handle,
            fail_infeasible=value_of("actor", chosen, "fail_if_infeasible"),
            priority=value_of("actor", chosen, "priority"),
            checkpoint_every=value_of("actor", chosen, "checkpoint_every"),
        )

    @property
    def _is_detached(self) -> bool:
        return bool(self._chosen.get("lifetime") == "detached")

    def _handle_bytes(self) -> bytes:
        if self._methods is None:
            self._methods = actor_type.methods_of(self._cls)
        groups = self._chosen.get("concurrency_groups", {})
        for name, method in self._methods.items():
            if method.concurrency_group and method.concurrency_group not in groups:
                declared = ", ".join(map(repr, groups)) or "none"
                raise ValueError(
                    f"method {name!r} of actor class {self.__name__!r} is in concurrency group "
                    f"{method.concurrency_group!r}, which the class does not declare (declared: {declared})"
                )
        has_checkpoints = bool(value_of("actor", self._chosen, "checkpoint_every"))
        if has_checkpoints:
            actor_type.check_checkpoints(self._cls, self._chosen)
            for name, method in self._methods.items():
                if method.replay:
                    actor_type.check_replayable(self.__name__, name, method)
        info = actor_type.ActorType(
            name=self.__name__,
            methods=self._methods,
            max_task_retries=value_of("actor", self._chosen, "max_task_retries"),
            max_pending_calls=value_of("actor", self._chosen, "max_pending_calls"),
            counted=not self._is_detached,
            out_of_order=bool(self._chosen.get("allow_out_of_order_execution")),
            has_checkpoints=has_checkpoints,
        )
        return actor_type.encode(info)

    def _define(self, runtime: Runtime) -> FunctionDefinition:
        known = self._definition
        if known is None or known[0] is not runtime.drop:
            known = self._definition = (runtime.drop, define(self._cls, self.__name__))
        return known[1]

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"{self.__name__} is an actor class: call {self.__name__}.remote(...), which returns a handle")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (self._cls,)

    def __repr__(self) -> str:
        return f"ActorClass({self.__name__})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (), (self._cls, self._chosen)

    def __setstate__(self, state: tuple[type[A], dict[str, Any]]) -> None:
        self._setup(*state)


def _blank() -> ActorClass[..., Any]:
    """An object whose state follows: a class may refer to its own actor class, so it must exist before its state."""
    return ActorClass.__new__(ActorClass)
