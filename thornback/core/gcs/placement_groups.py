"""Placement groups: placed all or nothing, kept placed when nodes die, and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from thornback.core.backoff import Backoff
from thornback.core.ids import ActorId, Address, JobId, NodeId, TaskId, owner_of, short
from thornback.core.messages import (
    BundlesHeld,
    BundlesReserved,
    CommitBundles,
    CreateGroup,
    FindGroup,
    GroupFound,
    GroupSpec,
    GroupUpdate,
    NodeView,
    ReleaseBundles,
    RemoveGroup,
    ReserveBundles,
    SubscribeGroup,
)
from thornback.core.ports import Timer, Write
from thornback.core.resources import describe, from_units, total
from thornback.core.scheduling.packing import place_bundles, why_never

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

PENDING = "PENDING"
CREATED = "CREATED"
RESCHEDULING = "RESCHEDULING"
REMOVED = "REMOVED"

ALL = -1
"""Attempt of a release that means every bundle, for good."""

encode = msgspec.msgpack.Encoder().encode
_decode_spec = msgspec.msgpack.Decoder(tuple[GroupSpec, list[bytes]]).decode


class Group:
    """One placement group.

    Attributes:
        nodes: where each bundle is, empty for none.
        attempt: number of the reservation under way, 0 for none.
        asked: nodes of that attempt that have not answered.
        chosen: where that attempt puts the bundles that have no place.
    """

    __slots__ = (
        "alone",
        "asked",
        "attempt",
        "chosen",
        "nodes",
        "reason",
        "spec",
        "state",
        "subscribers",
        "timer",
        "version",
    )

    def __init__(self, spec: GroupSpec) -> None:
        self.spec = spec
        self.state = PENDING
        self.nodes: list[NodeId] = [b""] * len(spec.bundles)
        self.attempt = 0
        self.alone = False
        """The attempt puts all bundles on one node, which needs no second phase."""
        self.asked: dict[NodeId, None] = {}
        self.chosen: dict[int, NodeId] = {}
        self.reason = ""
        self.version = 0
        self.subscribers: dict[Address, None] = {}
        self.timer: Timer | None = None


class GroupTable:
    """All placement groups of the cluster.

    A group is either without any place, or wholly placed: bundles are first set aside on all nodes (phase one), and
    only when every node has agreed the group counts as created (phase two); otherwise all are given back.
    """

    name = "placement_groups"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.clock = gcs.ports.clock
        self.transport = gcs.ports.transport
        self.trace = gcs.ports.trace
        self.config = gcs.config
        self.table: dict[TaskId, Group] = {}
        self.names: dict[tuple[str, str], TaskId] = {}
        self.waiting: dict[TaskId, Group] = {}
        """Groups with bundles that have no place, oldest first."""
        self._removed: dict[TaskId, None] = {}
        self._of_actor: dict[ActorId, dict[TaskId, Group]] = {}
        self._early: dict[TaskId, dict[Address, None]] = {}
        self._attempts = 0
        self._soon = False
        self._retry: Timer | None = None
        self._backoff = Backoff(gcs.config.group_retry, gcs.config.group_retry_limit)
        self._random = gcs.ports.random.stream("group-retry")
        self._vain = 0
        """Retries in a row that have placed nothing."""

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row; nodes that do not come back lose their bundles in :meth:`node_died`."""
        spec, nodes = _decode_spec(value)
        group = self.table[spec.group_id] = Group(spec)
        if spec.name:
            self.names[(spec.namespace, spec.name)] = spec.group_id
        group.nodes = list(nodes)
        if all(nodes):
            group.state = CREATED
        else:
            self.waiting[spec.group_id] = group
            group.nodes = [b""] * len(spec.bundles)
        self._attempts = self.clock.now()

    # --- Life

    def on_create_group(self, sender: Address, message: CreateGroup) -> None:
        """Somebody makes a group."""
        spec = message.spec
        known = self.table.get(spec.group_id)
        if known is not None:
            self.transport.send(sender, self._update_of(known))
            return
        group = self.table[spec.group_id] = Group(spec)
        group.subscribers = {sender: None, **self._early.pop(spec.group_id, {})}
        taken = self.table.get(self.names.get((spec.namespace, spec.name), b"")) if spec.name else None
        if taken is not None:
            self._end(
                group, f"the name {spec.name!r} is taken by a live placement group in namespace {spec.namespace!r}"
            )
            return
        if spec.name:
            self.names[(spec.namespace, spec.name)] = spec.group_id
        if self.trace.enabled:
            self.trace.event("group.registered", spec.group_id, (spec.namespace, spec.name))
        self.waiting[spec.group_id] = group
        self._place(group)
        if spec.actor_id:
            self._of_actor.setdefault(spec.actor_id, {})[spec.group_id] = group
        if not group.attempt and group.state == PENDING:
            self._save(group)
            self._publish(group)

    def on_remove_group(self, sender: Address, message: RemoveGroup) -> None:
        """Somebody ends a group."""
        group = self.table.get(message.group_id)
        if group is not None:
            self._end(group, "it was removed with remove_placement_group()")

    def _end(self, group: Group, reason: str) -> None:
        if group.state == REMOVED:
            return
        spec = group.spec
        group.state = REMOVED
        group.reason = reason
        self.waiting.pop(spec.group_id, None)
        if self.names.get((spec.namespace, spec.name)) == spec.group_id:
            del self.names[(spec.namespace, spec.name)]
        self._abort(group)
        for node in dict.fromkeys(node for node in group.nodes if node):
            self.transport.send(node, ReleaseBundles(spec.group_id, ALL))
            self._credit(group, node)
        group.nodes = [b""] * len(spec.bundles)
        self._publish(group)
        self.gcs.actors.group_removed(spec.group_id, reason)
        self.gcs.store.commit([Write(self.name, spec.group_id, None)], _nothing)
        self._removed[spec.group_id] = None
        if len(self._removed) > self.config.removed_groups:
            oldest = next(iter(self._removed))
            del self._removed[oldest]
            self.table.pop(oldest, None)
        mine = self._of_actor.get(spec.actor_id)
        if mine is not None:
            mine.pop(spec.group_id, None)
        self._place_soon()

    def _credit(self, group: Group, node: NodeId) -> None:
        bundles = group.spec.bundles
        freed = total(bundles[index] for index, where in enumerate(group.nodes) if where == node)
        self.gcs.nodes.debit(node, {name: -amount for name, amount in freed.items()})

    def job_ended(self, job_id: JobId) -> None:
        """End the job's groups, except detached ones and those of actors."""
        for group in list(self.table.values()):
            spec = group.spec
            if spec.job_id == job_id and not spec.detached and not spec.actor_id:
                self._end(group, "its job has ended")

    def actor_died(self, actor_id: ActorId) -> None:
        """End the groups that the actor made, except detached ones."""
        for group in self._of_actor.pop(actor_id, {}).values():
            if not group.spec.detached:
                self._end(group, "the actor that made it has ended")

    # --- Placing

    def view_changed(self) -> None:
        """Nodes or resources have come: groups that wait may fit now."""
        if self.waiting:
            self._place_soon()

    def _place_soon(self) -> None:
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
            if not self._place(group):
                full[shape] = None
        if self.waiting and self._retry is None:
            self._vain += 1
            self._retry = self.clock.call_after(self._backoff.delay(self._vain, self._random), self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._place_waiting()

    def _place(self, group: Group) -> bool:
        """Start a reservation; False if there is no room now."""
        spec = group.spec
        nodes = [node for node in self.gcs.nodes.view.alive() if not node.draining]
        chosen = place_bundles(spec.bundles, spec.strategy, nodes, spec.selectors, group.nodes)
        if chosen is None:
            self._explain(group, nodes)
            return False
        self._attempts += 1
        group.attempt = self._attempts
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
            self._end(group, reason)
        elif group.reason != reason:
            group.reason = reason
            if group.version:
                self._publish(group)

    def _timed_out(self, group: Group, attempt: int) -> None:
        if group.attempt == attempt:
            self._abort(group)
            self._place_soon()

    def _abort(self, group: Group) -> None:
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
        group = self.table.get(message.group_id)
        if group is None or group.attempt != message.attempt or sender not in group.asked:
            if message.granted and (group is None or group.attempt != message.attempt):
                self._refuse(sender, group, message)
            return
        if not message.granted:
            self._abort(group)
            self.clock.call_after(self.config.view_period, self._place_soon)
            return
        del group.asked[sender]
        if not group.asked:
            self._complete(group)

    def _refuse(self, sender: Address, group: Group | None, message: BundlesReserved) -> None:
        if group is None or group.state == REMOVED:
            self.transport.send(sender, ReleaseBundles(message.group_id, ALL))
        elif sender not in group.nodes:
            self.transport.send(sender, ReleaseBundles(message.group_id, message.attempt))

    def _complete(self, group: Group) -> None:
        spec = group.spec
        if group.timer is not None:
            group.timer.cancel()
        group.attempt = 0
        for index, node in group.chosen.items():
            group.nodes[index] = node
        group.chosen = {}
        self.waiting.pop(spec.group_id, None)
        self._vain = 0
        group.state = CREATED
        group.reason = ""
        self._save(group)

    def _save(self, group: Group) -> None:
        """Make the group's place durable, then let it be used."""
        spec = group.spec
        nodes = tuple(group.nodes)

        def durable() -> None:
            if group.state != CREATED or tuple(group.nodes) != nodes:
                return
            for node in () if group.alone else dict.fromkeys(nodes):
                self.transport.send(node, CommitBundles(spec.group_id, nodes))
            if self.trace.enabled:
                self.trace.event("group.created", spec.group_id, (spec.strategy, spec.bundles, nodes))
            self._publish(group)
            self.gcs.actors.view_changed()

        self.gcs.store.commit([Write(self.name, spec.group_id, encode((spec, list(nodes))))], durable)

    # --- Nodes that die or come back

    def process_died(self, address: Address) -> None:
        """A node has died: its bundles need another place. A process has died: it needs no news."""
        for group in list(self.table.values()):
            for subscriber in [each for each in group.subscribers if each.startswith(address)]:
                del group.subscribers[subscriber]
            if group.state == REMOVED:
                continue
            if address in group.chosen.values():
                self._abort(group)
            if address in group.nodes:
                group.nodes = [b"" if node == address else node for node in group.nodes]
                group.state = RESCHEDULING
                group.reason = f"node {short(address)} has died with some of its bundles"
                self.waiting[group.spec.group_id] = group
                self._publish(group)
        for group_id in [group_id for group_id in self._early if owner_of(group_id).startswith(address)]:
            for subscriber in self._early.pop(group_id):
                self._tell_gone(subscriber, group_id)
        self._place_soon()

    def on_bundles_held(self, sender: Address, message: BundlesHeld) -> None:
        """A node tells this GCS, which may be new, what it has set aside: what no group wants is given back."""
        for group_id, indexes in message.groups:
            group = self.table.get(group_id)
            if group is None or group.state == REMOVED:
                self.transport.send(sender, ReleaseBundles(group_id, ALL))
            elif not group.attempt and any(group.nodes[index] != sender for index in indexes):
                group.nodes = [b"" if node == sender else node for node in group.nodes]
                self.waiting[group_id] = group
                self.transport.send(sender, ReleaseBundles(group_id, self._attempts))
            elif group.state == CREATED:
                self.transport.send(sender, CommitBundles(group_id, tuple(group.nodes)))

    # --- News

    def on_subscribe_group(self, sender: Address, message: SubscribeGroup) -> None:
        """A process wants to know where the group is, from now on."""
        group = self.table.get(message.group_id)
        if group is not None:
            group.subscribers[sender] = None
            self.transport.send(sender, self._update_of(group))
        elif self.gcs.actors._is_dead(owner_of(message.group_id)):
            self._tell_gone(sender, message.group_id)
        else:
            self._early.setdefault(message.group_id, {})[sender] = None

    def _tell_gone(self, subscriber: Address, group_id: TaskId) -> None:
        self.transport.send(subscriber, GroupUpdate(group_id, 1 << 62, REMOVED, (), (), "it has ended"))

    def on_find_group(self, sender: Address, message: FindGroup) -> None:
        """Which group has that name?"""
        group = self.table.get(self.names.get((message.namespace, message.name), b""))
        if group is None:
            names = tuple(name for namespace, name in self.names if namespace == message.namespace)[:20]
            self.transport.send(sender, GroupFound(message.request, b"", (), names))
        else:
            self.transport.send(sender, GroupFound(message.request, group.spec.group_id, group.spec.bundles))

    def _update_of(self, group: Group) -> GroupUpdate:
        spec = group.spec
        return GroupUpdate(spec.group_id, group.version, group.state, spec.bundles, tuple(group.nodes), group.reason)

    def _publish(self, group: Group) -> None:
        group.version += 1
        if self.trace.enabled:
            self.trace.event("group.state", group.spec.group_id, (group.state, tuple(group.nodes)))
        update = self._update_of(group)
        for subscriber in group.subscribers:
            self.transport.send(subscriber, update)

    def rows(self) -> list[dict[str, Any]]:
        """For people."""
        return [
            {
                "placement_group_id": group.spec.group_id.hex(),
                "name": group.spec.name,
                "namespace": group.spec.namespace,
                "strategy": group.spec.strategy,
                "state": group.state,
                "bundles": [from_units(bundle) for bundle in group.spec.bundles],
                "nodes": [node.hex() for node in group.nodes],
                "job_id": group.spec.job_id,
                "is_detached": group.spec.detached,
                "reason": group.reason,
            }
            for group in self.table.values()
        ]


def _nothing() -> None:
    pass
