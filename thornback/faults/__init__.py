"""Faults as data: plans, where they come from, what injects them, and what must hold all the same.

A program declares invariants of its own with :func:`invariant`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thornback.faults.invariants.custom import invariant

__all__ = ["invariant"]


def __getattr__(name: str) -> Any:
    """Import the decorator when it is first used: plans are read without it."""
    if name == "invariant":
        from thornback.faults.invariants.custom import invariant

        return invariant
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
