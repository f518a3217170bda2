"""How workloads look at results: what is expected is said where it is checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import thornback as ray


class CheckFailed(AssertionError):
    """A workload did not get what it must get; says what it expected."""


def check(condition: object, expected: str) -> None:
    """Go on only if the condition holds.

    Raises:
        CheckFailed: it does not.
    """
    if not condition:
        raise CheckFailed(expected)


def check_equal(what: str, found: Any, expected: Any) -> None:
    """Go on only if both are equal.

    Raises:
        CheckFailed: they differ; shows both, shortened.
    """
    if found != expected:
        raise CheckFailed(f"{what} must be {_short(expected)}, and is {_short(found)}")


def outcome(what: str, ref: Any, allowed: tuple[type[BaseException], ...]) -> Any:
    """The value of a reference, or its error if that is one of the allowed kinds.

    Raises:
        CheckFailed: another error came.
    """
    try:
        return ray.get(ref)
    except allowed as error:
        return error
    except Exception as error:
        kinds = " or ".join(kind.__name__ for kind in allowed) or "no error"
        raise CheckFailed(f"{what} may end in {kinds}, not in {type(error).__name__}: {error}") from error


def outcomes(what: str, refs: Iterable[Any], allowed: tuple[type[BaseException], ...]) -> list[Any]:
    """:func:`outcome` of each."""
    return [outcome(f"{what} {index}", ref, allowed) for index, ref in enumerate(refs)]


def eventually(expected: str, condition: Callable[[], bool], patience: float) -> None:
    """Wait until it is so.

    Args:
        patience: seconds.

    Raises:
        CheckFailed: it is not by then.
    """
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise CheckFailed(f"{expected}, and is not after {patience:g} s")
        time.sleep(0.1)


def values(found: Iterable[Any]) -> list[Any]:
    """Those outcomes that are not errors."""
    return [each for each in found if not isinstance(each, BaseException)]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:297]}..."
