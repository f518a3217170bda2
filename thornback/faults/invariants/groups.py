"""Placement groups: wholly placed or not at all, and as their strategy promises."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from thornback.core.ids import NodeId, TaskId, short
from thornback.faults.invariants.base import Checker, Detail, Unsettled

if TYPE_CHECKING:
    from thornback.simulator.world import World


class Groups(Checker):
    """Knows which bundles each node has set aside."""

    name = "placement groups"
    promise = "a group is created only with all its bundles set aside, each where its strategy allows"

    def __init__(self) -> None:
        super().__init__()
        self._reserved: dict[tuple[NodeId, TaskId, int], int] = {}
        self._ended: dict[NodeId, None] = {}
        self._removed: dict[TaskId, None] = {}

    def on_bundle_reserved(self, time: int, subject: bytes, detail: Detail) -> None:
        """A node sets a bundle aside."""
        node, index, attempt, _total, _gpus = detail
        self._reserved[node, subject, index] = attempt

    def on_bundle_released(self, time: int, subject: bytes, detail: Detail) -> None:
        """A node gives a bundle back."""
        node, index, _attempt = detail
        self._reserved.pop((node, subject, index), None)

    def on_process_end(self, time: int, subject: bytes, detail: Detail) -> None:
        """A node's bundles end with it; the GCS learns of that later."""
        self._ended[subject] = None

    def on_group_state(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS publishes news of a group."""
        if detail[0] == "REMOVED":
            self._removed[subject] = None

    def on_group_created(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS counts a group as placed."""
        strategy, bundles, nodes = detail
        name = f"group {short(subject)} ({strategy})"
        if len(nodes) != len(bundles) or not all(nodes):
            self.fail(subject, "created in part", f"{name} is created with {sum(map(bool, nodes))} of {len(bundles)}")
        for index, node in enumerate(nodes):
            if node and node not in self._ended and (node, subject, index) not in self._reserved:
                text = f"{name} is created with bundle {index} on {short(node)}, which has not set it aside"
                self.fail(subject, "created without a bundle", text)
        places = set(filter(None, nodes))
        if strategy == "STRICT_PACK" and len(places) > 1:
            self.fail(subject, "STRICT_PACK on several nodes", f"{name} is spread over {len(places)} nodes")
        if strategy == "STRICT_SPREAD" and len(places) < len(bundles):
            self.fail(subject, "STRICT_SPREAD on too few nodes", f"{name} has {len(bundles)} bundles on {len(places)}")

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """Bundles of groups that have ended, and groups that are half placed."""
        for (node, group, index), _attempt in self._reserved.items():
            if group in self._removed and node not in self._ended:
                text = f"bundle {index} of the removed group {short(group)} is still set aside on {short(node)}"
                yield Unsettled("a bundle of a removed group", text, group)
