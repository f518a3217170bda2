"""Questions about the cluster: its nodes, their resources, and what has run on them."""

from __future__ import annotations

from typing import Any

from thornback.api import current
from thornback.api.lazy import blocking
from thornback.core import context, ids, resources
from thornback.core.messages import NodeView


def nodes() -> list[dict[str, Any]]:
    """All nodes that were ever part of the cluster.

    Returns:
        one dictionary per node, with ``NodeID`` (hex), ``Alive``, ``NodeName``, ``NodeManagerAddress``, ``Resources``
        (in total) and ``Labels``.
    """
    return [_describe(view) for view in blocking.view(current.require())]


def _describe(view: NodeView) -> dict[str, Any]:
    host, _, port = view.endpoint.rpartition(":")
    return {
        "NodeID": view.node_id.hex(),
        "Alive": view.alive,
        "alive": view.alive,
        "Draining": view.draining,
        "NodeName": view.name,
        "NodeManagerAddress": host or view.endpoint,
        "NodeManagerHostname": view.name,
        "NodeManagerPort": int(port) if host and port.isdigit() else 0,
        "Resources": resources.from_units(view.total) if view.alive else {},
        "Labels": dict(view.labels),
    }


def cluster_resources() -> dict[str, float]:
    """What all nodes that are alive have together: CPUs, GPUs, bytes of memory, custom resources."""
    return resources.from_units(resources.total(view.total for view in _alive()))


def available_resources() -> dict[str, float]:
    """What of :func:`cluster_resources` nobody holds at the moment, as far as the nodes have reported it."""
    amounts = resources.total(view.available for view in _alive())
    return resources.from_units({name: amount for name, amount in amounts.items() if amount > 0})


def _alive() -> list[NodeView]:
    return [view for view in blocking.view(current.require()) if view.alive]


def get_gpu_ids() -> list[int]:
    """The GPUs that the running task or actor was given; empty outside of tasks."""
    running = context.current.get()
    return [] if running is None else list(running.gpu_ids)


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """What ran where and when, for ``chrome://tracing`` or Perfetto.

    Args:
        filename: where to write it as JSON; None returns it.

    Returns:
        trace events, one per execution of a task, unless they were written to a file.
    """
    events = [_trace_event(row) for row in blocking.query(current.require(), "timeline")]
    if filename is None:
        return events
    import json

    with open(filename, "w", encoding="utf-8") as file:
        json.dump(events, file)
    return None


def _trace_event(row: dict[str, Any]) -> dict[str, Any]:
    worker = str(row["worker_id"])
    return {
        "cat": "task",
        "name": row["name"],
        "ph": "X",
        "ts": row["start"] / 1000,
        "dur": (row["end"] - row["start"]) / 1000,
        "pid": f"node:{worker[: 2 * ids.NODE_ID_SIZE]}",
        "tid": f"worker:{worker}",
        "args": {key: row[key] for key in ("task_id", "attempt", "outcome") if key in row},
    }
