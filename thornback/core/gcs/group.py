"""One placement group as the GCS knows it, and what of it is durable."""

from __future__ import annotations

import msgspec

from thornback.core.ids import Address, NodeId
from thornback.core.messages import GroupSpec, GroupUpdate
from thornback.core.messages.base import Record
from thornback.core.ports import Timer

PENDING = "PENDING"
CREATED = "CREATED"
RESCHEDULING = "RESCHEDULING"
REMOVED = "REMOVED"


class GroupRow(Record, frozen=True):
    """A placement group in the durable store."""

    spec: GroupSpec
    state: str
    nodes: tuple[NodeId, ...]
    attempts: tuple[int, ...]
    version: int
    reason: str


encode = msgspec.msgpack.Encoder().encode
decode_row = msgspec.msgpack.Decoder(GroupRow).decode


class Group:
    """One placement group.

    Attributes:
        nodes: where each bundle is, empty for none.
        attempts: number of the reservation by which each bundle got its place.
        attempt: number of the reservation under way, 0 for none.
        asked: nodes of that attempt that have not answered.
        chosen: where that attempt puts the bundles that have no place.
        alone: that attempt puts all bundles on one node, which needs no second phase.
        failures: attempts in a row that came to nothing.
        keeps_room: the nodes of that attempt keep what comes free until they can set its bundles aside.
        shape: equal for groups of which one has room where the other has.
    """

    __slots__ = (
        "alone",
        "asked",
        "attempt",
        "attempts",
        "chosen",
        "failures",
        "keeps_room",
        "nodes",
        "reason",
        "shape",
        "spec",
        "state",
        "timer",
        "version",
    )

    def __init__(self, spec: GroupSpec) -> None:
        self.spec = spec
        bundles = tuple(tuple(sorted(bundle.items())) for bundle in spec.bundles)
        self.shape = (spec.strategy, spec.selectors, bundles)
        self.keeps_room = False
        self.state = PENDING
        self.nodes: list[NodeId] = [b""] * len(spec.bundles)
        self.attempts = [0] * len(spec.bundles)
        self.attempt = 0
        self.failures = 0
        self.alone = False
        self.asked: dict[NodeId, None] = {}
        self.chosen: dict[int, NodeId] = {}
        self.reason = ""
        self.version = 0
        self.timer: Timer | None = None

    def to_row(self) -> bytes:
        """What must be durable of it."""
        nodes, attempts = tuple(self.nodes), tuple(self.attempts)
        return encode(GroupRow(self.spec, self.state, nodes, attempts, self.version, self.reason))

    @classmethod
    def from_row(cls, value: bytes) -> Group:
        """The group of a committed row. What it was reserving is forgotten."""
        row = decode_row(value)
        group = cls(row.spec)
        group.state, group.version, group.reason = row.state, row.version, row.reason
        group.nodes, group.attempts = list(row.nodes), list(row.attempts)
        return group

    def wants(self, node: Address, attempt: int) -> bool:
        """Whether what the node has set aside in that attempt belongs to the group, or may yet."""
        if self.state == REMOVED:
            return False
        placed = zip(self.nodes, self.attempts, strict=True)
        return attempt == self.attempt or (node, attempt) in placed

    def update(self) -> GroupUpdate:
        """What those who use it must know."""
        spec = self.spec
        return GroupUpdate(spec.group_id, self.version, self.state, spec.bundles, tuple(self.nodes), self.reason)
