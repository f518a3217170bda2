"""Actors: one incarnation at a time, calls in order, restarts as allowed, names for one only."""

from __future__ import annotations

from thornback.core.executor.execution import CALL, CREATION
from thornback.core.ids import WORKER_ID_SIZE, ActorId, Address, NodeId, TaskId, WorkerId, node_of, short
from thornback.core.messages import ALIVE, DEAD, RESTARTING
from thornback.faults.invariants.base import Checker, Detail


class CallOrder(Checker):
    """Compares the order of starts on an actor with the order of submission, caller by caller.

    The counter in the id of a call grows in the order in which its caller has submitted it. A call that is sent again
    after it has started on this incarnation already (its exception is retried) may come late.
    """

    name = "call order"
    promise = "methods of an actor start in the order in which each caller has called them"

    def __init__(self) -> None:
        super().__init__()
        self._free: set[ActorId] = set()
        """Actors whose calls may start out of order."""
        self._last: dict[tuple[WorkerId, Address, str], TaskId] = {}
        self._started: dict[tuple[WorkerId, TaskId], None] = {}

    def on_actor_registered(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS has a new actor."""
        if detail[3]:
            self._free.add(subject)

    def on_task_started(self, time: int, subject: bytes, detail: Detail) -> None:
        """A method begins."""
        attempt, kind, caller, actor, worker, lane = detail
        if kind != CALL or actor in self._free:
            return
        again = (worker, subject) in self._started
        self._started[worker, subject] = None
        if again:
            return
        key = (worker, caller, lane)
        last = self._last.get(key)
        if last is not None and subject[WORKER_ID_SIZE:] < last[WORKER_ID_SIZE:]:
            text = f"call {short(subject)} (attempt {attempt}) of {short(actor)} starts after the later {short(last)}"
            self.fail(subject, "a call starts after a later one", text)
        else:
            self._last[key] = subject


class Incarnations(Checker):
    """Knows where each incarnation has started, and which workers and nodes have ended."""

    name = "incarnations"
    promise = "at most one live incarnation of an actor accepts calls"

    def __init__(self) -> None:
        super().__init__()
        self._workers: dict[ActorId, list[WorkerId]] = {}
        """Of each incarnation that was constructed, oldest first."""
        self._accepting: dict[ActorId, int] = {}
        """Position of the newest incarnation that has started a call."""
        self._gone: dict[NodeId, None] = {}

    def on_node_dead(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS has given up a node: what goes on there meanwhile is undone when it comes back."""
        self._gone[subject] = None

    def on_task_started(self, time: int, subject: bytes, detail: Detail) -> None:
        """A constructor or method begins."""
        _attempt, kind, _caller, actor, worker, _lane = detail
        if kind == CREATION:
            self._workers.setdefault(subject, []).append(worker)
            return
        if kind != CALL:
            return
        workers = self._workers.get(actor, [])
        if worker not in workers:
            text = f"{short(worker)} starts {short(subject)}, a call of {short(actor)}, without having constructed it"
            self.fail(subject, "a call where the actor was never constructed", text)
            return
        place = workers.index(worker)
        newest = self._accepting.get(actor, 0)
        if place < newest and node_of(worker) not in self._gone:
            text = f"{short(worker)} starts {short(subject)} of {short(actor)}, whose newer incarnation in "
            self.fail(subject, "an old incarnation starts a call", f"{text}{short(workers[newest])} has started calls")
        self._accepting[actor] = max(place, newest)


class Restarts(Checker):
    """Counts the constructions of each actor."""

    name = "restarts"
    promise = "an actor is constructed at most 1 + max_restarts times, and its incarnations have growing numbers"

    def __init__(self) -> None:
        super().__init__()
        self._allowed: dict[ActorId, int] = {}
        self._restarts: dict[ActorId, int] = {}
        self._constructed: dict[ActorId, set[int]] = {}
        self._alive: dict[ActorId, tuple[int, WorkerId]] = {}
        self._over: dict[ActorId, int] = {}
        """The incarnation that had ended when the actor was to be restarted."""
        self._dead: dict[ActorId, None] = {}

    def on_actor_registered(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS has a new actor."""
        self._allowed[subject] = detail[2]

    def on_task_started(self, time: int, subject: bytes, detail: Detail) -> None:
        """A constructor begins; its attempt is the number of the incarnation."""
        incarnation, kind = detail[:2]
        if kind != CREATION:
            return
        constructed = self._constructed.setdefault(subject, set())
        if incarnation in constructed:
            text = f"incarnation {incarnation} of {short(subject)} is constructed twice"
            self.fail(subject, "an incarnation constructed twice", text)
        constructed.add(incarnation)
        allowed = self._allowed.get(subject, -1)
        if 0 <= allowed < len(constructed) - 1:
            text = f"{short(subject)} with max_restarts={allowed} is constructed {len(constructed)} times"
            self.fail(subject, "constructed too often", text)

    def on_actor_state(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS publishes news of an actor."""
        state, incarnation, worker, allowed = detail
        self._allowed[subject] = allowed  # grows when the actor's node leaves: such a restart does not count
        if subject in self._dead and state != DEAD:
            self.fail(subject, "a dead actor lives", f"{short(subject)} was dead, and is {state}")
        if state == DEAD:
            self._dead[subject] = None
        elif state == RESTARTING:
            self._over[subject] = incarnation
            count = self._restarts[subject] = self._restarts.get(subject, 0) + 1
            if 0 <= allowed < count:
                text = f"{short(subject)} with max_restarts={allowed} is restarted {count} times"
                self.fail(subject, "restarted too often", text)
        elif state == ALIVE:
            if subject not in self._dead and (not worker or incarnation <= self._over.get(subject, -1)):
                text = f"{short(subject)} is alive as incarnation {incarnation}, which has ended before"
                self.fail(subject, "an incarnation that has ended is alive", text)
            known = self._alive.get(subject)
            if known is not None and (incarnation < known[0] or (incarnation == known[0] and worker != known[1])):
                text = f"incarnation {incarnation} of {short(subject)} is alive after incarnation {known[0]}"
                self.fail(subject, "incarnations go back", text)
            self._alive[subject] = incarnation, worker


class Names(Checker):
    """Knows who has which name."""

    name = "names"
    promise = "at most one live actor, and one live placement group, has a given name in a namespace"

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[bytes, tuple[str, str, str]] = {}
        self._holders: dict[tuple[str, str, str], bytes] = {}

    def on_actor_registered(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS has a new actor."""
        self._take("actor", subject, *detail[:2])

    def on_group_registered(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS has a new placement group."""
        self._take("placement group", subject, *detail[:2])

    def _take(self, what: str, subject: bytes, namespace: str, name: str) -> None:
        if not name:
            return
        key = (what, namespace, name)
        holder = self._holders.get(key)
        if holder is not None and holder != subject:
            text = f"{what} {short(subject)} takes the name {name!r} in {namespace!r}, which {short(holder)} has"
            self.fail(subject, f"two {what}s with one name", text)
        self._holders[key] = subject
        self._names[subject] = key

    def on_actor_state(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS publishes news of an actor."""
        if detail[0] == DEAD:
            self._leave(subject)

    def on_group_state(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS publishes news of a placement group."""
        if detail[0] == "REMOVED":
            self._leave(subject)

    def _leave(self, subject: bytes) -> None:
        key = self._names.pop(subject, None)
        if key is not None and self._holders.get(key) == subject:
            del self._holders[key]
