"""Who holds which object: reference counts by ownership.

After *Ownership: A Distributed Futures System for Fine-Grained Tasks* (Wang et al., NSDI'21, section 4.3). The process
that submitted the task (or called put) owns the object and keeps its counts; every other process that holds a reference
is a *borrower* and is registered with the owner. One rule keeps the protocol safe: **whoever hands a reference on keeps
its own hold until the receiver is registered.** In detail:

- Arguments: the caller holds them until the task's reply. A worker that still holds one by then registers before it
  replies; if the caller is the owner, the reply itself registers it (``TaskReply.kept``).
- Results that contain references: the worker registers the caller before it replies. An owner that is neither of the
  two keeps such a registration apart until the caller confirms it; see :mod:`thornback.core.owner.handovers`.
- Values read with ``get``: the reader registers for each reference inside, and keeps its hold of the outer object until
  the owners have answered.

Registrations are counted per borrower, so that a removal that crosses a new registration on the way takes away only
what it meant. The owner drops all registrations of a process that has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from thornback.core.ids import Address, NodeId, ObjectId, WorkerId, owner_of
from thornback.core.messages import AddBorrower, BorrowerAdded, Content, RemoveBorrower, TaskTemplate
from thornback.core.owner.handovers import Handovers
from thornback.core.owner.peers import Peers
from thornback.core.ports import Transport


class Reference(msgspec.Struct, gc=False, eq=False):
    """What this process knows of one object that it owns or borrows.

    Not tracked by the garbage collector, whose passes would otherwise grow with the number of objects; the table drops
    each record explicitly.
    """

    object_id: ObjectId
    owned: bool
    local: int = 0
    """Reference objects in user code of this process."""
    holds: int = 0
    """Uses inside the engine: arguments of unfinished tasks, containing objects, streams, pending registrations."""
    lineage: int = 0
    """Owned: objects whose rebuilding would need this one."""
    borrowers: dict[WorkerId, int] | None = None
    """Owned: registrations by process. A count is negative while a removal has overtaken its registration."""
    registrations: int = 0
    """Borrowed: how often this process is registered with the owner."""
    covered: list[Callable[[], None]] | None = None
    """Borrowed: called once the registration under way is confirmed."""
    content: Content | None = None
    """None: not known, or not made yet."""
    released: bool = False
    """Owned: the value was let go, the record remains for lineage."""
    asked: bool = False
    """Borrowed: the owner was asked for the content."""
    asking: list[Address] | None = None
    """Owned: borrowers that wait for the content."""
    watchers: Callable[[Reference], None] | dict[Callable[[Reference], None], None] | None = None
    """Called once when the content is known; one, which is the usual case, needs no table."""
    strays: tuple[NodeId, ...] = ()
    """Owned: nodes that have a copy which the content does not name; freed with the value."""
    origin: str | TaskTemplate = ""
    """Owned, for people: the line that made it; or the task, where lines of calls are not recorded."""
    made: int = 0
    """Owned: when, on this process's clock."""

    @property
    def held(self) -> bool:
        """Whether anyone refers to the value."""
        return self.local > 0 or self.holds > 0 or bool(self.borrowers)


