"""Calls from this process to actors: queued here in submission order, sent straight to the actor's worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core import errors
from thornback.core.ids import ActorId, Address, TaskId, WorkerId, owner_of, return_id, short
from thornback.core.messages import (
    ALIVE,
    DEAD,
    PENDING,
    RESTARTING,
    ActorOutOfScope,
    ActorRegistered,
    ActorSpec,
    ActorTasksRefused,
    ActorUpdate,
    ConfirmReplies,
    KillActor,
    PushActorTasks,
    RegisterActor,
    RepliesConfirmed,
    SubscribeActor,
    TaskReplies,
    TaskTemplate,
    Value,
)
from thornback.core.owner.references import Reference
from thornback.core.owner.replay import ReplayLog
from thornback.core.owner.task import DONE, PUSHED, QUEUED, Task
from thornback.core.runtime import Waiter
from thornback.core.serialization import loads_value

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner


class ActorClient:
    """What this process knows of one actor that it calls."""

    __slots__ = (
        "actor_id",
        "by_place",
        "error",
        "in_flight",
        "incarnation",
        "kill_wanted",
        "next_sequence",
        "out_of_order",
        "queue",
        "reason",
        "served",
        "state",
        "templates",
        "unfinished",
        "worker_id",
    )

    def __init__(self, actor_id: ActorId) -> None:
        self.actor_id = actor_id
        self.state = PENDING
        self.incarnation = 0
        self.served = 0
        """The last incarnation that was known to be alive."""
        self.worker_id: WorkerId = b""
        self.reason = ""
        self.error: Value | None = None
        self.queue: dict[int, Task] = {}
        """Calls not sent yet, by their place in submission order; some still wait for arguments."""
        self.in_flight: dict[TaskId, Task] = {}
        self.next_sequence = 0
        self.by_place = False
        """The actor has checkpoints: a call's number is its place."""
        self.unfinished = 0
        self.out_of_order = False
        self.kill_wanted = False
        """Its incarnation, whichever it is, is to be killed and restarted."""
        self.templates: set[bytes] = set()


class ActorCreation:
    """An actor that this process owns, until it is dead: its arguments are kept for restarts."""

    __slots__ = ("dependencies", "registered", "spec", "unresolved")

    def __init__(self, spec: ActorSpec, dependencies: tuple[bytes, ...]) -> None:
        self.spec = spec
        self.dependencies = dependencies
        self.registered = Waiter()
        self.unresolved = 0


