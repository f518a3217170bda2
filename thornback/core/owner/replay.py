"""Acknowledged calls to actors with checkpoints: kept until they are in one, and replayed after a crash till then.

The actor saves its state every so many calls, and with it the place up to which the calls of each caller are in that
state. A caller keeps its acknowledged calls beyond that place. A new incarnation starts from the last checkpoint and
gets those calls again, in their order and before all others, and skips what its checkpoint has. Together: the state is
what each caller's acknowledged calls make of it, each applied once, in the caller's order. This is rollback recovery
with sender-based message logging (E. N. Elnozahy et al., "A Survey of Rollback-Recovery Protocols", ACM Computing
Surveys 34(3), 2002, section 3), with the calls as messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import ActorId, Address
from thornback.core.messages import CheckpointNoted, CheckpointTaken
from thornback.core.owner.task import DONE, Task

if TYPE_CHECKING:
    from thornback.core.owner.actors import ActorClient, Actors


class ReplayLog:
    """The acknowledged calls of one process that are not in a checkpoint yet."""

    def __init__(self, actors: Actors) -> None:
        self._actors = actors
        self._calls: dict[ActorId, dict[int, Task]] = {}
        """By actor and place."""
        self._through: dict[ActorId, int] = {}
        """The place up to which calls are in a checkpoint."""

    def has(self, actor_id: ActorId) -> bool:
        """Whether calls to that actor may have to be replayed."""
        return actor_id in self._calls

    def acknowledged(self, task: Task) -> None:
        """A call has been answered, or replayed."""
        calls = self._calls.setdefault(task.actor_id, {})
        client = self._actors.clients.get(task.actor_id)
        if task.place in calls:
            if client is not None:
                client.unfinished -= 1
                client.in_flight.pop(task.task_id, None)
            for object_id in task.dependencies:
                self._actors.owner.references.release(object_id)
        else:
            calls[task.place] = task
            self._actors.ended(task)
        if client is None or task.place <= self._through.get(task.actor_id, 0):
            self._forget(task.actor_id, [task])

    def replay(self, client: ActorClient) -> None:
        """A new incarnation is there: it gets the calls that it may not have."""
        calls = self._calls.get(client.actor_id, {})
        again = [calls[place] for place in sorted(calls) if calls[place].state == DONE]
        if not again:
            return
        client.unfinished += len(again)
        client.queue = dict(sorted({**{task.place: task for task in again}, **client.queue}.items()))
        for task in again:
            self._actors.owner.tasks.replay(task)

    def on_checkpoint_taken(self, sender: Address, message: CheckpointTaken) -> None:
        """Some calls are safe; tell the actor which of the answers are."""
        actor_id = message.actor_id
        client = self._actors.clients.get(actor_id)
        if client is None:
            return
        self._through[actor_id] = max(message.place, self._through.get(actor_id, 0))
        calls = self._calls.get(actor_id, {})
        done = [task for place, task in calls.items() if place <= message.place and task.state == DONE]
        self._forget(actor_id, done)
        unanswered = [task.place for task in (*client.queue.values(), *client.in_flight.values()) if not task.logged]
        place = min(unanswered, default=self._actors.places + 1) - 1
        self._actors.owner.ports.transport.send(sender, CheckpointNoted(actor_id, place))

    def actor_died(self, actor_id: ActorId) -> None:
        """There is no next incarnation."""
        self._forget(actor_id, list(self._calls.get(actor_id, {}).values()))
        self._through.pop(actor_id, None)

    def _forget(self, actor_id: ActorId, tasks: list[Task]) -> None:
        calls = self._calls.get(actor_id, {})
        for task in tasks:
            if calls.pop(task.place, None) is not None:
                self._actors.owner.tasks.forget_logged(task)
        if not calls and self._calls.pop(actor_id, None) is not None:
            self._actors.handle_forgotten_if_gone(actor_id)
