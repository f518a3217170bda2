"""What a program claims of a cluster that it shares with others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from thornback.core.messages import JobTerms
from thornback.core.resources import to_units


@dataclass(frozen=True)
class JobConfig:
    """Given as ``init(job_config=JobConfig(...))``; holds for all tasks, actors and placement groups of the program.

    Args:
        weight: share of the cluster against the weights of other programs, while several want more than there is
            (weighted dominant resource fairness). A program alone gets everything, whatever its weight.
        quota: most that the program may hold at a time, e.g. ``{"CPU": 8}``; resources that are not named are without
            limit. What goes beyond waits until something of the program's own is free again.
        metadata: strings by name, shown with the job.

    Raises:
        TypeError, ValueError: a bad argument; says which, and what is allowed.
    """

    weight: float = 1.0
    quota: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _is_number(self.weight):
            raise TypeError(f"JobConfig: weight must be a number above 0, not {self.weight!r}")
        if not 0 < self.weight < math.inf:
            raise ValueError(f"JobConfig: weight must be a finite number above 0, not {self.weight!r}")
        if not isinstance(self.quota, Mapping):
            raise TypeError(f'JobConfig: quota must be a dictionary such as {{"CPU": 8}}, not {self.quota!r}')
        for name, amount in self.quota.items():
            if not isinstance(name, str) or not name or not _is_number(amount):
                raise TypeError(f"JobConfig: quota has {name!r}: {amount!r}; it maps names of resources to amounts")
            if not 0 <= amount < math.inf:
                raise ValueError(f"JobConfig: quota[{name!r}] must be a finite number >= 0, not {amount!r}")
        for key, value in self.metadata.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise TypeError(f"JobConfig: metadata must map strings to strings, not {key!r} to {value!r}")

    def to_terms(self) -> JobTerms:
        """The engine's form, in integer units."""
        quota = {name: to_units({name: amount}).get(name, 0) for name, amount in self.quota.items()}
        return JobTerms(float(self.weight), quota)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
