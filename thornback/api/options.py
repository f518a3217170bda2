"""Every option of tasks, actors and actor methods: its default, what it accepts, and the error for anything else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from thornback.api import strategies

Kind: TypeAlias = Literal["task", "actor", "method"]
_NOUNS: dict[Kind, str] = {"task": "a remote function", "actor": "an actor class", "method": "an actor method"}


class Option(NamedTuple):
    """One option.

    ``types`` decides between TypeError and ValueError; ``accepts`` sees only values of these types. None always means
    the default.
    """

    default: Any
    types: tuple[type, ...]
    allowed: str
    accepts: Callable[[Any], bool]


def _count(default: int | None, least: int, meaning: str) -> Option:
    return Option(default, (int,), meaning, lambda value: value >= least)


def _amount(default: float | None, meaning: str) -> Option:
    return Option(default, (int, float), meaning, lambda value: math.isfinite(value) and value >= 0)


def _flag(default: bool = False) -> Option:
    return Option(default, (bool,), "True or False", lambda value: True)


def _name(meaning: str) -> Option:
    return Option(None, (str,), meaning, bool)


def _is_gpu_amount(value: float) -> bool:
    return math.isfinite(value) and value >= 0 and (value < 1 or value == int(value))


def _are_amounts(value: dict[Any, Any]) -> bool:
    return all(
        isinstance(name, str) and name and _is_number(amount) and math.isfinite(amount) and amount >= 0
        for name, amount in value.items()
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_exceptions(value: Any) -> bool:
    return isinstance(value, bool) or all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in value)


def _are_groups(value: dict[Any, Any]) -> bool:
    return all(isinstance(name, str) and name and type(size) is int and size >= 1 for name, size in value.items())


def _is_num_returns(value: Any) -> bool:
    return value in ("dynamic", "streaming") if isinstance(value, str) else value >= 0


def _are_strings(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) and isinstance(item, str) for key, item in value.items())


_RETRY_EXCEPTIONS = Option(
    False,
    (bool, list, tuple),
    "True (retry after any exception), False, or a list of exception classes",
    _are_exceptions,
)
_BACKPRESSURE = Option(None, (int,), "a whole number >= 1, or -1 for no limit", lambda value: value == -1 or value >= 1)
_NUM_RETURNS = Option(None, (int, str), 'a whole number >= 0, "dynamic" or "streaming"', _is_num_returns)
_MAX_TASK_RETRIES = _count(0, -1, "a whole number >= 0, or -1 for no limit")

COMMON: dict[str, Option] = {
    "num_cpus": _amount(None, "a number >= 0"),
    "num_gpus": Option(None, (int, float), "a number >= 0, whole if above 1", _is_gpu_amount),
    "memory": _amount(None, "a number of bytes >= 0"),
    "resources": Option(None, (dict,), "a dictionary from resource names to numbers >= 0", _are_amounts),
    "accelerator_type": _name("the name of an accelerator"),
    "runtime_env": Option(None, (Mapping,), "a dictionary", lambda value: True),
    "scheduling_strategy": Option(None, (object,), strategies.ALLOWED, strategies.is_strategy),
    "label_selector": Option(None, (dict,), "a dictionary from labels to values, both strings", _are_strings),
    "placement_group": Option(None, (object,), "a placement group", lambda value: True),
    "placement_group_bundle_index": _count(-1, -1, "a bundle index, or -1 for any"),
    "placement_group_capture_child_tasks": _flag(),
    "fail_if_infeasible": _flag(),
    "priority": Option(0, (int,), "a whole number; higher goes first", lambda value: True),
    "name": _name("a string that is not empty"),
    "_metadata": Option(None, (dict,), "a dictionary", lambda value: True),
    "enable_task_events": _flag(True),
}
"""Options that tasks and actors share."""

TASK: dict[str, Option] = COMMON | {
    "num_returns": _NUM_RETURNS,
    "max_retries": _count(None, -1, "a whole number >= 0, or -1 for no limit"),
    "retry_exceptions": _RETRY_EXCEPTIONS,
    "max_calls": _count(0, 0, "a whole number >= 0 (0: no limit)"),
    "speculative": _flag(),
    "_generator_backpressure_num_objects": _BACKPRESSURE,
}
"""Options of remote functions."""

ACTOR: dict[str, Option] = COMMON | {
    "object_store_memory": _amount(None, "a number of bytes >= 0"),
    "max_restarts": _count(0, -1, "a whole number >= 0, or -1 for no limit"),
    "max_task_retries": _MAX_TASK_RETRIES,
    "max_concurrency": _count(None, 1, "a whole number >= 1"),
    "max_pending_calls": Option(
        -1, (int,), "a whole number >= 1, or -1 for no limit", lambda value: value == -1 or value >= 1
    ),
    "namespace": _name("a string that is not empty"),
    "lifetime": Option(
        None, (str,), '"detached" or "non_detached"', lambda value: value in ("detached", "non_detached")
    ),
    "get_if_exists": _flag(),
    "concurrency_groups": Option(
        None, (dict,), "a dictionary from group names to the number of calls that run at a time (>= 1)", _are_groups
    ),
    "checkpoint_every": _count(0, 0, "a number of calls >= 1, or 0 for no checkpoints"),
    "allow_out_of_order_execution": Option(None, (bool,), "True or False", lambda value: True),
}
"""Options of actor classes."""

METHOD: dict[str, Option] = {
    "num_returns": _NUM_RETURNS,
    "max_task_retries": _MAX_TASK_RETRIES,
    "retry_exceptions": _RETRY_EXCEPTIONS,
    "concurrency_group": _name("the name of a concurrency group of the class"),
    "replay": _flag(True),
    "name": _name("a string that is not empty"),
    "_generator_backpressure_num_objects": _BACKPRESSURE,
    "enable_task_events": _flag(True),
}
"""Options of actor methods."""

TABLES: dict[Kind, dict[str, Option]] = {"task": TASK, "actor": ACTOR, "method": METHOD}


def check(kind: Kind, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options as given, without those that are None.

    Args:
        kind: what the options are for.
        given: options by name.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a name is unknown, or a value is out of range; says what is allowed.
    """
    table = TABLES[kind]
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        option = table.get(name)
        if option is None:
            raise ValueError(_unknown(kind, name))
        if value is None:
            continue
        complaint = f"option {name!r} of {_NOUNS[kind]} must be {option.allowed}, not {value!r}"
        is_stray_bool = isinstance(value, bool) and bool not in option.types and object not in option.types
        if is_stray_bool or not isinstance(value, option.types):
            raise TypeError(f"{complaint} ({type(value).__name__})")
        if not option.accepts(value):
            raise ValueError(complaint)
        chosen[name] = value
    if chosen.get("get_if_exists") and "name" not in chosen:
        raise ValueError("option 'get_if_exists' of an actor class needs the option 'name' as well")
    return chosen


