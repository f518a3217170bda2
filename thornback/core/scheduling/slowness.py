"""Which nodes are slow: judged by how long the same functions take there and on their peers. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from thornback.core.config import MILLISECOND
from thornback.core.ids import NodeId

LEAST_RUNS = 5
"""Runs of a function on a node before they say anything about the node."""
LEAST_NODES = 3
"""Nodes that a function must have run on so often; of two, nobody knows which is the odd one."""
LEAST_TIME = 1 * MILLISECOND
"""Functions that are shorter than this tell more about interruptions than about nodes."""
SLOW = 2.0
"""A node is called slow from so many times its peers' run times on,"""
NORMAL = 1.5
"""and no more below so many times."""

RunTimes = Mapping[str, Mapping[NodeId, Sequence[int]]]
"""By function and node, nanoseconds."""


def slowness(run_times: RunTimes) -> dict[NodeId, float]:
    """How many times longer than usual functions take on each node, where that can be told.

    The ratio of a node's median to the median of all nodes' medians, function by function; of these the median. Neither
    a few runs that are odd, nor a function whose calls are unequal, nor a minority of slow nodes changes much.
    """
    ratios: dict[NodeId, list[float]] = {}
    for by_node in run_times.values():
        medians = {node: median(times) for node, times in by_node.items() if len(times) >= LEAST_RUNS}
        if len(medians) < LEAST_NODES:
            continue
        usual = median(medians.values())
        if usual >= LEAST_TIME:
            for node, own in medians.items():
                ratios.setdefault(node, []).append(own / usual)
    return {node: median(values) for node, values in ratios.items()}


def choose_slow(measured: Mapping[NodeId, float], known: Mapping[NodeId, float]) -> dict[NodeId, float]:
    """The slow nodes, given how slow each seems now and which were called slow before."""
    return {node: factor for node, factor in measured.items() if factor >= (NORMAL if node in known else SLOW)}


def median(values: Iterable[float]) -> float:
    """The middle value, or the mean of the two middle ones; there is at least one value."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
