"""What one node's memory and disk hold, as rows for people. Sizes in memory add up to what the allocator gave out."""

from __future__ import annotations

from typing import Any

from thornback.core.config import SECOND
from thornback.core.ids import owner_of, short
from thornback.core.objects.entry import Entry
from thornback.core.objects.store import NodeStore
from thornback.core.ports import OUTSIDE


def rows(store: NodeStore) -> list[dict[str, Any]]:
    """One row per object of the node."""
    now = store.clock.now()
    return [
        {
            "object_id": entry.object_id.hex(),
            "owner": owner_of(entry.object_id).hex(),
            "node_id": store.node_id.hex(),
            "size": entry.size,
            "memory_bytes": _memory(store, entry),
            "disk_bytes": _disk(entry),
            "sealed": entry.sealed,
            "primary": entry.primary,
            "freed": entry.doomed,
            "kept_in_memory": entry.keep,
            "pins": {short(reader): count for reader, count in entry.pins.items()},
            "age_s": (now - entry.made) / SECOND,
            "call_site": entry.origin,
        }
        for entry in store.entries.values()
    ]


def summary(store: NodeStore) -> dict[str, Any]:
    """The node's memory and disk as a whole."""
    return {
        "node_id": store.node_id.hex(),
        "capacity": store.allocator.capacity,
        "used": store.allocator.used,
        "largest_free": store.allocator.largest(),
        "objects": len(store.entries),
        "pinned": sum(_memory(store, entry) for entry in store.entries.values() if entry.pins),
        "waiting_for_room": len(store.room),
        "spilled_bytes": store.spilling.bytes_on_disk,
        "spilled_needed": store.spilling.bytes_needed,
        "outside_bytes": store.outside.bytes,
        "spill_files": len(store.spilling.files),
        "spill_trouble": store.spilling.trouble,
    }


def _memory(store: NodeStore, entry: Entry) -> int:
    return store.allocator.size_of(entry.offset) if 0 <= entry.offset < OUTSIDE else 0


def _disk(entry: Entry) -> int:
    spilled = 0 if entry.piece is None else entry.piece.stored
    return spilled + (entry.size if entry.offset >= OUTSIDE else 0)
