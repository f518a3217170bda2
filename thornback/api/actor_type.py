"""What a handle must know of its actor's class: methods, their options and parameters. Travels with each handle."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar, overload

import msgspec

from thornback.api import options, templates
from thornback.api.remote_function import is_generator
from thornback.api.signatures import ANYTHING, Parameters, parameters_of
from thornback.core.messages import Strategy, TaskTemplate

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__thornback_method__"
_DUNDERS = frozenset({"__call__", "__len__", "__getitem__", "__setitem__", "__contains__", "__enter__", "__exit__"})
_TEMPLATES = 1024


class MethodInfo(msgspec.Struct, frozen=True, array_like=True):
    """One method, as a handle sees it."""

    parameters: Parameters = ANYTHING
    is_generator: bool = False
    num_returns: int | str | None = None
    max_task_retries: int | None = None
    """None: that of the actor."""
    retry_exceptions: bytes | bool = False
    concurrency_group: str = ""
    name: str = ""
    """For people; empty: the method's own."""
    backpressure: int = -1
    replay: bool = True
    """Of an actor with checkpoints: acknowledged calls are replayed after a crash."""


class ActorType(msgspec.Struct, frozen=True, array_like=True):
    """One actor class with its options, as handles see it. Equal for all handles of equal classes."""

    name: str
    methods: dict[str, MethodInfo]
    max_task_retries: int
    max_pending_calls: int
    counted: bool
    """Whether the actor ends with its last handle (it is not detached)."""
    out_of_order: bool = False
    """Whether a call may overtake another that waits for its arguments."""
    has_checkpoints: bool = False


BUILTIN_METHODS: dict[str, MethodInfo] = {
    "__ray_ready__": MethodInfo(Parameters()),
    "__ray_terminate__": MethodInfo(Parameters()),
    "__ray_call__": MethodInfo(Parameters(names=("function",), required=1, varargs=True, varkw=True)),
}
"""Methods that every actor has: wait for its start, end it after the calls before, run a function on the instance."""


class KnownType:
    """An :class:`ActorType` with what this process has derived from it.

    Args:
        encoded: what ``encode`` gave.
    """

    __slots__ = ("_own", "_templates", "encoded", "info")

    def __init__(self, encoded: bytes) -> None:
        self.encoded = encoded
        self.info = msgspec.msgpack.decode(encoded, type=ActorType)
        self._own: dict[str, TaskTemplate] = {}
        self._templates: dict[tuple[str, MethodInfo, int], TaskTemplate] = {}

    def method(self, name: str) -> MethodInfo | None:
        """The method, if the class has it."""
        return self.info.methods.get(name) or BUILTIN_METHODS.get(name)

    def template(self, name: str, method: MethodInfo, job_id: int) -> TaskTemplate:
        """What all calls of a method with these options share."""
        if method is self.info.methods.get(name):
            template = self._own.get(name)
            if template is None or template.job_id != job_id:
                template = self._own[name] = self._make_template(name, method, job_id)
            return template
        key = (name, method, job_id)
        known = self._templates.get(key)
        if known is None:
            if len(self._templates) >= _TEMPLATES:
                self._templates.clear()
            known = self._templates[key] = self._make_template(name, method, job_id)
        return known

    def _make_template(self, name: str, method: MethodInfo, job_id: int) -> TaskTemplate:
        if self.info.has_checkpoints and method.replay:
            check_replayable(self.info.name, name, method)
        retries = self.info.max_task_retries if method.max_task_retries is None else method.max_task_retries
        return templates.with_key(
            TaskTemplate(
                key=b"",
                function_id=b"",
                name=method.name or f"{self.info.name}.{name}",
                num_returns=templates.num_returns_code(method.num_returns, method.is_generator),
                max_retries=retries,
                retry_exceptions=method.retry_exceptions,
                resources={},
                strategy=Strategy(),
                max_calls=0,
                backpressure=method.backpressure,
                job_id=job_id,
                runtime_env="",
                method=name,
                lane=method.concurrency_group,
                replay=self.info.has_checkpoints and method.replay,
            )
        )


@lru_cache(maxsize=1024)
def known_type(encoded: bytes) -> KnownType:
    """The class of an actor, from the bytes that travel with its handles."""
    return KnownType(encoded)


def encode(info: ActorType) -> bytes:
    """The form that travels."""
    return msgspec.msgpack.encode(info)


