"""Placement groups: made, kept placed when nodes die, and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thornback.core.gcs.group import CREATED, PENDING, REMOVED, RESCHEDULING, Group
from thornback.core.gcs.reservations import ALL, Reservations
from thornback.core.ids import ActorId, Address, JobId, NodeId, TaskId, is_node, owner_of, short
from thornback.core.messages import (
    CommitBundles,
    CreateGroup,
    FindGroup,
    GroupFound,
    GroupUpdate,
    HeldBundles,
    ReleaseBundles,
    RemoveGroup,
    SubscribeGroup,
)
from thornback.core.resources import from_units
from thornback.core.subscribers import Subscribers

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

WISHED = "it was removed with remove_placement_group()"


class GroupTable:
    """All placement groups of the cluster, by id and by name."""

    name = "placement_groups"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.transport = gcs.ports.transport
        self.trace = gcs.ports.trace
        self.config = gcs.config
        self.table: dict[TaskId, Group] = {}
        self.names: dict[tuple[str, str], TaskId] = {}
        self.reservations = Reservations(gcs, self)
        self.subscribers = Subscribers()
        self._removed: dict[TaskId, None] = {}
        self._of_actor: dict[ActorId, dict[TaskId, Group]] = {}

    # --- Durability

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row."""
        group = self.table[key] = Group.from_row(value)
        if group.state == REMOVED:
            self._removed[key] = None
            return
        self._index(group)
        if group.state != CREATED:
            self.reservations.waiting[key] = group

    def loaded(self) -> None:
        """All rows are here: nodes that do not come back are missed, and lose their bundles."""
        for group in self.table.values():
            if group.state == REMOVED:
                self._trace_state(group)
        for group in self.table.values():
            if group.state != REMOVED:
                self._trace_registered(group)
            for node in group.nodes:
                if node:
                    self.gcs.nodes.expect(node)
        self.reservations.place_soon()

    def _save(self, group: Group) -> None:
        self.gcs.journal.write(self.name, group.spec.group_id, group.to_row())

    # --- Life

    def on_create_group(self, sender: Address, message: CreateGroup) -> None:
        """Somebody makes a group."""
        spec = message.spec
        known = self.table.get(spec.group_id)
        if known is not None:
            self.transport.send(sender, known.update())
            return
        group = self.table[spec.group_id] = Group(spec)
        self.subscribers.add(spec.group_id, sender)
        taken = self.table.get(self.names.get((spec.namespace, spec.name), b"")) if spec.name else None
        if taken is not None:
            self.end(
                group, f"the name {spec.name!r} is taken by a live placement group in namespace {spec.namespace!r}"
            )
            return
        gone = WISHED if self.gcs.early_ends.take(spec.group_id) else self._maker_gone(group)
        if gone:
            self.end(group, gone)
            return
        self._index(group)
        self._trace_registered(group)
        self.reservations.waiting[spec.group_id] = group
        self.reservations.place(group)
        if not group.attempt and group.state == PENDING:
            self.publish(group)
        else:
            self._save(group)

    def _maker_gone(self, group: Group) -> str:
        """Why a group that is only now heard of has ended already; "" if it has not."""
        spec = group.spec
        if spec.detached:
            return ""
        if not spec.actor_id:
            return "its job has ended" if self.gcs.jobs.has_ended(spec.job_id) else ""
        return "the actor that made it has ended" if self.gcs.actors.is_over(spec.actor_id) else ""

    def _trace_registered(self, group: Group) -> None:
        if self.trace.enabled:
            self.trace.event("group.registered", group.spec.group_id, (group.spec.namespace, group.spec.name))

    def _index(self, group: Group) -> None:
        spec = group.spec
        if spec.name:
            self.names[(spec.namespace, spec.name)] = spec.group_id
        if spec.actor_id:
            self._of_actor.setdefault(spec.actor_id, {})[spec.group_id] = group

    def placed(self, group: Group) -> None:
        """All its bundles are set aside: it may be used, as soon as that is durable."""
        group.state = CREATED
        group.reason = ""
        nodes = tuple(group.nodes)
        for node in () if group.alone else dict.fromkeys(nodes):
            self.transport.send(node, CommitBundles(group.spec.group_id, nodes))
        if self.trace.enabled:
            self.trace.event("group.created", group.spec.group_id, (group.spec.strategy, group.spec.bundles, nodes))
        self.publish(group)
        self.gcs.actors.placement.view_changed()

    def on_remove_group(self, sender: Address, message: RemoveGroup) -> None:
        """Somebody ends a group."""
        group = self.table.get(message.group_id)
        if group is None:
            self.gcs.early_ends.note(message.group_id)
        else:
            self.end(group, WISHED)

    def end(self, group: Group, reason: str) -> None:
        """It gives back what it has, and never gets anything again."""
        if group.state == REMOVED:
            return
        spec = group.spec
        group.state = REMOVED
        group.reason = reason
        if self.names.get((spec.namespace, spec.name)) == spec.group_id:
            del self.names[(spec.namespace, spec.name)]
        self.reservations.end(group)
        group.nodes = [b""] * len(spec.bundles)
        self.publish(group)
        self.subscribers.drop_subject(spec.group_id)
        self.gcs.actors.group_removed(spec.group_id, reason)
        self._removed[spec.group_id] = None
        if len(self._removed) > self.config.removed_groups:
            self._forget(next(iter(self._removed)))
        self._of_actor.get(spec.actor_id, {}).pop(spec.group_id, None)
        if not self._of_actor.get(spec.actor_id, True):
            del self._of_actor[spec.actor_id]

    def _forget(self, group_id: TaskId) -> None:
        del self._removed[group_id]
        self.table.pop(group_id, None)
        self.gcs.journal.write(self.name, group_id, None)

    def job_ended(self, job_id: JobId) -> None:
        """End the job's groups, except detached ones and those of actors."""
        for group in list(self.table.values()):
            spec = group.spec
            if spec.job_id == job_id and not spec.detached and not spec.actor_id:
                self.end(group, "its job has ended")

    def actor_died(self, actor_id: ActorId) -> None:
        """End the groups that the actor made, except detached ones."""
        for group in self._of_actor.pop(actor_id, {}).values():
            if not group.spec.detached:
                self.end(group, "the actor that made it has ended")

    # --- Nodes that die or come back

    def process_died(self, address: Address) -> None:
        """A node has died: its bundles need another place. A process has died: it needs no news."""
        self.subscribers.process_died(address)
        if is_node(address):
            self.node_leaves(address, f"node {short(address)} has died with some of its bundles")
        for group_id in self.subscribers.subjects_owned_by(address):
            if group_id not in self.table:
                self.never_comes(group_id)

    def never_comes(self, group_id: TaskId) -> None:
        """It is not in the tables, and will not be: whoever waits for it learns that."""
        for subscriber in self.subscribers.of(group_id):
            self._tell_gone(subscriber, group_id)
        self.subscribers.drop_subject(group_id)

    def node_leaves(self, node: NodeId, reason: str) -> None:
        """A node leaves: its bundles get another place; what runs in them now may end."""
        for group in list(self.table.values()):
            if group.state != REMOVED:
                self._reschedule(group, node, reason)
        self.reservations.place_soon()

    def _reschedule(self, group: Group, node: NodeId, reason: str) -> None:
        if node in group.chosen.values():
            self.reservations.abort(group)
        if node in group.nodes:
            self._lost(group, node, reason)

    def _lost(self, group: Group, node: NodeId, reason: str) -> None:
        group.nodes = [b"" if where == node else where for where in group.nodes]
        group.state = RESCHEDULING
        group.reason = reason
        self.reservations.waiting[group.spec.group_id] = group
        self.publish(group)

    def bundles_held(self, node: NodeId, groups: tuple[HeldBundles, ...]) -> None:
        """A node that knew an earlier GCS says what it has set aside: agree with it."""
        kept: dict[TaskId, None] = {}
        for held in groups:
            group = self.table.get(held.group_id)
            if group is None or group.state == REMOVED:
                self.transport.send(node, ReleaseBundles(held.group_id, ALL))
                continue
            for attempt in dict.fromkeys(held.attempts):
                if group.wants(node, attempt):
                    kept[held.group_id] = None
                else:
                    self.transport.send(node, ReleaseBundles(held.group_id, attempt))
            if group.state == CREATED:
                self.transport.send(node, CommitBundles(held.group_id, tuple(group.nodes)))
        for group in list(self.table.values()):
            if node in group.nodes and group.spec.group_id not in kept:
                self._lost(group, node, f"node {short(node)} does not hold its bundles any more")

    # --- News

    def on_subscribe_group(self, sender: Address, message: SubscribeGroup) -> None:
        """A process wants to know where the group is, from now on."""
        group = self.table.get(message.group_id)
        if group is not None:
            if group.state != REMOVED:
                self.subscribers.add(message.group_id, sender)
            self.transport.send(sender, group.update())
        elif message.owner_died or self.gcs.actors.is_dead(owner_of(message.group_id)):
            self._tell_gone(sender, message.group_id)
        else:
            self.subscribers.add(message.group_id, sender)
            self.gcs.makers.ask(message.group_id)

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

    def publish(self, group: Group) -> None:
        """Its state has changed: make that durable, and tell those who want to know."""
        group.version += 1
        self._save(group)
        self._trace_state(group)
        update = group.update()
        for subscriber in self.subscribers.of(group.spec.group_id):
            self.transport.send(subscriber, update)

    def _trace_state(self, group: Group) -> None:
        if self.trace.enabled:
            self.trace.event("group.state", group.spec.group_id, (group.state, tuple(group.nodes)))

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
