"""Actors: registered, placed, restarted and ended; and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from thornback.core import errors
from thornback.core.backoff import Backoff
from thornback.core.ids import (
    GCS,
    WORKER_ID_SIZE,
    ActorId,
    Address,
    JobId,
    LeaseId,
    NodeId,
    node_of,
    owner_of,
    short,
    task_id,
)
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
    ActorUpdate,
    CancelLease,
    CreateActor,
    EndWorker,
    GetNamedActor,
    KillActor,
    KillWorker,
    LeaseGranted,
    LeaseInfeasible,
    LeaseLost,
    LeaseSpilled,
    NamedActor,
    RegisterActor,
    RequestLease,
    ReturnLease,
    SubscribeActor,
    Value,
)
from thornback.core.ports import Write
from thornback.core.resources import describe, fits
from thornback.core.scheduling.policies import allowed, is_feasible, place, why_infeasible
from thornback.core.serialization import error_value

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

encode = msgspec.msgpack.Encoder().encode


class Actor:
    """One actor, through all its incarnations."""

    __slots__ = (
        "alive_since",
        "ending",
        "error",
        "failures",
        "incarnation",
        "lease_id",
        "lease_node",
        "reason",
        "restarts",
        "spec",
        "state",
        "subscribers",
        "worker_id",
    )

    def __init__(self, spec: ActorSpec) -> None:
        self.spec = spec
        self.state = PENDING
        self.incarnation = 0
        self.restarts = 0
        self.alive_since = 0
        self.failures = 0
        """Incarnations in a row that ended soon."""
        self.lease_id: LeaseId = b""
        self.lease_node: NodeId = b""
        self.worker_id: bytes = b""
        self.reason = ""
        self.error: Value | None = None
        self.ending = ""
        """Set: it ends when it has done what it was asked, and is not restarted."""
        self.subscribers: dict[Address, None] = {}


class ActorTable:
    """The life of every actor. At most one incarnation is alive at a time; each has a higher number than the last."""

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.transport = gcs.ports.transport
        self.trace = gcs.ports.trace
        self.config = gcs.config
        self.random = gcs.ports.random.stream("actor-placement")
        self._backoff = Backoff(gcs.config.retry_backoff, gcs.config.retry_backoff_limit)
        self._jitter = gcs.ports.random.stream("actor-restart")
        self.table: dict[ActorId, Actor] = {}
        self.names: dict[tuple[str, str], ActorId] = {}
        self.by_lease: dict[LeaseId, Actor] = {}
        self.unplaced: dict[ActorId, Actor] = {}
        self.by_group: dict[bytes, dict[ActorId, Actor]] = {}
        """Live actors of each placement group."""
        self._early: dict[ActorId, dict[Address, None]] = {}
        """Subscribers to actors that are not registered yet."""
        self._dead_processes: dict[Address, None] = {}
        self.ended: dict[ActorId, None] = {}
        """Actors that are dead for good, as far as they are remembered."""
        self._leases = 0

    # --- Registration

    def on_register_actor(self, sender: Address, message: RegisterActor) -> None:
        """Somebody makes an actor. Named ones may exist already."""
        spec = message.spec
        if spec.actor_id in self.table or self._is_dead(sender):
            return
        key = (spec.namespace, spec.name)
        existing = self.table.get(self.names.get(key, b"")) if spec.name else None
        if existing is not None and existing.state != DEAD:
            answer = ActorRegistered(spec.actor_id, existing.spec.actor_id, existing.spec.handle)
            self.transport.send(sender, answer)
            return
        actor = self.table[spec.actor_id] = Actor(spec)
        if spec.name:
            self.names[key] = spec.actor_id
        if self.trace.enabled:
            detail = (spec.namespace, spec.name, spec.max_restarts, spec.out_of_order)
            self.trace.event("actor.registered", spec.actor_id, detail)
        if spec.strategy.group:
            self.by_group.setdefault(spec.strategy.group, {})[spec.actor_id] = actor
        actor.subscribers = {sender: None, **self._early.pop(spec.actor_id, {})}
        write = Write("actors", spec.actor_id, encode(spec))

        def durable() -> None:
            self.transport.send(sender, ActorRegistered(spec.actor_id, b"", b""))
            if actor.state != DEAD:
                self._place(actor)

        self.gcs.store.commit([write], durable)

    def on_get_named_actor(self, sender: Address, message: GetNamedActor) -> None:
        """Who has that name?"""
        actor = self.table.get(self.names.get((message.namespace, message.name), b""))
        if actor is None or actor.state == DEAD:
            self.transport.send(sender, NamedActor(message.request, b"", b""))
        else:
            self.transport.send(sender, NamedActor(message.request, actor.spec.actor_id, actor.spec.handle))

    def on_subscribe_actor(self, sender: Address, message: SubscribeActor) -> None:
        """A caller wants to know where the actor is, from now on."""
        actor = self.table.get(message.actor_id)
        if actor is not None:
            actor.subscribers[sender] = None
            self.transport.send(sender, self._update_of(actor))
        elif message.actor_id in self.ended or self._is_dead(owner_of(message.actor_id)):
            reason = "it has ended, or its owner has"
            self.transport.send(sender, ActorUpdate(message.actor_id, DEAD, 0, b"", reason))
        else:
            self._early.setdefault(message.actor_id, {})[sender] = None

    # --- Placement

    def _place(self, actor: Actor) -> None:
        spec = actor.spec
        nodes = self.gcs.nodes.view.alive()
        demand = spec.placement_resources
        self.unplaced.pop(spec.actor_id, None)
        if spec.strategy.group:
            self._place_in_group(actor)
            return
        if not is_feasible(demand, nodes, spec.strategy):
            self.unplaced[spec.actor_id] = actor
            name = f"actor {spec.definition.name}"
            self._report_infeasible(actor, why_infeasible(name, demand, nodes, spec.strategy))
            return
        local = node_of(owner_of(spec.actor_id))
        chosen = place(demand, nodes, local, spec.strategy, self.config, self.random)
        if chosen is None:
            able = [node.node_id for node in nodes if allowed(node, spec.strategy) and fits(demand, node.total)]
            chosen = able[self.random.randrange(len(able))]
        self.gcs.nodes.debit(chosen, demand)
        self._ask(actor, chosen)

    def _place_in_group(self, actor: Actor) -> None:
        group = self.gcs.groups.table.get(actor.spec.strategy.group)
        index = actor.spec.strategy.bundle
        demand = actor.spec.resources
        if group is None or group.state == "REMOVED":
            self._group_removed(actor, "it has ended" if group is None else group.reason)
            return
        places = [node for place, node in enumerate(group.nodes) if index in (-1, place) and node]
        bundles = [bundle for place, bundle in enumerate(group.spec.bundles) if index in (-1, place)]
        if not any(fits(demand, bundle) for bundle in bundles):
            which = f"bundle {index}" if index >= 0 else "every bundle"
            text = f"actor {actor.spec.definition.name} needs {describe(demand)}, more than {which} of its group has"
            self._died(actor, text, error_value(errors.ActorUnschedulableError(text, actor.spec.actor_id.hex())))
        elif not places or group.state != "CREATED":
            self.unplaced[actor.spec.actor_id] = actor
            actor.reason = f"its placement group is {group.state}: {group.reason}"
        else:
            self._ask(actor, places[self._leases % len(places)])

    def group_removed(self, group_id: bytes, reason: str) -> None:
        """A placement group has ended, and with it the actors in it."""
        for actor in list(self.by_group.get(group_id, {}).values()):
            self._group_removed(actor, reason)

    def _group_removed(self, actor: Actor, reason: str) -> None:
        text = f"actor {actor.spec.definition.name} has ended with its placement group: {reason}"
        self._died(actor, text, error_value(errors.ActorPlacementGroupRemoved(text, actor.spec.actor_id.hex())))

    def _ask(self, actor: Actor, chosen: NodeId) -> None:
        self._leases += 1
        actor.lease_id = task_id(GCS.ljust(WORKER_ID_SIZE, b"\0"), self._leases)
        self.by_lease[actor.lease_id] = actor
        self._request(actor, chosen, 0)

    def _report_infeasible(self, actor: Actor, reason: str) -> None:
        if actor.spec.fail_infeasible:
            self._died(actor, reason, error_value(errors.ActorUnschedulableError(reason, actor.spec.actor_id.hex())))
        elif actor.reason != reason:
            actor.reason = reason
            self._publish(actor)

    def _request(self, actor: Actor, node: NodeId, hops: int) -> None:
        spec = actor.spec
        actor.lease_node = node
        request = RequestLease(
            actor.lease_id,
            GCS,
            spec.resources,
            spec.strategy,
            spec.job_id,
            spec.runtime_env,
            spec.definition.name,
            hops,
            spec.actor_id,
            namespace=spec.namespace,
            priority=spec.priority,
            terms=self.gcs.jobs.terms_of(spec.job_id),
        )
        self.transport.send(node, request)

    def view_changed(self) -> None:
        """Nodes have come: actors that fitted nowhere may fit now."""
        for actor in list(self.unplaced.values()):
            self._place(actor)

    def on_lease_granted(self, sender: Address, message: LeaseGranted) -> None:
        """A node has a worker for an actor."""
        actor = self.by_lease.get(message.lease_id)
        if actor is None or actor.state not in (PENDING, RESTARTING):
            self.transport.send(sender, ReturnLease(message.lease_id, True, "the actor is not needed any more"))
            return
        actor.worker_id = message.worker_id
        actor.incarnation += 1
        checkpoint = self.gcs.checkpoints.table.get(actor.spec.actor_id)
        self.transport.send(message.worker_id, CreateActor(actor.spec, actor.incarnation, message.gpu_ids, checkpoint))

    def on_lease_spilled(self, sender: Address, message: LeaseSpilled) -> None:
        """Another node is better, if it has not died since."""
        actor = self.by_lease.get(message.lease_id)
        if actor is None:
            return
        if self._is_dead(message.node_id):
            self._drop_lease(actor)
            self._place(actor)
        else:
            self._request(actor, message.node_id, message.hops)

    def on_lease_infeasible(self, sender: Address, message: LeaseInfeasible) -> None:
        """The node knows of none that could."""
        actor = self.by_lease.get(message.lease_id)
        if actor is not None:
            self._report_infeasible(actor, message.reason)

    def on_actor_created(self, sender: Address, message: ActorCreated) -> None:
        """The constructor has returned or raised."""
        actor = self.table.get(message.actor_id)
        if actor is None or actor.incarnation != message.incarnation or actor.state not in (PENDING, RESTARTING):
            self.transport.send(node_of(sender), KillWorker(sender, "it is not the actor's present incarnation"))
        elif message.error is not None:
            self._died(actor, "its constructor raised an exception", message.error)
        else:
            actor.state = ALIVE
            actor.alive_since = self.gcs.ports.clock.now()
            actor.reason = ""
            self._publish(actor)
            if actor.ending:
                self.transport.send(actor.worker_id, EndWorker(actor.ending))

    # --- Ends

    def on_lease_lost(self, sender: Address, message: LeaseLost) -> None:
        """The worker of an actor has ended."""
        actor = self.by_lease.get(message.lease_id)
        if actor is not None:
            self._incarnation_ended(actor, message.reason)

    def _incarnation_ended(self, actor: Actor, reason: str) -> None:
        self._drop_lease(actor)
        spec = actor.spec
        if actor.state == DEAD:
            return
        if actor.ending:
            self._died(actor, actor.ending)
        elif spec.max_restarts < 0 or actor.restarts < spec.max_restarts:
            self._restart(actor, reason)
        else:
            limit = f"; it was restarted {actor.restarts} times, its max_restarts" if actor.restarts else ""
            self._died(actor, f"{reason}{limit}")

    def _restart(self, actor: Actor, reason: str) -> None:
        """Place it again: at once, but after a moment if its last incarnations ended soon too."""
        clock = self.gcs.ports.clock
        lasted = actor.state == ALIVE and clock.now() - actor.alive_since > self.config.retry_backoff_limit
        actor.failures = 0 if lasted else actor.failures + 1
        actor.restarts += 1
        actor.state = RESTARTING
        actor.reason = reason
        self._publish(actor)
        if actor.failures <= 1:
            self._place(actor)
            return

        def due() -> None:
            if actor.state == RESTARTING and not actor.lease_id:
                self._place(actor)

        clock.call_after(self._backoff.delay(actor.failures - 1, self._jitter), due)

    def _drop_lease(self, actor: Actor) -> None:
        self.by_lease.pop(actor.lease_id, None)
        actor.lease_id = b""
        actor.worker_id = b""

    def _died(self, actor: Actor, reason: str, error: Value | None = None) -> None:
        """It is dead for good. A worker that it still has is ended."""
        spec = actor.spec
        actor.state = DEAD
        actor.reason = reason
        actor.error = error
        self.unplaced.pop(spec.actor_id, None)
        self.by_group.get(spec.strategy.group, {}).pop(spec.actor_id, None)
        if not self.by_group.get(spec.strategy.group, True):
            del self.by_group[spec.strategy.group]
        if actor.worker_id:
            self.transport.send(node_of(actor.worker_id), KillWorker(actor.worker_id, f"its actor has ended: {reason}"))
        elif actor.lease_id:
            self.transport.send(actor.lease_node, CancelLease(actor.lease_id))
        self._drop_lease(actor)
        if self.names.get((spec.namespace, spec.name)) == spec.actor_id:
            del self.names[(spec.namespace, spec.name)]
        self._publish(actor)
        self.gcs.store.commit([Write("actors", spec.actor_id, None)], _nothing)
        self.ended[spec.actor_id] = None
        if len(self.ended) > self.config.dead_actors:
            oldest = next(iter(self.ended))
            del self.ended[oldest]
            self.table.pop(oldest, None)
        self.gcs.groups.actor_died(spec.actor_id)
        if spec.checkpoint_every:
            self.gcs.checkpoints.actor_died(spec.actor_id)

    def cannot_save(self, actor: Actor, error: Value | None) -> None:
        """It was to save its state and could not: nothing that it does from now on could be recovered."""
        self._died(actor, "its checkpoint could not be saved", error)

    def is_alive(self, actor_id: ActorId) -> bool:
        """Whether the actor is there, or will be."""
        actor = self.table.get(actor_id)
        return actor is not None and actor.state != DEAD

    def on_actor_exiting(self, sender: Address, message: ActorExiting) -> None:
        """The actor ends itself."""
        actor = self.table.get(message.actor_id)
        if actor is not None and actor.incarnation == message.incarnation and actor.state != DEAD:
            actor.ending = message.reason
            actor.worker_id = b""
            self._died(actor, message.reason)

    def on_kill_actor(self, sender: Address, message: KillActor) -> None:
        """Somebody wants it to end now."""
        actor = self.table.get(message.actor_id)
        if actor is None or actor.state == DEAD:
            return
        if message.no_restart:
            self._died(actor, "it was killed with kill()")
        elif actor.worker_id:
            self.transport.send(node_of(actor.worker_id), KillWorker(actor.worker_id, "kill() with no_restart=False"))

    def on_actor_out_of_scope(self, sender: Address, message: ActorOutOfScope) -> None:
        """Its last handle is gone: it ends after what it was asked to do."""
        actor = self.table.get(message.actor_id)
        if actor is None or actor.state == DEAD or actor.ending:
            return
        actor.ending = "its last handle is gone"
        if actor.state == ALIVE:
            self.transport.send(actor.worker_id, EndWorker(actor.ending))
        elif not actor.worker_id:
            self._died(actor, actor.ending)

    def process_died(self, address: Address, reason: str) -> None:
        """A process or node has ended: the actors it owned end, those that ran on a dead node are restarted."""
        self._dead_processes[address] = None
        if len(self._dead_processes) > self.config.dead_actors:
            del self._dead_processes[next(iter(self._dead_processes))]
        for actor in list(self.table.values()):
            for subscriber in [each for each in actor.subscribers if each.startswith(address)]:
                del actor.subscribers[subscriber]
            if actor.state == DEAD:
                continue
            if not actor.spec.detached and owner_of(actor.spec.actor_id).startswith(address):
                self._died(actor, f"its owner {short(owner_of(actor.spec.actor_id))} has ended: {reason}")
            elif actor.lease_id and actor.lease_node == address:
                if actor.worker_id:
                    self._incarnation_ended(actor, reason)
                else:
                    self._drop_lease(actor)
                    self._place(actor)
        for actor_id in [actor_id for actor_id in self._early if owner_of(actor_id).startswith(address)]:
            for subscriber in self._early.pop(actor_id):
                self.transport.send(subscriber, ActorUpdate(actor_id, DEAD, 0, b"", f"its owner has ended: {reason}"))

    def job_ended(self, job_id: JobId, reason: str) -> None:
        """End the job's actors, except detached ones."""
        for actor in list(self.table.values()):
            if actor.spec.job_id == job_id and not actor.spec.detached and actor.state != DEAD:
                self._died(actor, reason)

    def _is_dead(self, address: Address) -> bool:
        return address in self._dead_processes or node_of(address) in self._dead_processes

    # --- News

    def _update_of(self, actor: Actor) -> ActorUpdate:
        worker_id = actor.worker_id if actor.state == ALIVE else b""
        spec = actor.spec
        return ActorUpdate(spec.actor_id, actor.state, actor.incarnation, worker_id, actor.reason, actor.error)

    def _publish(self, actor: Actor) -> None:
        if self.trace.enabled:
            detail = (actor.state, actor.incarnation, actor.worker_id, actor.spec.max_restarts)
            self.trace.event("actor.state", actor.spec.actor_id, detail)
        update = self._update_of(actor)
        for subscriber in actor.subscribers:
            self.transport.send(subscriber, update)

    def rows(self) -> list[dict[str, Any]]:
        """For people."""
        return [
            {
                "actor_id": actor.spec.actor_id.hex(),
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


def _nothing() -> None:
    pass
