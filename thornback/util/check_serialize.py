"""Why a value cannot be sent to a task or actor."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO


class FailureTuple(NamedTuple):
    """A part that cannot be pickled."""

    obj: Any
    name: str
    parent: Any


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Find the parts of a value, closure or class that cannot be pickled, and print them as a tree.

    Args:
        base_obj: the value.
        name: what to call it.
        depth: how deep to look.
        print_file: where to print; None is stdout.

    Returns:
        whether it can be pickled, and the innermost parts found that cannot.
    """
    out = print_file or sys.stdout
    title = name or getattr(base_obj, "__name__", None) or type(base_obj).__name__
    print(f"Checking whether {title} can be pickled", file=out)
    found: dict[int, FailureTuple] = {}
    sound = _inspect(base_obj, title, None, depth, 0, out, found)
    if not sound:
        print("These parts cannot be pickled:", file=out)
        for failure in found.values():
            print(f"  {failure.name} ({type(failure.obj).__name__}), found in {_short(failure.parent)}", file=out)
        print("Make them inside the task or actor, or pass what is needed to make them.", file=out)
    return sound, _as_set(found)


def _inspect(
    value: Any, name: str, parent: Any, depth: int, level: int, out: TextIO, found: dict[int, FailureTuple]
) -> bool:
    problem = _problem(value)
    indent = "  " * level
    if problem is None:
        if level == 0:
            print(f"{indent}{name}: yes", file=out)
        return True
    print(f"{indent}{name}: no: {problem}", file=out)
    guilty = [(label, part) for label, part in _parts(value) if depth > 0 and _problem(part) is not None]
    for label, part in guilty:
        if id(part) not in found:
            _inspect(part, label, value, depth - 1, level + 1, out, found)
    if not guilty:
        found[id(value)] = FailureTuple(value, name, parent)
    return False


def _problem(value: Any) -> str | None:
    import cloudpickle

    try:
        cloudpickle.dumps(value)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if inspect.isfunction(value):
        variables = inspect.getclosurevars(value)
        yield from variables.nonlocals.items()
        yield from variables.globals.items()
    elif isinstance(value, dict):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, type):
        yield from ((key, part) for key, part in vars(value).items() if inspect.isroutine(part))
    else:
        yield from (getattr(value, "__dict__", None) or {}).items()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _as_set(found: dict[int, FailureTuple]) -> set[FailureTuple]:
    kept = set()
    for failure in found.values():
        try:
            kept.add(failure)
        except TypeError:
            kept.add(FailureTuple(_short(failure.obj), failure.name, _short(failure.parent)))
    return kept
