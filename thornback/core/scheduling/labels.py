"""Conditions on the labels of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Condition: TypeAlias = tuple[str, str, tuple[str, ...]]
"""(label, operator, values)"""

OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def matches(labels: Mapping[str, str], conditions: Sequence[Condition]) -> bool:
    """Whether a node's labels satisfy all of the conditions.

    Raises:
        ValueError: an operator is unknown.
    """
    for name, operator, values in conditions:
        value = labels.get(name)
        if operator == "In":
            met = value in values
        elif operator == "NotIn":
            met = value not in values
        elif operator == "Exists":
            met = value is not None
        elif operator == "DoesNotExist":
            met = value is None
        else:
            raise ValueError(f"unknown label operator {operator!r}; there are {', '.join(OPERATORS)}")
        if not met:
            return False
    return True
