"""How placement groups get their bundles: all or nothing, in two phases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.backoff import Backoff
from thornback.core.gcs.group import REMOVED, Group
from thornback.core.ids import Address, NodeId, TaskId, short
from thornback.core.messages import BundlesReserved, NodeView, ReleaseBundles, ReserveBundles
from thornback.core.ports import Timer
from thornback.core.resources import describe, total
from thornback.core.scheduling.packing import place_bundles, why_never

if TYPE_CHECKING:
    from thornback.core.gcs.placement_groups import GroupTable
    from thornback.core.gcs.store import GlobalControlStore

ALL = -1
"""Attempt of a release that means every bundle, for good."""


class Reservations:
    """Sets bundles aside on nodes.

    A group is either without any place, or wholly placed: bundles are first set aside on all nodes (phase one), and
    only when every node has agreed the group counts as created (phase two); otherwise all are given back.
    """

    def __init__(self, gcs: GlobalControlStore, groups: GroupTable) -> None:
        self.gcs = gcs
        self.groups = groups
        self.clock = gcs.ports.clock
        self.transport = gcs.ports.transport
        self.config = gcs.config
        self.waiting: dict[TaskId, Group] = {}
        """Groups with bundles that have no place, oldest first."""
        self._attempts = 0
        self._soon = False
        self._retry: Timer | None = None
        self._backoff = Backoff(gcs.config.group_retry, gcs.config.group_retry_limit)
        self._random = gcs.ports.random.stream("group-retry")
        self._vain = 0
        """Retries in a row that have placed nothing."""

    def view_changed(self) -> None:
        """Nodes or resources have come: groups that wait may fit now."""
        if self.waiting:
            self.place_soon()

    def place_soon(self) -> None:
        """Try all groups that wait, after this turn."""
        if self.waiting and not self._soon:
            self._soon = True
            self.clock.call_after(0, self._place_waiting)

    def _place_waiting(self) -> None:
        self._soon = False
        full: dict[tuple[object, ...], None] = {}
        for group in list(self.waiting.values()):
            if group.attempt:
                continue
            spec = group.spec
            shape = (spec.strategy, spec.selectors, tuple(map(describe, spec.bundles)), tuple(group.nodes))
            if shape in full:
                continue
            if not self.place(group):
                full[shape] = None
        if self.waiting and self._retry is None:
            self._vain += 1
            self._retry = self.clock.call_after(self._backoff.delay(self._vain, self._random), self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._place_waiting()

    def place(self, group: Group) -> bool:
        """Start a reservation; False if there is no room now."""
        spec = group.spec
        nodes = [node for node in self.gcs.nodes.view.alive() if not node.draining]
        chosen = place_bundles(spec.bundles, spec.strategy, nodes, spec.selectors, group.nodes)
        if chosen is None:
            self._explain(group, nodes)
            return False
        self._attempts += 1
        group.attempt = self.gcs.incarnations.epoch + self._attempts
        group.chosen = chosen
        by_node: dict[NodeId, list[int]] = {}
        for index in sorted(chosen):
            by_node.setdefault(chosen[index], []).append(index)
        group.asked = dict.fromkeys(by_node)
        group.alone = len(by_node) == 1 and len(chosen) == len(spec.bundles)
        for node, indexes in by_node.items():
            bundles = tuple((index, spec.bundles[index]) for index in indexes)
            self.gcs.nodes.debit(node, total(bundle for _, bundle in bundles))
            self.transport.send(node, ReserveBundles(spec.group_id, group.attempt, bundles, group.alone))
        attempt = group.attempt
        group.timer = self.clock.call_after(self.config.reserve_timeout, lambda: self._timed_out(group, attempt))
        return True

    def _explain(self, group: Group, nodes: list[NodeView]) -> None:
        spec = group.spec
        never = why_never(spec.bundles, spec.strategy, nodes, spec.selectors)
        name = f"placement group {spec.name or short(spec.group_id)}"
        if never:
            reason = f"{name} can never be placed on the present nodes: {never}"
        else:
            reason = f"{name} waits until {describe(total(spec.bundles))} is free as {spec.strategy} needs it"
        if never and spec.fail_infeasible:
            self.groups.end(group, reason)
        elif group.reason != reason:
            group.reason = reason
            if group.version:
                self.groups.publish(group)

    def _timed_out(self, group: Group, attempt: int) -> None:
        if group.attempt == attempt:
            self.abort(group)
            self.place_soon()

    def abort(self, group: Group) -> None:
        """Give up the attempt under way, everywhere."""
        if not group.attempt:
            return
        if group.timer is not None:
            group.timer.cancel()
        attempt = ALL if group.state == REMOVED else group.attempt
        for node in dict.fromkeys(group.chosen.values()):
            self.transport.send(node, ReleaseBundles(group.spec.group_id, attempt))
            self.gcs.nodes.debit(node, self._negative(group, node))
        group.attempt = 0
        group.asked = {}
        group.chosen = {}

    def _negative(self, group: Group, node: NodeId) -> dict[str, int]:
        mine = (group.spec.bundles[index] for index, where in group.chosen.items() if where == node)
        return {name: -amount for name, amount in total(mine).items()}

    def on_bundles_reserved(self, sender: Address, message: BundlesReserved) -> None:
        """A node has set its part aside, or could not."""
        group = self.groups.table.get(message.group_id)
        if group is None or group.state == REMOVED:
            if message.granted:
                self.transport.send(sender, ReleaseBundles(message.group_id, ALL))
        elif group.attempt != message.attempt or sender not in group.asked:
            if message.granted and not group.wants(sender, message.attempt):
                self.transport.send(sender, ReleaseBundles(message.group_id, message.attempt))
        elif not message.granted:
            self.abort(group)
            self.clock.call_after(self.config.view_period, self.place_soon)
        else:
            del group.asked[sender]
            if not group.asked:
                self._complete(group)

    def _complete(self, group: Group) -> None:
        if group.timer is not None:
            group.timer.cancel()
        for index, node in group.chosen.items():
            group.nodes[index] = node
            group.attempts[index] = group.attempt
        group.attempt = 0
        group.chosen = {}
        self.waiting.pop(group.spec.group_id, None)
        self._vain = 0
        self.groups.placed(group)

    def end(self, group: Group) -> None:
        """The group has ended: give back all that it has, and what it is reserving."""
        self.waiting.pop(group.spec.group_id, None)
        self.abort(group)
        for node in dict.fromkeys(node for node in group.nodes if node):
            self.transport.send(node, ReleaseBundles(group.spec.group_id, ALL))
            self._credit(group, node)
        self.place_soon()

    def _credit(self, group: Group, node: NodeId) -> None:
        bundles = group.spec.bundles
        freed = total(bundles[index] for index, where in enumerate(group.nodes) if where == node)
        self.gcs.nodes.debit(node, {name: -amount for name, amount in freed.items()})
