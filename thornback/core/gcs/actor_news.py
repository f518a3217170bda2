"""News of actors: who wants them, and what they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import ActorId, Address, owner_of
from thornback.core.messages import ALIVE, DEAD, ActorUpdate, SubscribeActor
from thornback.core.subscribers import Subscribers

if TYPE_CHECKING:
    from thornback.core.gcs.actor import Actor
    from thornback.core.gcs.actors import ActorTable


class ActorNews:
    """Tells subscribers, and the trace, where each actor is."""

    def __init__(self, actors: ActorTable) -> None:
        self._actors = actors
        self._transport = actors.transport
        self._trace = actors.gcs.ports.trace
        self._subscribers = Subscribers()

    # --- Subscriptions

    def subscribe(self, actor_id: ActorId, subscriber: Address) -> None:
        """A process is told of every change from now on."""
        self._subscribers.add(actor_id, subscriber)

    def on_subscribe_actor(self, sender: Address, message: SubscribeActor) -> None:
        """A caller wants to know where the actor is, from now on."""
        actor = self._actors.table.get(message.actor_id)
        if actor is not None:
            if actor.state != DEAD:
                self.subscribe(message.actor_id, sender)
            self._transport.send(sender, _update_of(actor))
        elif message.owner_died or self._actors.is_dead(owner_of(message.actor_id)):
            self._tell_gone(sender, message.actor_id, "it has ended, or its owner has")
        else:
            self.subscribe(message.actor_id, sender)
            self._actors.gcs.makers.ask(message.actor_id)

    def process_died(self, address: Address, reason: str) -> None:
        """A process or node wants no news any more; of actors that it never came to register there will be none."""
        self._subscribers.process_died(address)
        for actor_id in self._subscribers.subjects_owned_by(address):
            if actor_id not in self._actors.table:
                self.never_comes(actor_id, f"its owner has ended: {reason}")

    def never_comes(self, actor_id: ActorId, reason: str) -> None:
        """It is not in the tables, and will not be: whoever waits for it learns that."""
        for subscriber in self._subscribers.of(actor_id):
            self._tell_gone(subscriber, actor_id, reason)
        self._subscribers.drop_subject(actor_id)

    def drop(self, actor_id: ActorId) -> None:
        """There will be no more news of it."""
        self._subscribers.drop_subject(actor_id)

    # --- What they are told

    def tell(self, actor: Actor, moved: bool = False) -> None:
        """Say how the actor is, and why.

        Args:
            moved: the last incarnation has answered all that it has started.
        """
        update = _update_of(actor, moved)
        for subscriber in self._subscribers.of(actor.actor_id):
            self._transport.send(subscriber, update)

    def _tell_gone(self, subscriber: Address, actor_id: ActorId, reason: str) -> None:
        self._transport.send(subscriber, ActorUpdate(actor_id, DEAD, 0, b"", reason))

    # --- What is traced

    def trace_registered(self, actor: Actor) -> None:
        """It is in the tables."""
        if self._trace.enabled:
            spec = actor.spec
            detail = (spec.namespace, spec.name, self._actors.restarts.allowed(actor), spec.out_of_order)
            self._trace.event("actor.registered", spec.actor_id, detail)

    def trace_state(self, actor: Actor) -> None:
        """Its state has changed, or has been loaded."""
        if self._trace.enabled:
            detail = (actor.state, actor.incarnation, actor.worker_id, self._actors.restarts.allowed(actor))
            self._trace.event("actor.state", actor.actor_id, detail)


def _update_of(actor: Actor, moved: bool = False) -> ActorUpdate:
    worker_id = actor.worker_id if actor.state == ALIVE else b""
    return ActorUpdate(actor.actor_id, actor.state, actor.incarnation, worker_id, actor.reason, actor.error, moved)
