"""One object as its node knows it: in memory, on disk, on its way between the two, or being written."""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.ids import Address, ObjectId
from thornback.core.ports import Piece

OUT = "to disk"
IN = "from disk"


class Entry:
    """One object on this node."""

    __slots__ = (
        "doomed",
        "keep",
        "made",
        "moving",
        "object_id",
        "offset",
        "on_present",
        "on_seal",
        "origin",
        "piece",
        "pins",
        "primary",
        "sealed",
        "size",
        "writer",
    )

    def __init__(self, object_id: ObjectId, offset: int, size: int, writer: Address, made: int) -> None:
        self.object_id = object_id
        self.offset = offset
        """In the node's memory; -1 while it is on disk only."""
        self.size = size
        self.writer = writer
        self.made = made
        """When, on the node's clock."""
        self.origin = ""
        """Where it comes from, for people."""
        self.sealed = False
        self.primary = False
        """It stays until its owner frees it; other copies may go when room is short."""
        self.keep = False
        """Never spilled, on the user's request."""
        self.doomed = False
        """Nobody refers to it; it goes when the last pin does."""
        self.moving = ""
        """OUT while it is written to disk (it can be read meanwhile), IN while it is read back."""
        self.piece: Piece | None = None
        """Where it is on disk, perhaps in memory as well."""
        self.pins: dict[Address, int] = {}
        self.on_seal: list[Callable[[Entry | None], None]] = []
        """Called when it is written, or with None when its writer gave up."""
        self.on_present: list[Callable[[str | None], None]] = []
        """Called when it is back from disk, with None, or with the reason why there is no room for it ("": it is
        lost)."""

    @property
    def in_memory(self) -> bool:
        """Whether it can be read now."""
        return self.sealed and self.offset >= 0 and self.moving != IN

    @property
    def used(self) -> bool:
        """Whether somebody reads it, or is about to."""
        return bool(self.pins or self.on_present)
