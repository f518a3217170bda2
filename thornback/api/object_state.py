"""The ledger: what holds which bytes of the cluster's memory, put together from all nodes and processes."""

from __future__ import annotations

from typing import Any

from thornback.api import current
from thornback.core import blocking
from thornback.core.ids import short

ANSWER_LIMIT = 5.0
"""Seconds that a process may take to answer; one that is busy with a long turn is left out after them."""


def list_stores() -> list[dict[str, Any]]:
    """One row per node: ``capacity`` and ``used`` bytes of its shared memory, ``pinned`` ones, ``spilled_bytes``, and
    how many writers and readers wait for room."""
    nodes = _nodes()
    answers = blocking.query_at(current.require(), [(node, "store") for node in nodes], ANSWER_LIMIT)
    return [row for rows in answers for row in rows]


def list_objects(limit: int = 10_000) -> list[dict[str, Any]]:
    """One row per object that exists, the largest first.

    Each has ``object_id``, ``owner``, ``size``, ``where`` (SHARED, INLINE, PENDING), ``memory_bytes`` and
    ``disk_bytes`` over all nodes, ``copies`` (one per node, with pins and age), ``references`` (one per process, with
    their kinds), ``reference_kinds``, ``pins``, ``age_s`` and ``call_site``. The ``memory_bytes`` of all rows add up to
    what the nodes' shared memories hold (see :func:`list_stores`).
    """
    runtime = current.require()
    nodes = _nodes()
    questions = [(node, table) for node in nodes for table in ("objects", "processes")]
    answers = blocking.query_at(runtime, questions, ANSWER_LIMIT)
    found: dict[str, dict[str, Any]] = {}
    processes: list[bytes] = []
    for rows in answers:
        for row in rows:
            if "process" in row:
                processes.append(bytes.fromhex(row["process"]))
            else:
                _add_copy(_entry(found, row), row)
    for rows in blocking.query_at(runtime, [(process, "references") for process in processes], ANSWER_LIMIT):
        for row in rows:
            _add_reference(_entry(found, row), row)
    ordered = sorted(found.values(), key=lambda row: (-row["memory_bytes"], -row["size"], row["object_id"]))
    return ordered[:limit]


def summarize_objects() -> dict[str, Any]:
    """Bytes and counts by call site."""
    sites: dict[str, dict[str, int]] = {}
    rows = list_objects(limit=1 << 62)
    for row in rows:
        site = sites.setdefault(row["call_site"] or "unknown", {"objects": 0, "memory_bytes": 0, "disk_bytes": 0})
        site["objects"] += 1
        site["memory_bytes"] += row["memory_bytes"]
        site["disk_bytes"] += row["disk_bytes"]
    return {"objects": len(rows), "memory_bytes": sum(row["memory_bytes"] for row in rows), "call_sites": sites}


def _nodes() -> list[bytes]:
    return [node.node_id for node in blocking.view(current.require()) if node.alive]


def _entry(found: dict[str, dict[str, Any]], row: dict[str, Any]) -> dict[str, Any]:
    object_id = row["object_id"]
    entry = found.get(object_id)
    if entry is None:
        entry = found[object_id] = {
            "object_id": object_id,
            "name": short(bytes.fromhex(object_id)),
            "owner": short(bytes.fromhex(row["owner"])),
            "size": 0,
            "where": "SHARED",
            "memory_bytes": 0,
            "disk_bytes": 0,
            "copies": [],
            "references": [],
            "reference_kinds": [],
            "pins": 0,
            "age_s": 0.0,
            "call_site": "",
        }
    entry["size"] = max(entry["size"], row["size"])
    entry["call_site"] = entry["call_site"] or row["call_site"]
    return entry


def _add_copy(entry: dict[str, Any], row: dict[str, Any]) -> None:
    entry["memory_bytes"] += row["memory_bytes"]
    entry["disk_bytes"] += row["disk_bytes"]
    entry["pins"] += sum(row["pins"].values())
    entry["age_s"] = max(entry["age_s"], row["age_s"])
    names = ("node_id", "memory_bytes", "disk_bytes", "sealed", "primary", "freed", "pins", "age_s")
    entry["copies"].append({name: row[name] for name in names})


def _add_reference(entry: dict[str, Any], row: dict[str, Any]) -> None:
    if row["owned"]:
        entry["where"] = row["where"]
        entry["age_s"] = max(entry["age_s"], row["age_s"])
        entry["call_site"] = row["call_site"] or entry["call_site"]
    names = ("process", "owned", "kinds", "local", "holds", "lineage", "borrowers", "mapped")
    entry["references"].append({name: row[name] for name in names})
    entry["reference_kinds"] = sorted({*entry["reference_kinds"], *row["kinds"]})
