"""Resource arithmetic in integers: one unit is 1/10,000 of a CPU, GPU or custom resource, or one byte of memory.

Fractions like ``num_cpus=0.1`` are exact this way, so that what is given back always equals what was taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

UNIT = 10_000

CPU = "CPU"
GPU = "GPU"
MEMORY = "memory"
OBJECT_STORE_MEMORY = "object_store_memory"
BYTE_RESOURCES = frozenset({MEMORY, OBJECT_STORE_MEMORY})

Resources: TypeAlias = dict[str, int]


def to_units(amounts: Mapping[str, float]) -> Resources:
    """Amounts as users write them (CPUs, GPUs, bytes) in integer units; zeros are left out.

    Raises:
        ValueError: an amount is negative, not finite, or finer than 1/10,000.
    """
    units: Resources = {}
    for name, amount in amounts.items():
        scale = 1 if name in BYTE_RESOURCES else UNIT
        if not amount >= 0 or amount == float("inf"):
            raise ValueError(f"resource {name!r} must be a finite number >= 0, not {amount!r}")
        count = round(amount * scale)
        if amount > 0 and count == 0:
            raise ValueError(f"resource {name!r} must be a multiple of {1 / scale}, not {amount!r}")
        if count:
            units[name] = count
    return units


def from_units(units: Mapping[str, int]) -> dict[str, float]:
    """The inverse of :func:`to_units`."""
    return {name: float(count) / (1 if name in BYTE_RESOURCES else UNIT) for name, count in units.items()}


def fits(demand: Mapping[str, int], available: Mapping[str, int]) -> bool:
    """Whether ``available`` covers ``demand`` in every resource."""
    return all(available.get(name, 0) >= count for name, count in demand.items())


def add(target: Resources, amounts: Mapping[str, int]) -> None:
    """Add ``amounts`` to ``target`` in place."""
    for name, count in amounts.items():
        target[name] = target.get(name, 0) + count


def subtract(target: Resources, amounts: Mapping[str, int]) -> None:
    """Take ``amounts`` from ``target`` in place; the caller has checked that they fit."""
    for name, count in amounts.items():
        target[name] = target.get(name, 0) - count


def total(many: Iterable[Mapping[str, int]]) -> Resources:
    """The sum of several resource maps."""
    result: Resources = {}
    for amounts in many:
        add(result, amounts)
    return result


def describe(units: Mapping[str, int]) -> str:
    """``{CPU: 2, GPU: 0.5}`` for messages to people."""
    return "{" + ", ".join(f"{name}: {amount:g}" for name, amount in sorted(from_units(units).items())) + "}"