class Actors:
    """All actors that this process calls or owns."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.transport = owner.ports.transport
        self.gcs = owner.gcs
        self.clients: dict[ActorId, ActorClient] = {}
        self.creations: dict[ActorId, ActorCreation] = {}
        self.urgent = False
        """Whether an actor without calls of ours could start one now."""
        self.places = 0
        """How many calls this process has made; the next one's place follows."""
        self.log = ReplayLog(self)
        self.dirty: dict[ActorId, ActorClient] = {}

    # --- Creation

    def create(self, spec: ActorSpec, dependencies: tuple[bytes, ...], get_if_exists: bool) -> ActorCreation:
        """Register an actor of ours with the GCS once its arguments are known; holds them until it is dead."""
        creation = self.creations[spec.actor_id] = ActorCreation(spec, dependencies)
        references = self.owner.references
        handle = references.new_owned(
            return_id(spec.actor_id, 0), 1, f"actor {spec.definition.name}", self.owner.ports.clock.now()
        )
        handle.released = False
        client = self.clients[spec.actor_id] = ActorClient(spec.actor_id)
        client.out_of_order = spec.out_of_order
        for object_id in (*spec.definition.contained, *spec.arguments.contained, *dependencies):
            references.hold(object_id)
        creation.unresolved = 1

        def known(_reference: Reference) -> None:
            self._resolved(creation, get_if_exists)

        for object_id in dict.fromkeys(dependencies):
            reference = references.lookup(object_id)
            if reference.content is None:
                creation.unresolved += 1
                self.owner.objects.watch(reference, known)
        self._resolved(creation, get_if_exists)
        return creation

    def _resolved(self, creation: ActorCreation, get_if_exists: bool) -> None:
        creation.unresolved -= 1
        if creation.unresolved:
            return
        known = self.owner.dependencies_of(creation.dependencies)
        failed = [dependency.content for dependency in known if getattr(dependency.content, "is_error", False)]
        if failed:
            error = failed[0]
            assert isinstance(error, Value)
            client = self.client(creation.spec.actor_id)
            self.gcs.send(RegisterActor(creation.spec, get_if_exists, error))
            self._apply(client, ActorUpdate(client.actor_id, DEAD, 0, b"", "an argument failed", error))
            creation.registered.complete()
            return
        self.gcs.send(RegisterActor(self.owner.with_dependencies(creation.spec, known), get_if_exists))

    def on_actor_registered(self, sender: Address, message: ActorRegistered) -> None:
        """The GCS has our actor in its tables, or another one under that name."""
        self.gcs.answered(RegisterActor, message.actor_id)
        creation = self.creations.get(message.actor_id)
        if creation is None:
            return
        creation.registered.complete(message)
        if message.existing:
            self._release_creation(message.actor_id)
            self.clients.pop(message.actor_id, None)

    def _release_creation(self, actor_id: ActorId) -> None:
        creation = self.creations.pop(actor_id, None)
        if creation is not None:
            spec = creation.spec
            for object_id in (*spec.definition.contained, *spec.arguments.contained, *creation.dependencies):
                self.owner.references.release(object_id)

    def handle_released(self, actor_id: ActorId) -> None:
        """No handle of our actor is left anywhere, and no call is under way."""
        creation = self.creations.get(actor_id)
        if creation is not None and not creation.spec.detached:
            self.gcs.send(ActorOutOfScope(actor_id))

    # --- Calls

    def client(self, actor_id: ActorId) -> ActorClient:
        """The record of an actor; the GCS is asked for its whereabouts the first time."""
        client = self.clients.get(actor_id)
        if client is None:
            client = self.clients[actor_id] = ActorClient(actor_id)
            self._subscribe(actor_id)
        return client

    def _subscribe(self, actor_id: ActorId) -> None:
        self.owner.references.peers.depend_on(owner_of(actor_id))
        self.gcs.send(SubscribeActor(actor_id, self.owner.references.is_dead(owner_of(actor_id))))

    def subscribe_again(self) -> None:
        """Another GCS must know what this process wants to know: after the registrations, which come first."""
        for client in self.clients.values():
            if client.state != DEAD:
                self._subscribe(client.actor_id)

    def admit(self, task: Task) -> None:
        """A call has its place in the order from now on, whenever its arguments are known. One that runs again for its
        lost result keeps it: later ones may wait for just that."""
        client = self.client(task.actor_id)
        client.unfinished += 1
        if task.place:
            self._requeue(client, [task])
        else:
            self.places += 1
            task.place = self.places
            client.queue[task.place] = task
        self.owner.references.hold(return_id(task.actor_id, 0))

    def ended(self, task: Task) -> None:
        """A call has got its result."""
        client = self.clients.get(task.actor_id)
        if client is not None:
            client.unfinished -= 1
            client.in_flight.pop(task.task_id, None)
        self.owner.references.release(return_id(task.actor_id, 0))

    def ready(self, task: Task) -> None:
        """The arguments of a call are known (again)."""
        client = self.client(task.actor_id)
        if task.place not in client.queue:
            client.in_flight.pop(task.task_id, None)
            self._requeue(client, [task])
        if client.state == DEAD:
            self._fail_all(client)
        else:
            self.dirty[client.actor_id] = client
            if client.state == ALIVE and not client.in_flight:
                self.urgent = True

    def withdraw(self, task: Task) -> None:
        """The call was cancelled before it was sent."""
        client = self.clients.get(task.actor_id)
        if client is not None:
            client.queue.pop(task.place, None)

    def end_turn(self) -> None:
        """Send the calls that may go."""
        self.urgent = False
        while self.dirty:
            dirty, self.dirty = self.dirty, {}
            for client in dirty.values():
                if client.state == ALIVE:
                    self._push(client)

    def _push(self, client: ActorClient) -> None:
        batch: list[Task] = []
        tasks = self.owner.tasks
        for place, task in list(client.queue.items()):
            if task.state == QUEUED and tasks.still_resolved(task):
                batch.append(task)
            elif task.state != DONE:
                if client.out_of_order:
                    continue
                break
            del client.queue[place]
        limit = self.owner.config.push_batch
        for start in range(0, len(batch), limit):
            self._send(client, batch[start : start + limit])

    def _send(self, client: ActorClient, batch: list[Task]) -> None:
        templates: list[TaskTemplate] = []
        calls = []
        for task in batch:
            task.state = PUSHED
            task.worker = client.worker_id
            client.by_place = client.by_place or task.template.replay
            task.sequence = task.place if client.by_place else client.next_sequence
            client.next_sequence += 1
            client.in_flight[task.task_id] = task
            if task.template.key not in client.templates:
                client.templates.add(task.template.key)
                templates.append(task.template)
            calls.append(self.owner.tasks.call_of(task))
        push = PushActorTasks(client.actor_id, client.incarnation, tuple(templates), tuple(calls))
        self.transport.send(client.worker_id, push)

    def replies(self, sender: Address, message: TaskReplies) -> None:
        """Calls of ours have ended."""
        client = self.clients.get(message.source)
        for reply in message.replies:
            if self.owner.tasks.reply(sender, message.source, reply) is not None and client is not None:
                client.in_flight.pop(reply.task_id, None)

    def on_confirm_replies(self, sender: Address, message: ConfirmReplies) -> None:
        """An actor wants to end; messages from it arrive in order, so its replies are here."""
        self.transport.send(sender, RepliesConfirmed(message.source))

    def on_actor_tasks_refused(self, sender: Address, message: ActorTasksRefused) -> None:
        """The worker is another incarnation, or none: they have not started; they wait for the GCS's word."""
        client = self.clients.get(message.actor_id)
        if client is None:
            return
        known = (client.in_flight.get(task_id) for task_id in message.task_ids)
        refused = [task for task in known if task is not None and task.worker == sender]
        for task in refused:
            del client.in_flight[task.task_id]
            self._not_started(task)
        self._requeue(client, refused)
        if message.incarnation == client.incarnation and client.state == ALIVE:
            client.state = RESTARTING
            client.reason = "it takes no more calls"
        self.dirty[client.actor_id] = client

    @staticmethod
    def _not_started(task: Task) -> None:
        task.state = QUEUED
        task.worker = b""

    def _requeue(self, client: ActorClient, tasks: list[Task]) -> None:
        known = {task.place: task for task in (*tasks, *client.queue.values())}
        client.queue = {place: known[place] for place in sorted(known)}

    # --- The actor's life

    def kill(self, actor_id: ActorId, no_restart: bool) -> None:
        """End an actor; without restart, it is dead for this process from now on. With restart, the GCS must be told
        which incarnation is meant, or it could end the next one too when this is repeated."""
        client = self.clients.get(actor_id)
        if not no_restart and (client is None or not client.incarnation):
            self.client(actor_id).kill_wanted = True
            return
        self.gcs.send(KillActor(actor_id, no_restart, 0 if client is None else client.incarnation))
        if no_restart and client is not None and client.state != DEAD:
            reason = "it was killed with kill()"
            self._apply(client, ActorUpdate(actor_id, DEAD, client.incarnation, b"", reason))

    def on_actor_update(self, sender: Address, message: ActorUpdate) -> None:
        """The GCS says where the actor is."""
        client = self.clients.get(message.actor_id)
        if client is None or client.state == DEAD or message.incarnation < client.incarnation:
            return
        self._apply(client, message)
        if client.kill_wanted and message.incarnation:
            client.kill_wanted = False
            if message.state != DEAD:
                self.kill(message.actor_id, no_restart=False)
            self.handle_forgotten_if_gone(message.actor_id)

    def _apply(self, client: ActorClient, update: ActorUpdate) -> None:
        same = update.incarnation == client.incarnation and update.state == client.state
        if same and update.state == ALIVE:
            return
        interrupted = list(client.in_flight.values())
        client.in_flight.clear()
        renewed = update.state == ALIVE and update.incarnation > client.served
        client.incarnation = update.incarnation
        client.state = update.state
        client.worker_id = update.worker_id
        client.reason = update.reason
        client.error = update.error
        client.next_sequence = 0
        client.templates.clear()
        if update.moved:
            for task in interrupted:
                self._not_started(task)
            again = interrupted
        else:
            again = [task for task in interrupted if self._runs_again(client, task)]
        if again:
            self._requeue(client, again)
        if renewed:
            client.served = update.incarnation
            self.log.replay(client)
        if update.state == DEAD:
            self._fail_all(client)
            self.log.actor_died(client.actor_id)
            self._release_creation(client.actor_id)
            self._forget(client)
        else:
            self.dirty[client.actor_id] = client

    def _runs_again(self, client: ActorClient, task: Task) -> bool:
        """Whether a call goes to the next incarnation; the one that had it ended before it replied."""
        tasks = self.owner.tasks
        if task.cancelled:
            tasks.cancelled(task)
        elif client.state == DEAD or (task.retries_left == 0 and not task.logged):
            tasks.fail(task, self._error(client, task))
        else:
            if task.retries_left > 0 and not task.logged:
                task.retries_left -= 1
            task.attempt += 1
            task.state = QUEUED
            task.worker = b""
            return True
        return False

    def _fail_all(self, client: ActorClient) -> None:
        queue, client.queue = client.queue, {}
        for task in queue.values():
            self.owner.tasks.fail(task, self._error(client, task))

    def _error(self, client: ActorClient, task: Task) -> BaseException:
        if client.error is not None:
            cause = loads_value(client.error)
            if isinstance(cause, (errors.TaskError, errors.ActorError)):
                return _ended_by(client, cause)
        what = f"{task.template.name} could not run: actor {short(client.actor_id)}"
        if client.state == DEAD:
            return errors.ActorDiedError(f"{what} has ended: {client.reason}", client.actor_id.hex())
        if client.state == ALIVE:
            # The restart itself went by unheard: its news was lost with the GCS that had it.
            return errors.ActorUnavailableError(f"{what} was restarted meanwhile", client.actor_id.hex())
        return errors.ActorUnavailableError(f"{what} is restarting: {client.reason}", client.actor_id.hex())

    def _forget(self, client: ActorClient) -> None:
        reference = self.owner.references.table.get(return_id(client.actor_id, 0))
        if reference is None:
            self.clients.pop(client.actor_id, None)

    def handle_forgotten(self, actor_id: ActorId) -> None:
        """This process has no handle any more. The record of an actor with checkpoints stays until it is dead: it says
        what is in them."""
        client = self.clients.get(actor_id)
        if client is None or client.by_place or client.kill_wanted:
            return
        if not (client.unfinished or actor_id in self.creations or self.log.has(actor_id)):
            del self.clients[actor_id]

    def handle_forgotten_if_gone(self, actor_id: ActorId) -> None:
        """Nothing of the actor's calls needs its record any more; a handle may."""
        if return_id(actor_id, 0) not in self.owner.references.table:
            self.handle_forgotten(actor_id)

    def process_died(self, address: Address) -> None:
        """An owner died: its actors end with it, says the GCS in a moment."""
        for client in self.clients.values():
            if owner_of(client.actor_id).startswith(address) and client.state != DEAD:
                self._subscribe(client.actor_id)


def _ended_by(client: ActorClient, cause: BaseException) -> BaseException:
    if isinstance(cause, errors.ActorError):
        return cause
    text = f"actor {short(client.actor_id)} has ended: {client.reason}.\n{cause}"
    error = errors.ActorDiedError(text, client.actor_id.hex())
    error.__cause__ = cause
    return error
