"""Functions that run elsewhere."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, overload

from thornback.api import current, identity, options, templates
from thornback.api.call_site import call_site
from thornback.api.generators import ObjectRefGenerator
from thornback.api.lazy import blocking
from thornback.api.object_ref import ObjectRef
from thornback.api.signatures import Parameters, parameters_of
from thornback.core import context
from thornback.core.messages import DYNAMIC, STREAMING, FunctionDefinition, TaskTemplate
from thornback.core.runtime import Runtime

P = ParamSpec("P")
R = TypeVar("R")

_PLANS = 64


class _Plan(NamedTuple):
    """What is equal for all calls from one process under one runtime environment."""

    process: Callable[[bytes], None]
    """``runtime.drop``: different for each process and session."""
    job_id: int
    runtime_env: str
    template: TaskTemplate
    definition: FunctionDefinition
    num_returns: int
    notes_call_site: bool


class RemoteFunction(Generic[P, R]):
    """A function that :func:`thornback.remote` has wrapped. ``f.remote(...)`` starts it as a task.

    ``P`` are the function's parameters; each may also be given as an ObjectRef of its value, which is why a type
    checker accepts other arguments too. ``R`` is what ``.remote()`` returns: an ObjectRef of the function's result,
    an ObjectRefGenerator for a generator, ``Any`` where ``num_returns`` was set.

    Args:
        function: the function itself.
        chosen: checked options.

    Raises:
        ValueError: the function is a coroutine function.
    """

    def __init__(self, function: Callable[P, Any], chosen: Mapping[str, Any]) -> None:
        if inspect.iscoroutinefunction(function):
            raise ValueError(
                f"{_name_of(function)} is 'async def': a task is a plain function. Call asyncio.run() in it, or "
                "make it a method of an actor, where 'async def' is welcome"
            )
        self._setup(function, chosen)

    def _setup(self, function: Callable[..., Any], chosen: Mapping[str, Any]) -> None:
        self._function = function
        options.check_speculative(chosen, is_generator(function))
        self._chosen = dict(chosen)
        self._name = _name_of(function)
        self._parameters: Parameters | None = None
        self._plan: _Plan | None = None
        self._plans: dict[tuple[Any, int, str], _Plan] = {}
        functools.update_wrapper(self, function, updated=())

    @overload
    def remote(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def remote(self, *args: Any, **kwargs: Any) -> R: ...

    def remote(self, *args: Any, **kwargs: Any) -> R:
        """Start the function as a task, with these arguments, and return at once.

        Returns:
            a reference to the result; for ``num_returns`` above 1 a list of references, for 0 None, for generators
            an ObjectRefGenerator.

        Raises:
            TypeError: the function does not take these arguments.
            SerializationError: an argument or something that the function refers to cannot be pickled.
        """
        runtime = current.runtime or current.require()
        plan = self._plan
        running = context.current.get()
        if (
            plan is None
            or plan.process is not runtime.drop
            or (
                (plan.job_id, plan.runtime_env) != (running.job_id, running.runtime_env)
                if running is not None
                else plan.job_id != runtime.core.owner.job_id
            )
        ):
            plan = self._plan_for(runtime)
        parameters = self._parameters
        if parameters is None:
            parameters = self._parameters = parameters_of(self._function)
        parameters.check(self._name, args, kwargs)
        task_id, object_ids = blocking.submit(runtime, plan.template, plan.definition, args, kwargs)
        if plan.notes_call_site:
            blocking.note_call_site(runtime, object_ids, f"{call_site()} (task {self._name})")
        result: Any
        if plan.num_returns == 1:
            result = ObjectRef(object_ids[0], runtime.drop)
        elif plan.num_returns == STREAMING:
            result = ObjectRefGenerator(task_id, runtime)
        else:
            result = several(object_ids, runtime)
        return result  # type: ignore[no-any-return]

    @overload
    def options(self, *, num_returns: int | str | None, **options: Any) -> RemoteFunction[P, Any]: ...

    @overload
    def options(self, **options: Any) -> RemoteFunction[P, R]: ...

    def options(self, **options: Any) -> RemoteFunction[P, Any]:
        """The same function with other options; see :func:`thornback.remote`.

        Raises:
            TypeError, ValueError: an option is unknown or has a bad value.
        """
        return self._with(options)

    def _with(self, given: Mapping[str, Any]) -> RemoteFunction[P, Any]:
        other: RemoteFunction[P, Any] = RemoteFunction(self._function, self._chosen | options.check("task", given))
        other._parameters = self._parameters
        return other

    def _plan_for(self, runtime: Runtime) -> _Plan:
        job_id, runtime_env = identity.job_id_of(runtime), identity.runtime_env_of(runtime)
        key = (runtime.drop, job_id, runtime_env)
        plan = self._plans.get(key)
        if plan is None:
            definition = define(self._function, self._name)
            template = templates.task_template(
                self._chosen, self._name, definition.function_id, is_generator(self._function), job_id, runtime_env
            )
            runtime.core.owner.sites.note(template, call_site())
            num_returns = 1 if template.num_returns == DYNAMIC else template.num_returns
            notes_call_site = runtime.core.config.record_call_sites
            plan = _Plan(runtime.drop, job_id, runtime_env, template, definition, num_returns, notes_call_site)
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[key] = plan
        self._plan = plan
        return plan

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"{self._name} is a remote function: call {self._name}.remote(...), which returns an ObjectRef, or "
            f"{self._name}._function(...) to run it here"
        )

    def __repr__(self) -> str:
        return f"RemoteFunction({self._name})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (), (self._function, self._chosen)

    def __setstate__(self, state: tuple[Callable[..., Any], dict[str, Any]]) -> None:
        self._setup(*state)


def _blank() -> RemoteFunction[..., Any]:
    """An object whose state follows: a function may refer to itself, so it must exist before its state does."""
    return RemoteFunction.__new__(RemoteFunction)


def several(object_ids: list[bytes], runtime: Runtime) -> list[ObjectRef[Any]] | ObjectRef[Any] | None:
    """What ``.remote()`` returns for these returns: a reference, a list of them, or None."""
    if len(object_ids) == 1:
        return ObjectRef(object_ids[0], runtime.drop)
    if not object_ids:
        return None
    return [ObjectRef(object_id, runtime.drop) for object_id in object_ids]


def define(thing: Any, name: str) -> FunctionDefinition:
    """A function or class, pickled.

    Raises:
        SerializationError: something that it refers to cannot be pickled.
    """
    from thornback.core import serialization

    return serialization.define_function(thing, name)


def is_generator(function: Callable[..., Any]) -> bool:
    """Whether calling it makes a generator of either kind."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", None) or type(function).__name__
