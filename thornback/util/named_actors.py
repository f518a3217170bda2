"""Which actors have names."""

from __future__ import annotations

from typing import Any

from thornback.api import current, identity
from thornback.api.lazy import blocking


def list_named_actors(all_namespaces: bool = False) -> list[str] | list[dict[str, Any]]:
    """Names of live actors.

    Args:
        all_namespaces: those of every namespace, not only of the program's own.

    Returns:
        names; with ``all_namespaces`` dictionaries with ``name`` and ``namespace``.
    """
    runtime = current.require()
    rows = blocking.query(runtime, "named_actors")
    if all_namespaces:
        return [{"name": row["name"], "namespace": row["namespace"]} for row in rows]
    here = identity.namespace_of(runtime)
    return [str(row["name"]) for row in rows if row["namespace"] == here]
