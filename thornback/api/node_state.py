"""The nodes of the cluster, as rows."""

from __future__ import annotations

from typing import Any

from thornback.api import current
from thornback.core import blocking


def list_nodes() -> list[dict[str, Any]]:
    """One row per node, dead ones included: ``node_id``, ``node_name``, ``state`` (ALIVE or DEAD), ``labels``, what it
    has (``resources_total``) and has free (``resources_available``), and ``slowness``: how many times longer tasks take
    there than on other nodes, where it is called slow, else 1."""
    return [
        {
            "node_id": row["node_id"],
            "node_name": row["name"],
            "state": row["state"],
            "resources_total": row["resources"],
            "resources_available": row["available"],
            "labels": row["labels"],
            "slowness": row["slowness"],
        }
        for row in blocking.query(current.require(), "nodes")
    ]
