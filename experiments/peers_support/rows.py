"""The list of rows: which numbers there are, and for each engine the function that finds them out.

A *probe* is a function that measures one or more *metrics*; each metric is a row of the table. Probes are written once
against the API that Ray and Thornback share; other engines have versions of their own for some of them.
"""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from peers_support.bench import Bench

Measure = Callable[[Bench], "float | Sequence[float]"]
"""Returns a value per metric; may raise :class:`peers_support.bench.SkippedError`."""

COMMON = ("thornback", "ray")
"""Engines with the common API."""


@dataclass(frozen=True)
class Metric:
    """One row of the table."""

    name: str
    unit: str = "/s"
    higher_is_better: bool = True
    control_plane: bool = False
    """One of those whose ratio to Ray the geometric mean is about."""
    ceiling: str = ""
    """The metric of the bare machine that this one can be compared with."""


@dataclass
class Probe:
    """A measurement.

    Attributes:
        group: probes of a group share one start of the engine; those of "start" start it themselves.
        seconds: after which it is given up in a full run.
        measures: the function for each engine that has one.
        quick: whether a quick run includes it.
        fresh: must be the first in its process, as it looks at memory.
    """

    name: str
    metrics: tuple[Metric, ...]
    group: str
    seconds: float
    quick: bool = True
    fresh: bool = False
    measures: dict[str, Measure] = field(default_factory=dict)


PROBES: dict[str, Probe] = {}
"""By name, in the order of the table."""


def probe(
    name: str,
    metrics: Sequence[Metric],
    group: str,
    seconds: float = 60,
    quick: bool = True,
    fresh: bool = False,
    engines: Iterable[str] = COMMON,
) -> Callable[[Measure], Measure]:
    """Make a function a probe of ``engines``."""

    def add(measure: Measure) -> Measure:
        PROBES[name] = Probe(name, tuple(metrics), group, seconds, quick, fresh, dict.fromkeys(engines, measure))
        return measure

    return add


def row(
    name: str, group: str, unit: str = "/s", ceiling: str = "", control_plane: bool = True, seconds: float = 60
) -> Callable[[Measure], Measure]:
    """Make a function, which returns one rate, a probe with one metric of the same name."""
    return probe(name, [Metric(name, unit, True, control_plane, ceiling)], group, seconds)


def version_for(engine: str, name: str) -> Callable[[Measure], Measure]:
    """Make a function what ``engine`` does for the probe ``name``."""

    def add(measure: Measure) -> Measure:
        PROBES[name].measures[engine] = measure
        return measure

    return add


_MODULES = ("start", "objects", "tasks", "actors", "scale", "bare", "dask")
"""In the order of the table; versions for other engines come after what they are versions of."""


def load_all() -> dict[str, Probe]:
    """All probes."""
    for name in _MODULES:
        importlib.import_module(f"peers_support.rows_{name}")
    return PROBES


def select(patterns: Sequence[str], quick: bool) -> list[Probe]:
    """The probes with a metric whose name contains, or matches as a shell pattern, one of ``patterns`` (or any).

    Raises:
        ValueError: a pattern matches nothing.
    """
    probes = list(load_all().values())
    if not patterns:
        return [each for each in probes if each.quick or not quick]
    chosen: dict[str, None] = {}
    for pattern in patterns:
        found = [each.name for each in probes if _matches(each, pattern.lower())]
        if not found:
            raise ValueError(f"no row matches {pattern!r}; see --list")
        chosen.update(dict.fromkeys(found))
    return [each for each in probes if each.name in chosen]


def _matches(candidate: Probe, pattern: str) -> bool:
    names = [metric.name.lower() for metric in candidate.metrics]
    return any(pattern in name or fnmatch.fnmatch(name, pattern) for name in names)
