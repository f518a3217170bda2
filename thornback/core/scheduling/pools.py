"""Amounts of resources that are handed out and come back, with the ids of GPUs; a node has one, and so has a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from thornback.core.resources import GPU, UNIT, Resources, add, fits, subtract

GpuParts: TypeAlias = dict[int, int]
"""Units of each GPU, by id."""


def whole_gpus(total: Mapping[str, int]) -> GpuParts:
    """The GPUs of a node: ids from 0, the last one in part if the amount is not whole."""
    amount = total.get(GPU, 0)
    parts = dict.fromkeys(range(amount // UNIT), UNIT)
    if amount % UNIT:
        parts[amount // UNIT] = amount % UNIT
    return parts


def choose_gpus(amount: int, free: Mapping[int, int]) -> GpuParts | None:
    """Whole GPUs for the whole part of the amount, one GPU for the rest (the fullest one that has room); None if the
    free parts do not allow it."""
    chosen: GpuParts = {}
    whole, rest = divmod(amount, UNIT)
    for identifier in sorted(free):
        if len(chosen) == whole:
            break
        if free[identifier] >= UNIT:
            chosen[identifier] = UNIT
    if len(chosen) < whole:
        return None
    if rest:
        rooms = [
            (units, identifier) for identifier, units in free.items() if units >= rest and identifier not in chosen
        ]
        if not rooms:
            return None
        chosen[min(rooms)[1]] = rest
    return chosen


class ResourcePool:
    """What is there and what of it is free. Never hands out more than it has, GPU by GPU.

    Attributes:
        available: free amounts; one object for the life of the pool.
        bundle: index of the bundle of a placement group that it belongs to; -1 for a node.
    """

    __slots__ = ("available", "bundle", "gpus", "total")

    def __init__(self, total: Mapping[str, int], gpus: GpuParts | None = None, bundle: int = -1) -> None:
        self.bundle = bundle
        self.total: Resources = dict(total)
        self.available: Resources = dict(total)
        self.gpus: GpuParts = whole_gpus(total) if gpus is None else dict(gpus)

    def fits(self, demand: Mapping[str, int]) -> bool:
        """Whether the demand could be taken now."""
        if not fits(demand, self.available):
            return False
        gpu = demand.get(GPU, 0)
        return not gpu or choose_gpus(gpu, self.gpus) is not None

    def take(self, demand: Mapping[str, int]) -> GpuParts:
        """Hand the demand out, which fits; returns the GPUs that it got."""
        parts: GpuParts = {}
        gpu = demand.get(GPU, 0)
        if gpu:
            chosen = choose_gpus(gpu, self.gpus)
            assert chosen is not None, "taken without asking whether it fits"
            parts = chosen
            for identifier, units in parts.items():
                self.gpus[identifier] -= units
        subtract(self.available, demand)
        return parts

    def give(self, amounts: Mapping[str, int], parts: Mapping[int, int]) -> None:
        """Take back what :meth:`take` handed out."""
        add(self.available, amounts)
        for identifier, units in parts.items():
            self.gpus[identifier] = self.gpus.get(identifier, 0) + units