class ReferenceTable:
    """All references of one process.

    Args:
        released: called with an owned reference when nobody refers to its value any more.
        forgotten: called with any reference when its record is removed.
    """

    def __init__(
        self,
        worker_id: WorkerId,
        transport: Transport,
        released: Callable[[Reference], None],
        forgotten: Callable[[Reference], None],
    ) -> None:
        self.worker_id = worker_id
        self.transport = transport
        self.table: dict[ObjectId, Reference] = {}
        self.peers = Peers(worker_id, transport)
        self.handovers = Handovers(self, transport)
        self._released = released
        self._forgotten = forgotten
        self._borrowed_by: dict[WorkerId, dict[ObjectId, None]] = {}
        self._pending_others: dict[tuple[ObjectId, WorkerId], list[Callable[[], None]]] = {}
        self._unsettled: list[Reference] = []
        """What is being settled, and then those that wait for it."""

    @property
    def pending(self) -> int:
        """How many registrations, for this process or others, their owners have not confirmed."""
        own = sum(reference.covered is not None for reference in self.table.values())
        return own + sum(map(len, self._pending_others.values()))

    # --- Local counts

    def new_owned(
        self, object_id: ObjectId, local: int = 1, origin: str | TaskTemplate = "", made: int = 0
    ) -> Reference:
        """A reference to an object that this process is about to make; see :class:`Reference`."""
        reference = self.table[object_id] = Reference(object_id, True, local, origin=origin, made=made)
        return reference

    def lookup(self, object_id: ObjectId) -> Reference:
        """The record, made if needed (of a borrowed object, or of an owned one that is long gone)."""
        reference = self.table.get(object_id)
        if reference is None:
            owner = owner_of(object_id)
            reference = Reference(object_id, owner == self.worker_id)
            if reference.owned:
                reference.released = True
            else:
                self.peers.depend_on(owner)
            self.table[object_id] = reference
        return reference

    def hold(self, object_id: ObjectId) -> Reference:
        """Begin a use inside the engine."""
        reference = self.table.get(object_id) or self.lookup(object_id)
        reference.holds += 1
        return reference

    def release(self, object_id: ObjectId) -> None:
        """End a use inside the engine."""
        reference = self.table.get(object_id)
        if reference is not None:
            reference.holds -= 1
            self.settle(reference)

    def drop_local(self, object_id: ObjectId) -> None:
        """A reference object was collected."""
        reference = self.table.get(object_id)
        if reference is not None:
            reference.local -= 1
            self.settle(reference)

    def dropped_last(self, object_ids: Iterable[ObjectId]) -> list[ObjectId]:
        """Reference objects were collected: as :meth:`drop_local` without its end. Returns the ids (once each) that
        nobody refers to any more, which are to be settled in order, and those that are no objects."""
        table = self.table
        last: dict[ObjectId, None] = {}
        for object_id in object_ids:
            reference = table.get(object_id)
            if reference is None:
                last[object_id] = None
                continue
            reference.local = local = reference.local - 1
            if local <= 0 and reference.holds <= 0 and not reference.borrowers:
                last[object_id] = None
        return list(last)

    def settle_id(self, object_id: ObjectId) -> None:
        """As :meth:`settle`, of an object that may be unknown."""
        reference = self.table.get(object_id)
        if reference is not None:
            self.settle(reference)

    def add_lineage(self, object_id: ObjectId) -> None:
        """An object that can be rebuilt depends on this one."""
        self.lookup(object_id).lineage += 1

    def drop_lineage(self, object_id: ObjectId) -> None:
        """The dependent object is gone or can no longer be rebuilt."""
        reference = self.table.get(object_id)
        if reference is not None:
            reference.lineage -= 1
            self.settle(reference)

    def settle(self, reference: Reference) -> None:
        """After a count went down: let the value go, and the record with it where nothing needs it. What that lets go
        in turn follows after it, not within it: chains of objects may be longer than calls can be nested."""
        if reference.local > 0 or reference.holds > 0 or reference.borrowers:
            return
        self._unsettled.append(reference)
        if len(self._unsettled) > 1:
            return
        try:
            for each in self._unsettled:
                if not each.held and self.table.get(each.object_id) is each:
                    self._settle(each)
        finally:
            self._unsettled.clear()

    def _settle(self, reference: Reference) -> None:
        if reference.owned:
            if not reference.released:
                reference.released = True
                self._released(reference)
                if reference.held:
                    return
            if reference.lineage > 0:
                return
        elif reference.covered is not None:
            return
        elif reference.registrations:
            count, reference.registrations = reference.registrations, 0
            self.transport.send(owner_of(reference.object_id), RemoveBorrower(reference.object_id, count))
        del self.table[reference.object_id]
        self._forgotten(reference)

    # --- Borrowing

    def register(self, reference: Reference, then: Callable[[], None]) -> None:
        """Make sure that the owner knows of this process; ``then()`` is called at once if it does already."""
        owner = owner_of(reference.object_id)
        if reference.owned or reference.registrations > 0 or self.is_dead(owner):
            then()
        elif reference.covered is not None:
            reference.covered.append(then)
        else:
            reference.covered = [then]
            self.transport.send(owner, AddBorrower(reference.object_id, self.worker_id))

    def register_other(self, object_id: ObjectId, borrower: WorkerId, then: Callable[[], None]) -> None:
        """Make ``borrower`` one, before a reference is handed to it; ``then()`` once the owner has it in its table. A
        process that hands its own object to itself, having run its own task, keeps it that way until it arrives."""
        owner = owner_of(object_id)
        if owner == self.worker_id:
            self.add_borrower(object_id, borrower)
            then()
        elif owner == borrower or self.is_dead(owner):
            then()
        else:
            self.hold(object_id)
            self._pending_others.setdefault((object_id, borrower), []).append(then)
            self.transport.send(owner, AddBorrower(object_id, borrower))

    def handed_over(self, object_id: ObjectId, giver: WorkerId) -> Reference:
        """A reference arrived for which ``giver`` has registered this process; holds it."""
        reference = self.hold(object_id)
        owner = owner_of(object_id)
        if reference.owned and giver == self.worker_id:
            self.add_borrower(object_id, giver, -1)
        if reference.owned or self.is_dead(owner):
            return reference
        if owner == giver:
            reference.registrations += 1
        elif not self.is_dead(giver):
            reference.registrations += 1
            self.handovers.taken(object_id, giver)
        return reference

    def add_borrower(self, object_id: ObjectId, borrower: WorkerId, count: int = 1) -> None:
        """Owned: one more registration (or, with a negative count, some less) of ``borrower``."""
        if self.is_dead(borrower):
            return
        reference = self.lookup(object_id)
        borrowers = reference.borrowers
        if borrowers is None:
            borrowers = reference.borrowers = {}
        count += borrowers.get(borrower, 0)
        if count:
            self.peers.depend_on(borrower)
            borrowers[borrower] = count
            self._borrowed_by.setdefault(borrower, {})[object_id] = None
        else:
            self._drop_borrower(reference, borrower)

    def _drop_borrower(self, reference: Reference, borrower: WorkerId) -> None:
        if reference.borrowers:
            reference.borrowers.pop(borrower, None)
        held = self._borrowed_by.get(borrower)
        if held is not None:
            held.pop(reference.object_id, None)
            if not held:
                del self._borrowed_by[borrower]
        self.settle(reference)

    def on_add_borrower(self, sender: Address, message: AddBorrower) -> None:
        """A process holds, or is about to hold, one of ours."""
        if self.is_dead(sender):
            return
        if message.borrower != sender:
            self.handovers.given(sender, message.object_id, message.borrower)
        self.add_borrower(message.object_id, message.borrower)
        self.transport.send(sender, BorrowerAdded(message.object_id, message.borrower))

    def on_borrower_added(self, sender: Address, message: BorrowerAdded) -> None:
        """The owner has the registration."""
        if message.borrower != self.worker_id:
            key = (message.object_id, message.borrower)
            calls = self._pending_others.get(key)
            if calls:
                call = calls.pop(0)
                if not calls:
                    del self._pending_others[key]
                call()
                self.release(message.object_id)
            return
        reference = self.table.get(message.object_id)
        if reference is not None:
            reference.registrations += 1
            self._uncover(reference)

    def _uncover(self, reference: Reference) -> None:
        calls, reference.covered = reference.covered, None
        for call in calls or ():
            call()
        self.settle(reference)

    def on_remove_borrower(self, sender: Address, message: RemoveBorrower) -> None:
        """A borrower holds one of ours no more."""
        if message.object_id in self.table:
            self.add_borrower(message.object_id, sender, -message.count)

    # --- Deaths

    def is_dead(self, address: Address) -> bool:
        """Whether the process, or its node, is known to have ended."""
        return address in self.peers.dead

    def process_died(self, address: Address) -> None:
        """A process or a whole node has ended: its registrations are void; as an owner it will not answer."""
        self.peers.died(address)
        self.handovers.process_died(address)
        for borrower in [held for held in self._borrowed_by if held.startswith(address)]:
            for object_id in list(self._borrowed_by.get(borrower, ())):
                reference = self.table.get(object_id)
                if reference is not None:
                    self._drop_borrower(reference, borrower)
        for reference in self.owned_by(address):
            reference.registrations = 0
            self._uncover(reference)
        for key in [key for key in self._pending_others if key[0].startswith(address)]:
            for call in self._pending_others.pop(key):
                call()
                self.release(key[0])

    def owned_by(self, address: Address) -> Iterable[Reference]:
        """The borrowed references whose owner is that process, or is on that node."""
        return [reference for object_id, reference in list(self.table.items()) if object_id.startswith(address)]