def with_options(method: MethodInfo, given: Mapping[str, Any]) -> MethodInfo:
    """The method with some options changed.

    Raises:
        TypeError, ValueError: an option is unknown or has a bad value.
    """
    chosen = options.check("method", given)
    same = ("num_returns", "max_task_retries", "concurrency_group", "name", "replay")
    changes: dict[str, Any] = {field: chosen[field] for field in same if field in chosen}
    if "retry_exceptions" in chosen:
        changes["retry_exceptions"] = templates.retry_exceptions_code(chosen["retry_exceptions"])
    if "_generator_backpressure_num_objects" in chosen:
        changes["backpressure"] = chosen["_generator_backpressure_num_objects"]
    return msgspec.structs.replace(method, **changes)


def check_replayable(class_name: str, name: str, method: MethodInfo) -> None:
    """Refuse what cannot be applied exactly once.

    Raises:
        ValueError: a method of an actor with checkpoints is a generator or is retried after exceptions.
    """
    what = f"method {name!r} of actor class {class_name!r}, which has checkpoints,"
    if templates.num_returns_code(method.num_returns, method.is_generator) < 0:
        raise ValueError(f"{what} is a generator, which cannot be replayed: mark it @method(replay=False)")
    if method.retry_exceptions:
        raise ValueError(f"{what} cannot have retry_exceptions, unless it is marked @method(replay=False)")


def check_checkpoints(cls: type, chosen: Mapping[str, Any]) -> None:
    """Whether a class can have the option ``checkpoint_every``.

    Raises:
        ValueError: it cannot; says why.
    """
    name = cls.__name__
    for hook in ("save_checkpoint", "restore_checkpoint"):
        if not callable(getattr(cls, hook, None)):
            raise ValueError(f"actor class {name!r} has checkpoint_every but no method {hook}")
    if is_async(cls) or chosen.get("max_concurrency", 1) > 1 or chosen.get("concurrency_groups"):
        raise ValueError(f"actor class {name!r} with checkpoint_every must run one call at a time, and not be async")
    if chosen.get("allow_out_of_order_execution"):
        raise ValueError(f"actor class {name!r} cannot have checkpoint_every and allow_out_of_order_execution")
    if not options.value_of("actor", chosen, "max_restarts"):
        raise ValueError(f"actor class {name!r} has checkpoint_every but is never restarted: give it max_restarts")


def methods_of(cls: type) -> dict[str, MethodInfo]:
    """The methods that handles of ``cls`` offer."""
    methods = {}
    for name, function, is_static in _functions(cls):
        if name.startswith("__") and name.endswith("__") and name not in _DUNDERS:
            continue
        plain = MethodInfo(
            parameters=parameters_of(function, skip_first=not is_static),
            is_generator=is_generator(function),
            backpressure=templates.backpressure_code(None),
        )
        methods[name] = with_options(plain, getattr(function, _MARK, {}))
    return methods


def is_async(cls: type) -> bool:
    """Whether any method is a coroutine function, which makes the whole actor run on an event loop."""
    return any(
        inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        for _name, function, _is_static in _functions(cls)
    )


def _functions(cls: type) -> list[tuple[str, Callable[..., Any], bool]]:
    found: dict[str, tuple[str, Callable[..., Any], bool]] = {}
    for base in reversed(cls.__mro__[:-1]):
        for name, value in vars(base).items():
            found.pop(name, None)
            if isinstance(value, staticmethod):
                found[name] = (name, value.__func__, True)
            elif isinstance(value, classmethod):
                found[name] = (name, value.__func__, False)
            elif inspect.isroutine(value):
                found[name] = (name, value, False)
    return list(found.values())


@overload
def method(function: F, /) -> F: ...


@overload
def method(**given: Any) -> Callable[[F], F]: ...


def method(*functions: F, **given: Any) -> F | Callable[[F], F]:
    """Set options of one method of an actor class.

    Args:
        num_returns: number of results, or "dynamic" or "streaming" for generators.
        concurrency_group: one of the groups that the class declares.
        max_task_retries: instead of that of the actor.
        retry_exceptions: True, or a list of exception classes after which a call is retried.
        replay: (class with ``checkpoint_every``) False: the method changes nothing that a checkpoint saves, so that
            calls that were answered are not replayed after a crash.
        name: shown to people instead of the method's name.

    Raises:
        TypeError, ValueError: an option is unknown or has a bad value.
    """
    if functions:
        if given or len(functions) > 1 or not callable(functions[0]):
            raise TypeError("@method is used without arguments, or with options by name: @method(num_returns=2)")
        return functions[0]
    options.check("method", given)

    def mark(function: F) -> F:
        setattr(function, _MARK, given)
        return function

    return mark
