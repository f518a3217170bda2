"""References that nobody's code has yet: inside of values that are under way, wait to be read, or are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from thornback.core.ids import WORKER_ID_SIZE, Address, ObjectId, TaskId, owner_of, return_id, short
from thornback.core.messages import (
    DEAD,
    ActorRegistered,
    KillActor,
    Message,
    PushActorTasks,
    PushTasks,
    RegisterActor,
    StreamItem,
    TaskCall,
    TaskReplies,
    TaskReply,
)
from thornback.faults.invariants.base import Checker, Detail

if TYPE_CHECKING:
    from thornback.simulator.process import Process
    from thornback.simulator.world import World

_Key = TypeVar("_Key")
Counts = Callable[[ObjectId, Address], bool]
"""Whether what a process has of an object counts: the object's owner lives, and does not take the process for dead."""


class HandedOn(Checker):
    """Reads what is sent, and knows which values, arguments and replies have which references inside.

    No process may have such a reference in its table yet, and whoever keeps the object for it is another one each time:
    the submitter of a task for its arguments until the reply, the owner of an actor for its arguments until the actor
    is dead, the owner of an object for what is inside of it, the worker for its results and items until the caller is
    registered.
    """

    name = "freed on its way"
    promise = (
        "no object is let go while a reference to it is inside of a value that is kept, an argument, a reply or an item"
    )

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counts = lambda object_id, address: True
        self._inside: dict[ObjectId, dict[ObjectId, None]] = {}
        """By object: the values that contain a reference to it."""
        self._contained: dict[ObjectId, tuple[ObjectId, ...]] = {}
        self._argument_of: dict[ObjectId, dict[TaskId, None]] = {}
        """By object: unfinished tasks that were sent to a worker, and actors that were registered, with a reference to
        it."""
        self._arguments: dict[TaskId, tuple[ObjectId, ...]] = {}
        self._replies: dict[ObjectId, dict[tuple[Address, Address, bytes, int], None]] = {}
        """By object: replies and items under way that bring a reference to it, as (worker, caller, task or item,
        attempt)."""

    def begin(self, world: World) -> None:
        """See what is sent, not only what arrives."""
        super().begin(world)
        world.network.post_listeners.append(self._posted)

    # --- On the way

    def _posted(self, source: Process, to: Address, messages: list[Message]) -> None:
        for message in messages:
            self.sent(source.address, to, message)

    def sent(self, sender: Address, to: Address, message: Message) -> None:
        """A message leaves."""
        if isinstance(message, (PushTasks, PushActorTasks)):
            for call in message.tasks:
                self._pushed(call)
        elif isinstance(message, TaskReplies):
            for reply in message.replies:
                for object_id in _brought(reply):
                    key = (sender, to, reply.task_id, reply.attempt)
                    self._replies.setdefault(object_id, {})[key] = None
        elif isinstance(message, StreamItem):
            for object_id in message.content.contained:
                self._replies.setdefault(object_id, {})[_item(sender, to, message)] = None
        elif isinstance(message, RegisterActor):
            spec = message.spec
            self._needed(spec.actor_id, [each.object_id for each in spec.dependencies], spec.arguments.contained)
        elif isinstance(message, KillActor) and message.no_restart:
            self._task_over(0, message.actor_id, None)  # whoever kills it counts it as dead from now on

    def _pushed(self, call: TaskCall) -> None:
        self._needed(call.task_id, [each.object_id for each in call.dependencies], call.arguments.contained)

    def _needed(self, task: TaskId, dependencies: Iterable[ObjectId], contained: Iterable[ObjectId]) -> None:
        objects = (*dependencies, *contained)
        if task in self._arguments or not objects:
            return
        self._arguments[task] = objects
        for object_id in objects:
            self._argument_of.setdefault(object_id, {})[task] = None

    def saw_task_replies(self, time: int, sender: bytes, to: bytes, message: TaskReplies) -> None:
        """A reply arrives: what is inside now belongs to the caller."""
        for reply in message.replies:
            for object_id in _brought(reply):
                _remove(self._replies, object_id, (sender, to, reply.task_id, reply.attempt))

    def saw_stream_item(self, time: int, sender: bytes, to: bytes, message: StreamItem) -> None:
        """An item arrives, and what is inside."""
        for object_id in message.content.contained:
            _remove(self._replies, object_id, _item(sender, to, message))

    # --- What is kept

    def on_object_ready(self, time: int, subject: bytes, detail: Detail) -> None:
        """Its owner sets its content."""
        if detail.contained:
            self._contained[subject] = detail.contained
            for object_id in detail.contained:
                self._inside.setdefault(object_id, {})[subject] = None

    def on_object_lost(self, time: int, subject: bytes, detail: Detail) -> None:
        """All copies are gone; what it is made of again has references of its own."""
        for object_id in self._contained.pop(subject, ()):
            _remove(self._inside, object_id, subject)

    def _task_over(self, time: int, subject: bytes, detail: Detail) -> None:
        for object_id in self._arguments.pop(subject, ()):
            _remove(self._argument_of, object_id, subject)

    on_task_finished = on_task_failed = _task_over

    def on_actor_state(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS publishes news of an actor: a dead one is not made again."""
        if detail[0] == DEAD:
            self._task_over(time, subject, None)

    def saw_actor_registered(self, time: int, sender: bytes, to: bytes, message: ActorRegistered) -> None:
        """Another actor has the name: this one will never be made."""
        if message.existing:
            self._task_over(time, message.actor_id, None)

    def on_process_end(self, time: int, subject: bytes, detail: Detail) -> None:
        """What a process has kept, or was about to get or to bring, is gone with it."""
        for outer in [outer for outer in self._contained if outer.startswith(subject)]:
            self.on_object_lost(time, outer, None)
        for task in [task for task in self._arguments if task.startswith(subject)]:
            self._task_over(time, task, None)
        for object_id, replies in list(self._replies.items()):
            for key in [key for key in replies if key[0].startswith(subject) or key[1].startswith(subject)]:
                _remove(self._replies, object_id, key)

    # --- The promise

    def on_object_released(self, time: int, subject: bytes, detail: Detail) -> None:
        """Its owner lets it go."""
        self.on_object_lost(time, subject, None)
        for outer in self._inside.get(subject, ()):
            if self.counts(subject, owner_of(outer)):
                self._freed(subject, f"inside of object {short(outer)}, which is kept", "let go inside of a value")
        for task in self._argument_of.get(subject, ()):
            if self.counts(subject, task[:WORKER_ID_SIZE]):
                text = f"an argument of the unfinished task, or live actor, {short(task)}"
                self._freed(subject, text, "let go as an argument")
        for worker, caller, what, _attempt in self._replies.get(subject, ()):
            if self.counts(subject, worker) and self.counts(subject, caller):
                text = f"inside of the reply of {short(worker)} to {short(what)}, which is under way"
                self._freed(subject, text, "let go inside of a reply")

    def _freed(self, subject: ObjectId, where: str, part: str) -> None:
        self.fail(subject, part, f"object {short(subject)} is let go by its owner while it is {where}")


def _brought(reply: TaskReply) -> Iterable[ObjectId]:
    return [object_id for content in reply.results for object_id in content.contained]


def _item(sender: Address, to: Address, message: StreamItem) -> tuple[Address, Address, bytes, int]:
    return sender, to, return_id(message.task_id, message.index + 1), message.attempt


def _remove(table: dict[ObjectId, dict[_Key, None]], object_id: ObjectId, key: _Key) -> None:
    found = table.get(object_id)
    if found is not None:
        found.pop(key, None)
        if not found:
            del table[object_id]