def check_speculative(chosen: Mapping[str, Any], is_generator: bool) -> None:
    """Check what a function that may run twice must not be.

    Raises:
        ValueError: ``max_retries=0`` promises that it runs at most once; or it is a generator.
    """
    if not value_of("task", chosen, "speculative"):
        return
    if chosen.get("max_retries") == 0:
        raise ValueError(
            "option 'speculative'=True lets a straggler run a second time, which 'max_retries'=0 forbids: "
            "choose one of them"
        )
    if is_generator or isinstance(chosen.get("num_returns"), str):
        raise ValueError(
            "option 'speculative'=True is not for generators: their consumer would get items of two different runs"
        )


def value_of(kind: Kind, chosen: Mapping[str, Any], name: str) -> Any:
    """The value that was chosen for an option, or its default."""
    return chosen[name] if name in chosen else TABLES[kind][name].default


def _unknown(kind: Kind, name: str) -> str:
    for other, table in TABLES.items():
        if name in table:
            return f"{name!r} is an option of {_NOUNS[other]}, not of {_NOUNS[kind]}"
    return f"unknown option {name!r} of {_NOUNS[kind]}" + suggestion(name, TABLES[kind])


def suggestion(name: str, known: Mapping[str, Any]) -> str:
    """``; did you mean 'x'?`` where something known looks like ``name``, else the list of what is known."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(sorted(public for public in known if not public.startswith('_')))}"
