"""Actors: registered, restarted and ended; and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thornback.core.gcs.actor import Actor, decode_spec, encode
from thornback.core.gcs.actor_news import ActorNews
from thornback.core.gcs.actor_placement import ActorPlacement
from thornback.core.gcs.restarts import Restarts
from thornback.core.ids import ActorId, Address, JobId, LeaseId, NodeId, WorkerId, is_node, node_of, owner_of, short
from thornback.core.messages import (
    ALIVE,
    DEAD,
    PENDING,
    RESTARTING,
    ActorCreated,
    ActorExiting,
    ActorOutOfScope,
    ActorRegistered,
    ActorSpec,
    CancelLease,
    CreateActor,
    EndWorker,
    GetNamedActor,
    HeldLease,
    KillActor,
    KillWorker,
    LeaseGranted,
    LeaseLost,
    NamedActor,
    RegisterActor,
    ReturnLease,
    Value,
)

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

ARGUMENT_FAILED = "an argument failed"
KILLED = "it was killed with kill()"
NOT_NEEDED = "the actor is not needed any more"
REFUSALS_KEPT = 1000
"""A request is repeated within seconds, if at all, and not any more by who has had the answer."""


class ActorTable:
    """The life of every actor. At most one incarnation is alive at a time; each has a higher number than the last."""

    name = "actors"
    specs = "actor_specs"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.transport = gcs.ports.transport
        self.trace = gcs.ports.trace
        self.config = gcs.config
        self.table: dict[ActorId, Actor] = {}
        self.names: dict[tuple[str, str], ActorId] = {}
        self.news = ActorNews(self)
        self._by_owner: dict[WorkerId, dict[ActorId, Actor]] = {}
        """Live actors that are not detached, by the process that made them."""
        self.by_group: dict[bytes, dict[ActorId, Actor]] = {}
        """Live actors of each placement group."""
        self.placement = ActorPlacement(gcs, self)
        self._dead_processes: dict[Address, None] = {}
        self.ended: dict[ActorId, None] = {}
        """Actors that are dead for good, as far as they are remembered, oldest first."""
        self.restarts = Restarts(self)
        self._refused: dict[ActorId, ActorRegistered] = {}
        """Answers to those who wanted a name that another actor had, as far as they are remembered, oldest first."""

    # --- Durability

    def load_spec(self, key: bytes, value: bytes) -> None:
        """Take over a committed specification; the row of the same actor follows."""
        self.table[key] = Actor(decode_spec(value))

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row."""
        actor = self.table[key]
        actor.restore(value)
        if actor.state == DEAD:
            self.ended[key] = None
            return
        self._index(actor)
        if actor.lease_id:
            self.placement.by_lease[actor.lease_id] = actor

    def loaded(self) -> None:
        """All rows are here: go on where the last GCS was. It may have ended before it could trace them."""
        for actor_id in self.ended:
            self.news.trace_state(self.table[actor_id])
        for actor in list(self.table.values()):
            if actor.state == DEAD:
                continue
            self.news.trace_registered(actor)
            if not actor.spec.detached:
                self.gcs.nodes.expect(node_of(owner_of(actor.actor_id)))
            if actor.lease_id:
                self.gcs.nodes.expect(actor.lease_node)
            else:
                self.placement.place(actor)

    def save(self, actor: Actor) -> None:
        """Make its present state durable with this turn."""
        self.gcs.journal.write(self.name, actor.actor_id, actor.to_row())

    # --- Registration

    def on_register_actor(self, sender: Address, message: RegisterActor) -> None:
        """Somebody makes an actor. Named ones may exist already."""
        spec = message.spec
        if spec.actor_id in self.table:
            self.transport.send(sender, ActorRegistered(spec.actor_id, b"", b""))
            return
        if message.error is not None:
            actor = self.table[spec.actor_id] = Actor(spec)
            self.gcs.early_ends.take(spec.actor_id)
            self.died(actor, ARGUMENT_FAILED, message.error)
            self.transport.send(sender, ActorRegistered(spec.actor_id, b"", b""))
            return
        refusal = self._refused.get(spec.actor_id) or self._refuse(spec)
        if refusal is not None:
            self.transport.send(sender, refusal)
            return
        actor = self.table[spec.actor_id] = Actor(spec)
        self._index(actor)
        self.news.trace_registered(actor)
        self.news.subscribe(spec.actor_id, sender)
        self.gcs.journal.write(self.specs, spec.actor_id, encode(spec))
        self.save(actor)
        self.transport.send(sender, ActorRegistered(spec.actor_id, b"", b""))
        if self.gcs.early_ends.take(spec.actor_id):
            self.died(actor, KILLED)
        else:
            self.placement.place(actor)

    def _refuse(self, spec: ActorSpec) -> ActorRegistered | None:
        """The answer if another actor has the name. It is given again to who repeats his request, also when the name
        is free by then: he uses the other one."""
        existing = self.table.get(self.names.get((spec.namespace, spec.name), b"")) if spec.name else None
        if existing is None or existing.state == DEAD:
            return None
        answer = self._refused[spec.actor_id] = ActorRegistered(spec.actor_id, existing.actor_id, existing.spec.handle)
        if len(self._refused) > REFUSALS_KEPT:
            del self._refused[next(iter(self._refused))]
        return answer

    def _index(self, actor: Actor) -> None:
        spec = actor.spec
        if spec.name:
            self.names[(spec.namespace, spec.name)] = spec.actor_id
        if not spec.detached:
            self._by_owner.setdefault(owner_of(spec.actor_id), {})[spec.actor_id] = actor
        if spec.strategy.group:
            self.by_group.setdefault(spec.strategy.group, {})[spec.actor_id] = actor

    def on_get_named_actor(self, sender: Address, message: GetNamedActor) -> None:
        """Who has that name?"""
        actor = self.table.get(self.names.get((message.namespace, message.name), b""))
        if actor is None or actor.state == DEAD:
            self.transport.send(sender, NamedActor(message.request, b"", b""))
        else:
            self.transport.send(sender, NamedActor(message.request, actor.actor_id, actor.spec.handle))

    # --- Incarnations

    def on_lease_granted(self, sender: Address, message: LeaseGranted) -> None:
        """A node has a worker for an actor."""
        actor = self.placement.by_lease.get(message.lease_id)
        if actor is None or actor.state not in (PENDING, RESTARTING):
            if actor is None or actor.worker_id != message.worker_id:
                self.transport.send(sender, ReturnLease(message.lease_id, True, NOT_NEEDED))
            return
        if actor.worker_id == message.worker_id:
            return
        actor.worker_id = message.worker_id
        actor.lease_node = sender
        actor.gpu_ids = message.gpu_ids
        actor.incarnation += 1
        self.save(actor)
        self._create(actor)

    def _create(self, actor: Actor) -> None:
        checkpoint = self.gcs.checkpoints.table.get(actor.actor_id)
        self.transport.send(actor.worker_id, CreateActor(actor.spec, actor.incarnation, actor.gpu_ids, checkpoint))

    def on_actor_created(self, sender: Address, message: ActorCreated) -> None:
        """The constructor has returned or raised."""
        actor = self.table.get(message.actor_id)
        if actor is None or actor.worker_id != sender or actor.incarnation != message.incarnation:
            self.transport.send(node_of(sender), KillWorker(sender, "it is not the actor's present incarnation"))
        elif actor.state == ALIVE:
            return
        elif message.error is not None:
            self.died(actor, "its constructor raised an exception", message.error)
        else:
            actor.state = ALIVE
            actor.alive_since = self.gcs.ports.clock.now()
            actor.reason = ""
            self.publish(actor)
            if actor.ending:
                self.transport.send(actor.worker_id, EndWorker(actor.ending))
            elif actor.lease_node in self.gcs.drains.leaving:
                self.restarts.move(actor)

    def on_lease_lost(self, sender: Address, message: LeaseLost) -> None:
        """The worker of an actor has ended."""
        actor = self.placement.by_lease.get(message.lease_id)
        if actor is not None:
            self._incarnation_ended(actor, message.reason)

    def _incarnation_ended(self, actor: Actor, reason: str) -> None:
        self.drop_lease(actor)
        if actor.state == DEAD:
            return
        if actor.ending:
            self.died(actor, actor.ending)
        elif self.restarts.may(actor):
            self.restarts.restart(actor, reason)
        else:
            limit = f"; it was restarted {actor.restarts} times, its max_restarts" if actor.restarts else ""
            self.died(actor, f"{reason}{limit}")

    def drop_lease(self, actor: Actor) -> None:
        """It has no place any more."""
        self.placement.by_lease.pop(actor.lease_id, None)
        actor.lease_id = b""
        actor.worker_id = b""
        actor.gpu_ids = ()
        actor.unconfirmed = False

    # --- Ends

    def died(self, actor: Actor, reason: str, error: Value | None = None) -> None:
        """It is dead for good. A worker that it still has is ended."""
        spec = actor.spec
        actor.state = DEAD
        actor.reason = reason
        actor.error = error
        self.placement.forget(actor)
        owner = owner_of(spec.actor_id)
        self._by_owner.get(owner, {}).pop(spec.actor_id, None)
        if not self._by_owner.get(owner, True):
            del self._by_owner[owner]
        self.by_group.get(spec.strategy.group, {}).pop(spec.actor_id, None)
        if not self.by_group.get(spec.strategy.group, True):
            del self.by_group[spec.strategy.group]
        if actor.worker_id:
            self.transport.send(node_of(actor.worker_id), KillWorker(actor.worker_id, f"its actor has ended: {reason}"))
        elif actor.lease_id:
            self.transport.send(actor.lease_node, CancelLease(actor.lease_id))
        self.drop_lease(actor)
        if self.names.get((spec.namespace, spec.name)) == spec.actor_id:
            del self.names[(spec.namespace, spec.name)]
        self.publish(actor)
        self.news.drop(spec.actor_id)
        actor.slim()
        self.gcs.journal.write(self.specs, spec.actor_id, encode(actor.spec))
        self.ended[spec.actor_id] = None
        if len(self.ended) > self.config.dead_actors:
            self._forget(next(iter(self.ended)))
        self.gcs.groups.actor_died(spec.actor_id)
        if spec.checkpoint_every:
            self.gcs.checkpoints.actor_died(spec.actor_id)

    def publish(self, actor: Actor, moved: bool = False) -> None:
        """Its state has changed: make that durable, and tell who wants to know.

        Args:
            moved: the last incarnation has answered all that it has started.
        """
        self.save(actor)
        self.news.trace_state(actor)
        self.news.tell(actor, moved)

    def cannot_save(self, actor: Actor, error: Value | None) -> None:
        """It was to save its state and could not: nothing that it does from now on could be recovered."""
        self.died(actor, "its checkpoint could not be saved", error)

    def _forget(self, actor_id: ActorId) -> None:
        del self.ended[actor_id]
        self.table.pop(actor_id, None)
        self.gcs.journal.write(self.name, actor_id, None)
        self.gcs.journal.write(self.specs, actor_id, None)

    def on_actor_exiting(self, sender: Address, message: ActorExiting) -> None:
        """The actor ends itself."""
        actor = self.table.get(message.actor_id)
        if actor is not None and actor.incarnation == message.incarnation and actor.state != DEAD:
            actor.ending = message.reason
            actor.worker_id = b""
            self.died(actor, message.reason)

    def on_kill_actor(self, sender: Address, message: KillActor) -> None:
        """Somebody wants it to end now."""
        actor = self.table.get(message.actor_id)
        if actor is None and message.no_restart:
            self.gcs.early_ends.note(message.actor_id)
        if actor is None or actor.state == DEAD:
            return
        if message.no_restart:
            self.died(actor, KILLED)
        elif actor.worker_id and message.incarnation == actor.incarnation:
            actor.kill_wanted = actor.incarnation
            self.save(actor)
            self._kill_worker(actor)

    def _kill_worker(self, actor: Actor) -> None:
        self.transport.send(node_of(actor.worker_id), KillWorker(actor.worker_id, "kill() with no_restart=False"))

    def on_actor_out_of_scope(self, sender: Address, message: ActorOutOfScope) -> None:
        """Its last handle is gone: it ends after what it was asked to do."""
        actor = self.table.get(message.actor_id)
        if actor is None or actor.state == DEAD or actor.ending:
            return
        actor.ending = "its last handle is gone"
        if actor.state == ALIVE:
            self.save(actor)
            self.transport.send(actor.worker_id, EndWorker(actor.ending))
        elif actor.worker_id:
            self.save(actor)
        else:
            self.died(actor, actor.ending)

    # --- Processes, nodes and jobs that end, and nodes that come back

    def process_died(self, address: Address, reason: str) -> None:
        """A process or node has ended: the actors it owned end, those that ran on a dead node are restarted."""
        self._dead_processes[address] = None
        if len(self._dead_processes) > self.config.dead_actors:
            del self._dead_processes[next(iter(self._dead_processes))]
        self.news.process_died(address, reason)
        owners = [owner for owner in self._by_owner if owner.startswith(address)] if is_node(address) else [address]
        for owner in owners:
            for actor in list(self._by_owner.get(owner, {}).values()):
                self.died(actor, f"its owner {short(owner)} has ended: {reason}")
        if is_node(address):
            for actor in list(self.table.values()):
                if actor.lease_id and actor.lease_node == address and actor.state != DEAD:
                    self.lease_gone(actor, reason)

    def lease_gone(self, actor: Actor, reason: str) -> None:
        """The node does not hold its lease any more: without a worker it is only placed again."""
        if actor.worker_id:
            self._incarnation_ended(actor, reason)
        else:
            self.drop_lease(actor)
            self.placement.place(actor)

    def leases_held(self, node: NodeId, leases: tuple[HeldLease, ...]) -> None:
        """A node that knew an earlier GCS says what it holds for actors: agree with it."""
        held: dict[LeaseId, HeldLease] = {lease.lease_id: lease for lease in leases}
        for lease in leases:
            actor = self.placement.by_lease.get(lease.lease_id)
            if actor is None or actor.lease_node != node:
                what = ReturnLease(lease.lease_id, True, NOT_NEEDED) if lease.worker_id else CancelLease(lease.lease_id)
                self.transport.send(node, what)
        for actor in list(self.placement.by_lease.values()):
            if actor.lease_node != node or not actor.unconfirmed:
                continue
            actor.unconfirmed = False
            if actor.lease_id not in held:
                self.lease_gone(actor, "its worker has ended while the GCS was away")
            elif actor.worker_id:
                self._repeat(actor)

    def _repeat(self, actor: Actor) -> None:
        """Say again what the worker may not have heard from the last GCS."""
        if actor.kill_wanted == actor.incarnation:
            self._kill_worker(actor)
        elif actor.state != ALIVE:
            self._create(actor)
        elif actor.ending:
            self.transport.send(actor.worker_id, EndWorker(actor.ending))

    def job_ended(self, job_id: JobId, reason: str) -> None:
        """End the job's actors, except detached ones."""
        for actor in list(self.table.values()):
            if actor.spec.job_id == job_id and not actor.spec.detached and actor.state != DEAD:
                self.died(actor, reason)

    def group_removed(self, group_id: bytes, reason: str) -> None:
        """A placement group has ended, and with it the actors in it."""
        for actor in list(self.by_group.get(group_id, {}).values()):
            self.placement.group_removed(actor, reason)

    def is_over(self, actor_id: ActorId) -> bool:
        """Whether the actor has ended for good; one that nobody remembers has."""
        actor = self.table.get(actor_id)
        return actor is None or actor.state == DEAD

    def is_dead(self, address: Address) -> bool:
        """Whether this process, or its node, is known to have ended."""
        return address in self._dead_processes or node_of(address) in self._dead_processes

    # --- For people

    def rows(self) -> list[dict[str, Any]]:
        """One per actor."""
        return [
            {
                "actor_id": actor.actor_id.hex(),
                "class_name": actor.spec.definition.name,
                "state": actor.state,
                "name": actor.spec.name,
                "namespace": actor.spec.namespace,
                "job_id": actor.spec.job_id,
                "node_id": node_of(actor.worker_id).hex(),
                "worker_id": actor.worker_id.hex(),
                "restarts": actor.restarts,
                "reason": actor.reason,
            }
            for actor in self.table.values()
        ]

    def named_rows(self) -> list[dict[str, Any]]:
        """Live actors with a name."""
        return [
            {"name": name, "namespace": namespace, "actor_id": actor_id.hex()}
            for (namespace, name), actor_id in self.names.items()
        ]
