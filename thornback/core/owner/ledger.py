"""What one process refers to, as rows for people: the part of the ledger that only owners and borrowers know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thornback.core.config import SECOND
from thornback.core.ids import owner_of, short
from thornback.core.messages import Stored, Value
from thornback.core.owner.references import Reference

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner

LOCAL = "LOCAL_REFERENCE"
USED = "USED_BY_PENDING_TASK"
BORROWED = "BORROWED"
LENT = "LENT"
LINEAGE = "LINEAGE"


def kinds_of(reference: Reference) -> list[str]:
    """Why the process keeps the record."""
    kinds = []
    if reference.local > 0:
        kinds.append(LOCAL)
    if reference.holds > 0:
        kinds.append(USED)
    if reference.borrowers:
        kinds.append(LENT)
    if reference.registrations > 0:
        kinds.append(BORROWED)
    if reference.lineage > 0:
        kinds.append(LINEAGE)
    return kinds


def rows(owner: Owner) -> list[dict[str, Any]]:
    """One row per object that the process owns or borrows."""
    return [_row(owner, reference) for reference in owner.references.table.values()]


def _row(owner: Owner, reference: Reference) -> dict[str, Any]:
    content, origin = reference.content, reference.origin
    return {
        "object_id": reference.object_id.hex(),
        "owner": owner_of(reference.object_id).hex(),
        "process": owner.worker_id.hex(),
        "owned": reference.owned,
        "size": content.size if content is not None else 0,
        "where": "SHARED" if isinstance(content, Stored) else "INLINE" if isinstance(content, Value) else "PENDING",
        "is_error": isinstance(content, Value) and content.is_error,
        "kinds": kinds_of(reference),
        "local": reference.local,
        "holds": reference.holds,
        "lineage": reference.lineage,
        "borrowers": {} if reference.borrowers is None else {short(k): v for k, v in reference.borrowers.items()},
        "nodes": [node.hex() for node in content.nodes] if isinstance(content, Stored) else [],
        "call_site": origin if isinstance(origin, str) else f"task {origin.name}",
        "age_s": (owner.ports.clock.now() - reference.made) / SECOND if reference.made else 0.0,
        "mapped": reference.object_id in owner.blocks.table,
    }
