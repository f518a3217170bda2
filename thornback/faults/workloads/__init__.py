"""Programs that check themselves: each must end rightly whatever faults happen meanwhile.

Each is an ordinary program, in a module of its own: ``python -m thornback.faults.workloads.shuffle`` runs it on this
machine, ``thornback simulate`` on a simulated cluster, and tools call its ``main``. What a workload accepts under
faults is what the documentation promises, and nothing else: any other outcome raises
:class:`thornback.faults.workloads.checks.CheckFailed` (or the error itself).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

_NAMES = (
    "map_reduce",
    "shuffle",
    "ledger",
    "deep_lineage",
    "wide_lineage",
    "nested",
    "attempts",
    "borrowed",
    "parameter_server",
    "names",
    "gangs",
    "gpus",
    "mixed",
    "pressure",
    "readers",
    "streaming",
    "cancels",
    "drivers",
)

WORKLOADS: dict[str, str] = {name: f"{__name__}.{name}" for name in _NAMES}
"""Module of each workload, by name."""

NODES: Mapping[str, Any] = {"cpus": 2}
"""A simulated machine that suits a workload, where the workload's own ``NODE`` says nothing else."""


def load(name: str) -> Callable[..., None]:
    """The ``main`` of a workload.

    Raises:
        ValueError: there is no such workload; names those that there are.
    """
    main: Callable[..., None] = _module(name).main
    return main


def node_of(name: str) -> list[dict[str, Any]]:
    """The machines that a workload is made for, as :func:`thornback.simulator.cluster.machines` takes them: its
    ``NODE``, which is one description or a list."""
    own: Any = getattr(_module(name), "NODE", {})
    return [{**NODES, **each} for each in (own if isinstance(own, list) else [own])]


def faults_of(name: str) -> tuple[str, ...]:
    """Kinds of faults that storms leave out by default, and that this workload is made for: its ``FAULTS``."""
    faults: tuple[str, ...] = getattr(_module(name), "FAULTS", ())
    return faults


def _module(name: str) -> Any:
    if name not in WORKLOADS:
        raise ValueError(f"there is no workload {name!r}; there are {', '.join(WORKLOADS)}")
    return import_module(WORKLOADS[name])
