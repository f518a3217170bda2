"""Where things run: only where labels and node affinity allow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from thornback.core.ids import LeaseId, NodeId, TaskId, short
from thornback.core.messages import CreateGroup, RequestLease, Strategy
from thornback.core.scheduling.labels import Condition, matches
from thornback.faults.invariants.base import Checker, Detail

if TYPE_CHECKING:
    pass


class Placement(Checker):
    """Reads what is asked for, and compares it with the labels that the machines really have."""

    name = "placement"
    promise = "a lease is granted, and a bundle placed, only on nodes that its labels and node affinity allow"

    def __init__(self) -> None:
        super().__init__()
        self._strategies: dict[LeaseId, Strategy] = {}
        self._selectors: dict[TaskId, Sequence[Sequence[Condition]]] = {}

    def _labels(self, node_id: NodeId) -> dict[str, str]:
        return next((dict(node.spec.labels) for node in self.world.nodes if node.node_id[:4] == node_id[:4]), {})

    def saw_request_lease(self, time: int, sender: bytes, to: bytes, message: RequestLease) -> None:
        """Somebody wants a worker."""
        strategy = message.strategy
        if strategy.hard or (strategy.kind == "NODE" and not strategy.soft):
            self._strategies[message.lease_id] = strategy

    def on_lease_granted(self, time: int, subject: bytes, detail: Detail) -> None:
        """A node sets resources aside for a worker."""
        strategy, node = self._strategies.get(subject), detail[0]
        if strategy is None:
            return
        if strategy.kind == "NODE" and not strategy.soft and node != strategy.node:
            text = f"lease {short(subject)}, which is for {short(strategy.node)} only, is granted by {short(node)}"
            self.fail(subject, "a lease on another node than its affinity allows", text)
        if not matches(self._labels(node), strategy.hard):
            text = f"lease {short(subject)} needs labels {strategy.hard}, and {short(node)} has {self._labels(node)}"
            self.fail(subject, "a lease on a node without its labels", text)

    def on_lease_ended(self, time: int, subject: bytes, detail: Detail) -> None:
        """It will not be granted again."""
        self._strategies.pop(subject, None)

    def saw_create_group(self, time: int, sender: bytes, to: bytes, message: CreateGroup) -> None:
        """Somebody wants a placement group."""
        if message.spec.selectors:
            self._selectors[message.spec.group_id] = message.spec.selectors

    def on_group_created(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS counts a group as placed."""
        for index, (node, wanted) in enumerate(zip(detail[2], self._selectors.get(subject, ()), strict=False)):
            if node and not matches(self._labels(node), wanted):
                text = f"bundle {index} of group {short(subject)} needs labels {wanted}, and is on {short(node)}"
                self.fail(subject, "a bundle on a node without its labels", f"{text} with {self._labels(node)}")
