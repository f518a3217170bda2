"""``@remote``: from functions and classes to remote functions and actor classes."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from thornback.api import options
from thornback.api.actor_class import ActorClass
from thornback.api.generators import ObjectRefGenerator
from thornback.api.object_ref import ObjectRef
from thornback.api.remote_function import RemoteFunction

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class AnyClass(Protocol[P, T_co]):
    """A class, as opposed to a function, with the parameters of its constructor."""

    @property
    def __mro__(self) -> tuple[type, ...]: ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...


class Decorator(Protocol):
    """What ``remote(option=...)`` returns."""

    @overload
    def __call__(self, target: AnyClass[P, T], /) -> ActorClass[P, T]: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, target: Callable[P, Iterator[T]] | Callable[P, AsyncIterator[T]], /
    ) -> RemoteFunction[P, ObjectRefGenerator[T]]: ...

    @overload
    def __call__(self, target: Callable[P, T], /) -> RemoteFunction[P, ObjectRef[T]]: ...


class DecoratorOfMany(Protocol):
    """What ``remote(num_returns=...)`` returns."""

    def __call__(self, target: Callable[P, Any], /) -> RemoteFunction[P, Any]: ...


@overload
def remote(target: AnyClass[P, T], /) -> ActorClass[P, T]: ...  # type: ignore[overload-overlap]


@overload
def remote(  # type: ignore[overload-overlap]
    target: Callable[P, Iterator[T]] | Callable[P, AsyncIterator[T]], /
) -> RemoteFunction[P, ObjectRefGenerator[T]]: ...


@overload
def remote(target: Callable[P, T], /) -> RemoteFunction[P, ObjectRef[T]]: ...


@overload
def remote(*, num_returns: int | str | None, **given: Any) -> DecoratorOfMany: ...


@overload
def remote(**given: Any) -> Decorator: ...


def remote(*targets: Any, **given: Any) -> Any:
    """Make a function a task or a class an actor: ``@remote``, or with options ``@remote(num_cpus=2)``.

    Type checkers and editors know the parameters of ``f.remote(...)`` and the type of its result. mypy takes no notice
    of decorators of classes; there write ``RemoteCounter = thornback.remote(Counter)``.

    Args:
        num_cpus: CPUs that it holds; 1 for a task, for an actor 0 (and 1 to be placed).
        num_gpus, memory, resources, accelerator_type: what else it holds; memory in bytes.
        num_returns: (task) number of results, or "dynamic" or "streaming" for generators.
        max_retries: (task) further attempts after its worker died; -1 is without limit.
        retry_exceptions: (task) True, or a list of exception classes after which it is retried too.
        speculative: (task) it may run twice: a straggler is run again elsewhere, and the first result counts.
        max_calls: (task) the worker ends after so many calls of the function.
        checkpoint_every: (actor) calls after which it saves its state with ``save_checkpoint(self)``; after a crash,
            ``restore_checkpoint(self, state)`` brings it back, and calls that were answered since run again.
        max_restarts, max_task_retries: (actor) how often it is restarted, and a call repeated, after a crash.
        max_concurrency, concurrency_groups: (actor) how many calls run at the same time.
        name, namespace, get_if_exists, lifetime: (actor) how others find it, and "detached" to outlive the program.
        max_pending_calls: (actor) most calls that one caller may have waiting.
        allow_out_of_order_execution: (actor) whether a call may overtake another that waits for its arguments.
        scheduling_strategy, label_selector: where it may run; see ``thornback.util.scheduling_strategies``.
        runtime_env: packages, files and variables it needs.
        fail_if_infeasible: raise TaskUnschedulableError if no node could ever run it, instead of waiting for one.

    Raises:
        TypeError: this is neither a function nor a class, or an option has the wrong type.
        ValueError: an option is unknown or out of range; the message lists what is allowed.
    """
    if not targets:
        if not given:
            raise TypeError("use @remote without parentheses, or with options by name: @remote(num_cpus=2)")
        return lambda target: _wrap(target, given)
    if len(targets) > 1 or given:
        raise TypeError("remote() takes one function or class, or options by name: @remote(num_cpus=2)")
    return _wrap(targets[0], {})


def _wrap(target: Any, given: dict[str, Any]) -> RemoteFunction[..., Any] | ActorClass[..., Any]:
    if inspect.isclass(target):
        return ActorClass(target, options.check("actor", given))
    if inspect.isroutine(target):
        return RemoteFunction(target, options.check("task", given))
    if isinstance(target, (RemoteFunction, ActorClass)):
        raise TypeError(f"{target!r} is remote already; change its options with .options(...)")
    raise TypeError(f"@remote is for functions and classes, not for {target!r} ({type(target).__name__})")
