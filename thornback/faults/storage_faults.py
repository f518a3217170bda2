"""Faults of shared memory, spill files and transfers of objects."""

from __future__ import annotations

from thornback.faults.base import Count, Factor, Fault, LastingFault, NodeIndex, Rate


class FillStore(LastingFault, frozen=True, kw_only=True, tag="fill_store"):
    """Something else takes part of a node's object store, as far as it is free."""

    node: NodeIndex
    fraction: Rate = 1.0
    """Of the capacity."""


class EvictCopies(Fault, frozen=True, kw_only=True, tag="evict_copies"):
    """All copies of objects on a node that nobody reads are dropped: those whose primary is elsewhere or on disk. After
    ``object.spilled``, that races with spilling."""

    node: NodeIndex


class SpillError(LastingFault, frozen=True, kw_only=True, tag="spill_error"):
    """Writing spill files fails on a node."""

    node: NodeIndex


class TornSpill(Fault, frozen=True, kw_only=True, tag="torn_spill"):
    """The next spill files that are written on a node lose their second half, unnoticed."""

    always_timed = False

    node: NodeIndex
    count: Count = 1


class CorruptSpill(Fault, frozen=True, kw_only=True, tag="corrupt_spill"):
    """A byte changes in every spill file that a node has."""

    node: NodeIndex


class SlowDisk(LastingFault, frozen=True, kw_only=True, tag="slow_disk"):
    """Spill files are written and read more slowly on a node."""

    node: NodeIndex
    factor: Factor
    """On the bandwidth; below 1 is slower."""


class CorruptChunk(Fault, frozen=True, kw_only=True, tag="corrupt_chunk"):
    """A byte changes in the next chunks of objects that a node sends to others."""

    always_timed = False

    node: NodeIndex
    count: Count = 1
