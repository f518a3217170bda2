"""Errors that name a cause: the cause is looked for in what has happened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from thornback.core.executor.execution import CALL, TASK
from thornback.core.ids import (
    NODE_ID_SIZE,
    TASK_ID_SIZE,
    WORKER_ID_SIZE,
    ActorId,
    Address,
    TaskId,
    WorkerId,
    node_of,
    short,
)
from thornback.core.messages import DEAD, KillActor, Message, Value
from thornback.faults.invariants.base import Checker, Detail, Unsettled, describe_error

if TYPE_CHECKING:
    from thornback.simulator.process import Process
    from thornback.simulator.world import World

_CRASHES = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError")
_LOSSES = ("ObjectLostError", "ObjectReconstructionFailedError")


class TrueCauses(Checker):
    """Knows who has died, what was lost and what was cancelled."""

    name = "true causes"
    promise = "an error that says that a process, node, actor or object is gone, or a task cancelled, is right"

    def __init__(self) -> None:
        super().__init__()
        self._ended: set[bytes] = set()
        self._lost: set[bytes] = set()
        self._cancels = 0
        self._started: dict[TaskId, list[WorkerId]] = {}
        """Where the present attempt of each task, and a second run beside it, have started."""
        self._said_dead: dict[ActorId, str] = {}
        self._dead_actors: set[ActorId] = set()
        self._registered: set[ActorId] = set()
        self._said_early: dict[ActorId, dict[WorkerId, str]] = {}
        """Actors that were said to be dead before the GCS has said so, by whom."""
        self._killed: set[tuple[ActorId, Address]] = set()
        """Which actors which processes have killed: for those they are dead from then on."""

    def begin(self, world: World) -> None:
        """See who kills what."""
        super().begin(world)
        world.network.post_listeners.append(self._posted)

    def _posted(self, source: Process, to: Address, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, KillActor):
                self.killed(source.address, message)

    def killed(self, killer: Address, message: KillActor) -> None:
        """A process kills an actor."""
        if message.no_restart:
            self._killed.add((message.actor_id, killer))

    def on_process_end(self, time: int, subject: bytes, detail: Detail) -> None:
        """A process is gone."""
        self._ended.add(subject)

    def on_node_dead(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS has given up a node."""
        self._ended.add(subject)

    def on_object_lost(self, time: int, subject: bytes, detail: Detail) -> None:
        """All copies of an object are gone."""
        self._lost.add(subject)

    def on_object_released(self, time: int, subject: bytes, detail: Detail) -> None:
        """An owner lets an object go."""
        self._lost.add(subject)

    def on_task_cancel(self, time: int, subject: bytes, detail: Detail) -> None:
        """A task is cancelled."""
        self._cancels += 1

    def on_task_started(self, time: int, subject: bytes, detail: Detail) -> None:
        """A task begins."""
        if detail[1] in (TASK, CALL):
            self._started.setdefault(subject, []).append(detail[4])

    def _again(self, time: int, subject: bytes, detail: Detail) -> None:
        """Another attempt follows, on a worker that may end before the task starts there."""
        self._started.pop(subject, None)

    on_task_retried = on_task_rebuilding = _again

    def on_actor_registered(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS has a new actor: from now on it is the GCS that says when it is dead."""
        self._registered.add(subject)

    def on_actor_state(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS publishes news of an actor."""
        if detail[0] == DEAD:
            self._dead_actors.add(subject)

    def _is_gone(self, address: bytes) -> bool:
        return address in self._ended or node_of(address) in self._ended

    def on_object_owner_died(self, time: int, subject: bytes, detail: Detail) -> None:
        """A borrower gives an object up because its owner has died."""
        owner = subject[:WORKER_ID_SIZE]
        if not self._is_gone(owner):
            text = f"{short(detail)} says of object {short(subject)} that its owner {short(owner)} has died; it lives"
            self.fail(subject, "an owner that lives is said to be dead", text)

    def on_object_ready(self, time: int, subject: bytes, detail: Detail) -> None:
        """An object becomes an error."""
        if not isinstance(detail, Value) or not detail.is_error:
            return
        name, identifier = describe_error(detail)
        what = f"object {short(subject)} becomes {name}"
        if name in _CRASHES:
            workers = self._started.get(subject[:TASK_ID_SIZE], [])
            if workers and not any(map(self._is_gone, workers)):
                text = f"{what}, but the worker {short(workers[-1])}, which started it last, lives"
                self.fail(subject, "a worker that lives is said to have crashed", text)
            elif not workers and not any(len(address) > NODE_ID_SIZE for address in self._ended):
                self.fail(subject, "a crash without a crash", f"{what}, and no worker has ended in this run")
        elif name == "OwnerDiedError" and identifier and not self._is_gone(identifier[:WORKER_ID_SIZE]):
            text = f"{what}, but the owner {short(identifier[:WORKER_ID_SIZE])} lives"
            self.fail(subject, "an owner that lives is said to be dead", text)
        elif name in _LOSSES and identifier and identifier not in self._lost:
            self.fail(subject, "an object said to be lost is not", f"{what}, but {short(identifier)} was never lost")
        elif name == "TaskCancelledError" and not self._cancels:
            self.fail(subject, "cancelled by nobody", f"{what}, and nothing was cancelled in this run")
        elif name == "ActorDiedError" and len(identifier) == TASK_ID_SIZE:
            self._said_dead.setdefault(identifier, what)
            gone = identifier in self._dead_actors or self._is_gone(identifier[:WORKER_ID_SIZE])
            if identifier in self._registered and not gone:
                self._said_early.setdefault(identifier, {})[subject[:WORKER_ID_SIZE]] = what

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """Actors that were said to be dead, and were not yet, or are not even in the end."""
        return self.wrong_deaths()

    def wrong_deaths(self) -> list[Unsettled]:
        """As :meth:`unsettled`."""
        early = [
            Unsettled("an actor is said to be dead too early", f"{what}, before {short(actor)} had died", actor)
            for actor, said in self._said_early.items()
            for process, what in said.items()
            if (actor, process) not in self._killed
        ]
        return early + [
            Unsettled("an actor that lives is said to be dead", f"{what}, but {short(actor)} never died", actor)
            for actor, what in self._said_dead.items()
            if actor not in self._dead_actors and not self._is_gone(actor[:WORKER_ID_SIZE])
        ]
