"""How placement groups get their bundles: all or nothing, in two phases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

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
    only when every node has agreed the group counts as created (phase two); otherwise all are given back. For the group
    that has waited longest, room is kept.
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
        self._refused = Backoff(gcs.config.view_period, gcs.config.group_retry_limit)
        self._random = gcs.ports.random.stream("group-retry")
        self._vain = 0
        """Retries in a row that have placed nothing."""
        self._since: dict[TaskId, int] = {}
        """When each group was first found without a place, in nanoseconds."""

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
            if group.attempt and not (group.keeps_room and self._better_place(group)):
                continue
            shape = (group.shape, tuple(group.nodes))
            if shape in full:
                continue
            if not self.place(group):
                full[shape] = None
        self._keep_room()
        if self.waiting and self._retry is None:
            self._vain += 1
            self._retry = self.clock.call_after(self._backoff.delay(self._vain, self._random), self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._place_waiting()

    def place(self, group: Group) -> bool:
        """Start a reservation; False if there is no room now."""
        spec = group.spec
        nodes = self._nodes()
        chosen = place_bundles(spec.bundles, spec.strategy, nodes, spec.selectors, group.nodes)
        if chosen is None:
            self._explain(group, nodes)
            return False
        return self._start(group, chosen, keeps_room=False)

    def _nodes(self) -> list[NodeView]:
        return [node for node in self.gcs.nodes.view.alive() if not node.draining]

    def _start(self, group: Group, chosen: dict[int, NodeId], keeps_room: bool) -> bool:
        spec = group.spec
        if not self.gcs.quotas.charge(spec.job_id, spec.group_id, total(spec.bundles)):
            self._tell(group, f"{_name(group)} waits: with it, its job would hold more than its quota")
            return False
        if group.timer is not None:
            group.timer.cancel()
        self._attempts += 1
        group.attempt = self.gcs.incarnations.epoch + self._attempts
        group.chosen = chosen
        group.keeps_room = keeps_room
        by_node: dict[NodeId, list[int]] = {}
        for index in sorted(chosen):
            by_node.setdefault(chosen[index], []).append(index)
        group.asked = dict.fromkeys(by_node)
        group.alone = len(by_node) == 1 and len(chosen) == len(spec.bundles)
        for node, indexes in by_node.items():
            bundles = tuple((index, spec.bundles[index]) for index in indexes)
            if not keeps_room:
                self.gcs.nodes.view.debit(node, total(bundle for _, bundle in bundles))
            reserve = ReserveBundles(spec.group_id, group.attempt, bundles, group.alone, keeps_room, spec.job_id)
            self.transport.send(node, reserve)
        attempt = group.attempt
        if not keeps_room:
            group.timer = self.clock.call_after(self.config.reserve_timeout, lambda: self._timed_out(group, attempt))
        return True

    # --- Room for the one that has waited longest

    def _keep_room(self) -> None:
        """Have nodes keep what comes free for the oldest group: others, and tasks, would take it for ever."""
        if any(group.keeps_room for group in self.waiting.values()):
            return
        now = self.clock.now()
        self._since = {group_id: self._since.get(group_id, now) for group_id in self.waiting}
        full: dict[tuple[object, ...], None] = {}
        for group in list(self.waiting.values()):
            shape = (group.shape, tuple(group.nodes))
            if group.attempt or now - self._since[group.spec.group_id] < self.config.reservation_after or shape in full:
                continue
            full[shape] = None
            spec = group.spec
            nodes = [_when_all_has_come_back(node) for node in self._nodes()]
            chosen = place_bundles(spec.bundles, spec.strategy, nodes, spec.selectors, group.nodes)
            if chosen is not None and self._start(group, chosen, keeps_room=True):
                return

    def _better_place(self, group: Group) -> bool:
        """Whether the group could be placed at once on nodes that keep no room for it; then it gives that up."""
        spec = group.spec
        chosen = place_bundles(spec.bundles, spec.strategy, self._nodes(), spec.selectors, group.nodes)
        if chosen is None or set(chosen.values()) & set(group.chosen.values()):
            return False
        self.abort(group)
        return True

    # --- What comes of it

    def _explain(self, group: Group, nodes: list[NodeView]) -> None:
        spec = group.spec
        never = why_never(spec.bundles, spec.strategy, nodes, spec.selectors)
        name = _name(group)
        if never:
            reason = f"{name} can never be placed on the present nodes: {never}"
        else:
            reason = f"{name} waits until {describe(total(spec.bundles))} is free as {spec.strategy} needs it"
        if never and spec.fail_infeasible:
            self.groups.end(group, reason)
        else:
            self._tell(group, reason)

    def _tell(self, group: Group, reason: str) -> None:
        if group.reason != reason:
            group.reason = reason
            if group.version:
                self.groups.publish(group)

    def _timed_out(self, group: Group, attempt: int) -> None:
        if group.attempt == attempt:
            self._failed(group)

    def _failed(self, group: Group) -> None:
        """A node has not agreed: what it has is other than its last report says, so the next may tell."""
        self.abort(group)
        group.failures += 1
        group.timer = self.clock.call_after(self._refused.delay(group.failures, self._random), self.place_soon)

    def abort(self, group: Group) -> None:
        """Give up the attempt under way, everywhere."""
        if not group.attempt:
            return
        if group.timer is not None:
            group.timer.cancel()
        attempt = ALL if group.state == REMOVED else group.attempt
        for node in dict.fromkeys(group.chosen.values()):
            self.transport.send(node, ReleaseBundles(group.spec.group_id, attempt))
            if not group.keeps_room:
                self._credit(group, node, group.chosen.items())
        if not any(group.nodes):
            self.gcs.quotas.discharge(group.spec.job_id, group.spec.group_id)
        group.keeps_room = False
        group.attempt = 0
        group.asked = {}
        group.chosen = {}

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
            self._failed(group)
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
        group.failures = 0
        group.keeps_room = False
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
            self._credit(group, node, enumerate(group.nodes))
        self.gcs.quotas.discharge(group.spec.job_id, group.spec.group_id)
        self.place_soon()

    def _credit(self, group: Group, node: NodeId, places: Iterable[tuple[int, NodeId]]) -> None:
        """What the group has, or was to have, on a node comes free there. ``places``: its bundles with their nodes."""
        freed = total(group.spec.bundles[index] for index, where in places if where == node)
        self.gcs.nodes.view.credit(node, freed)


def _name(group: Group) -> str:
    return f"placement group {group.spec.name or short(group.spec.group_id)}"


def _when_all_has_come_back(node: NodeView) -> NodeView:
    """The node without its tasks: what actors and bundles hold stays."""
    free = {name: amount - node.lasting.get(name, 0) for name, amount in node.total.items()}
    return msgspec.structs.replace(node, available=free)
