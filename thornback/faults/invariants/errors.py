"""Errors that name a cause: the cause is looked for in what has happened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from thornback.core.executor.execution import CALL, TASK
from thornback.core.ids import NODE_ID_SIZE, TASK_ID_SIZE, WORKER_ID_SIZE, ActorId, TaskId, WorkerId, node_of, short
from thornback.core.messages import DEAD, Value
from thornback.faults.invariants.base import Checker, Detail, Unsettled, describe_error

if TYPE_CHECKING:
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
        self._started: dict[TaskId, WorkerId] = {}
        self._said_dead: dict[ActorId, str] = {}
        self._dead_actors: set[ActorId] = set()
        self._registered: set[ActorId] = set()

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
            self._started[subject] = detail[4]

    def on_task_retried(self, time: int, subject: bytes, detail: Detail) -> None:
        """Another attempt follows, on a worker that may end before the task starts there."""
        self._started.pop(subject, None)

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
            worker = self._started.get(subject[:TASK_ID_SIZE])
            if worker is not None and not self._is_gone(worker):
                text = f"{what}, but the worker {short(worker)}, which started it last, lives"
                self.fail(subject, "a worker that lives is said to have crashed", text)
            elif worker is None and not any(len(address) > NODE_ID_SIZE for address in self._ended):
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
                text = f"{what}, but {short(identifier)} has not died"
                self.fail(subject, "an actor that lives is said to be dead", text)

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """Actors that were said to be dead, and are not even in the end."""
        return self.wrong_deaths()

    def wrong_deaths(self) -> list[Unsettled]:
        """As :meth:`unsettled`."""
        return [
            Unsettled("an actor that lives is said to be dead", f"{what}, but {short(actor)} never died", actor)
            for actor, what in self._said_dead.items()
            if actor not in self._dead_actors and not self._is_gone(actor[:WORKER_ID_SIZE])
        ]
