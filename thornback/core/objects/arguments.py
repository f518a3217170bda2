"""The large arguments of tasks, brought to memory all together, as far as there is room.

A task that held some of its arguments while it waits for room for the others could wait for a task that does the same:
both would wait for ever. Here nobody waits for room with room in hand. A request takes the room for all of its objects
in one step, and those that are in memory stay there from that step on. Requests are served oldest first, and tasks that
have not started last (:class:`thornback.core.objects.room.Rank`). This is the all-at-once rule of Havender (*Avoiding
deadlock in multitasking systems*, IBM Systems Journal 1968), under which no circle of waiters can form.

What cannot come together, since it is more than the memory holds or since nobody who holds memory makes progress, comes
one by one, some of it to files outside of memory.
"""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.ids import Address, NodeId
from thornback.core.messages import ArgumentsFailed, ArgumentsPinned, DropArguments, PinArguments, Wanted
from thornback.core.objects.entry import Entry
from thornback.core.objects.pulls import Missing, Pulls
from thornback.core.objects.room import Key, Rank
from thornback.core.objects.store import NodeStore


class Request:
    """What one task needs."""

    __slots__ = ("awaited", "key", "objects", "over", "pinned", "sender")

    def __init__(self, sender: Address, number: int, objects: tuple[Wanted, ...]) -> None:
        self.sender = sender
        self.key: Key = (sender, b"arguments %d" % number)
        self.objects = objects
        self.pinned: list[Entry] = []
        self.awaited = 0
        """Objects that have their room and are on their way into it."""
        self.over = False
        """Answered, dropped, or begun anew as another request."""


class ArgumentRequests:
    """All requests of the workers of one node."""

    def __init__(self, store: NodeStore, pulls: Pulls) -> None:
        self._store = store
        self._pulls = pulls
        self.requests: dict[tuple[Address, int], Request] = {}

    def on_pin_arguments(self, sender: Address, message: PinArguments) -> None:
        """A task wants to start, or one that starts later wants to be ready."""
        if self._store.is_dead(sender):
            return
        key = (sender, message.request)
        request = self.requests.get(key)
        rank = Rank.AHEAD if message.ahead else Rank.ARGUMENTS
        if request is None:
            self._begin(key, message.objects, rank)
        elif not message.ahead and self._store.room.withdraw(request.key):
            self._demand(key, request, rank)

    def on_drop_arguments(self, sender: Address, message: DropArguments) -> None:
        """The task goes elsewhere, or makes way for others."""
        request = self.requests.get((sender, message.request))
        if request is not None:
            self._end((sender, message.request), request)

    def process_died(self, address: Address) -> None:
        """A worker or node has ended: what its tasks wanted is void."""
        for key in [key for key in self.requests if key[0].startswith(address)]:
            self._end(key, self.requests[key])

    def _begin(self, key: tuple[Address, int], objects: tuple[Wanted, ...], rank: Rank) -> None:
        request = self.requests[key] = Request(key[0], key[1], objects)
        self._demand(key, request, rank)

    def _demand(self, key: tuple[Address, int], request: Request, rank: Rank) -> None:
        capacity = self._store.allocator.capacity
        total = sum(wanted.size for wanted in request.objects if wanted.size <= capacity)
        if total <= capacity:
            self._wait(key, request, rank, lambda: self._attempt(key, request))
        elif not self._store.outside.possible:
            text = f"the arguments of one task are {total:,} bytes together; the object store has {capacity:,}"
            self._fail(key, request, request.objects[0], (), text, True)
        elif rank == Rank.AHEAD:
            self._wait(key, request, rank, lambda: False)
        else:
            self._one_by_one(key, request)

    def _wait(self, key: tuple[Address, int], request: Request, rank: Rank, attempt: Callable[[], bool]) -> None:
        """For room for all at once."""
        store = self._store
        size = sum(wanted.size for wanted in request.objects if self._needs_room(wanted))
        if store.outside.possible:
            store.demand(request.key, size, rank, attempt, lambda: self._one_by_one(key, request), store.outside_after)
        else:

            def fail() -> None:
                self._fail(key, request, request.objects[0], (), store.full(size), True)

            store.demand(request.key, size, rank, attempt, fail, store.config.allocation_wait)

    def _end(self, key: tuple[Address, int], request: Request) -> None:
        """Give everything back."""
        request.over = True
        del self.requests[key]
        self._store.withdraw(request.key)
        pinned, request.pinned = request.pinned, []
        for entry in pinned:
            self._store.let_go(entry, request.sender)

    # --- Room

    def _needs_room(self, wanted: Wanted) -> bool:
        entry = self._store.entries.get(wanted.object_id)
        return entry is None or entry.offset < 0

    def _attempt(self, key: tuple[Address, int], request: Request) -> bool:
        store = self._store
        present = self._hold_present(request)
        offsets = self._take_room([wanted for wanted in request.objects if self._needs_room(wanted)])
        if offsets is None:
            for entry in present:
                store.hold_no_more(entry, request.sender)
            return False
        request.pinned = present
        self._fill(key, request, offsets)
        return True

    def _one_by_one(self, key: tuple[Address, int], request: Request) -> None:
        """Each object finds room of its own. No circle can form by that: whoever waits for room then gets a file, or an
        error, after a time."""
        request.pinned = self._hold_present(request)
        self._fill(key, request, {})

    def _hold_present(self, request: Request) -> list[Entry]:
        store = self._store
        found = [entry for wanted in request.objects if (entry := store.entries.get(wanted.object_id)) is not None]
        present = [entry for entry in found if entry.in_memory]
        for entry in present:
            store.hold(entry, request.sender)
        return present

    def _take_room(self, missing: list[Wanted]) -> dict[bytes, int] | None:
        """Offsets for all of them, or None. What is larger than the memory is read where it lies and needs none."""
        store = self._store
        offsets: dict[bytes, int] = {}
        sizes = {wanted.object_id: wanted.size for wanted in missing}
        for wanted in missing:
            if wanted.size > store.allocator.capacity:
                continue
            offset = store.take(wanted.size)
            if offset is None:
                for object_id, taken in offsets.items():
                    store.give_back(taken, sizes[object_id])
                return None
            offsets[wanted.object_id] = offset
        return offsets

    def _fill(self, key: tuple[Address, int], request: Request, offsets: dict[bytes, int]) -> None:
        """Bring what is not in memory to the room that was taken for it."""
        store = self._store
        held = {entry.object_id for entry in request.pinned}
        request.awaited = 1
        for wanted in request.objects:
            if wanted.object_id in held:
                continue
            request.awaited += 1
            entry = store.entries.get(wanted.object_id)
            offset = offsets.get(wanted.object_id)
            if entry is None:
                self._pulls.pull_to(wanted, offset, self._pulled(key, request, wanted))
            elif not entry.sealed:
                entry.on_seal.append(self._sealed(key, request))
            elif offset is None:
                store.restoring.bring(entry, self._present(key, request, wanted, entry))
            else:
                store.restoring.bring_to(entry, offset, self._present(key, request, wanted, entry))
        self._one_done(key, request)

    # --- Arrivals

    def _pulled(
        self, key: tuple[Address, int], request: Request, wanted: Wanted
    ) -> Callable[[Entry | None, Missing | None], None]:
        def ended(entry: Entry | None, missing: Missing | None) -> None:
            if request.over:
                return
            if entry is not None:
                self._arrived(key, request, entry)
            elif missing is not None:
                self._fail(key, request, wanted, missing.nodes, missing.reason, missing.full)
            else:
                self._begin_anew(key, request)

        return ended

    def _sealed(self, key: tuple[Address, int], request: Request) -> Callable[[Entry | None], None]:
        def ended(entry: Entry | None) -> None:
            if request.over:
                return
            if entry is not None:
                self._arrived(key, request, entry)
            else:
                self._begin_anew(key, request)

        return ended

    def _present(
        self, key: tuple[Address, int], request: Request, wanted: Wanted, entry: Entry
    ) -> Callable[[str | None], None]:
        def ended(reason: str | None) -> None:
            if request.over:
                return
            if reason is None:
                self._arrived(key, request, entry)
            elif reason:
                self._fail(key, request, wanted, (), reason, True)
            else:
                self._fail(key, request, wanted, (self._store.node_id,), "its spill file is damaged", False)

        return ended

    def _arrived(self, key: tuple[Address, int], request: Request, entry: Entry) -> None:
        self._store.hold(entry, request.sender)
        request.pinned.append(entry)
        self._one_done(key, request)

    def _one_done(self, key: tuple[Address, int], request: Request) -> None:
        request.awaited -= 1
        if request.awaited == 0:
            request.over = True
            del self.requests[key]
            blocks = tuple((entry.object_id, entry.offset, entry.size) for entry in request.pinned)
            self._store.transport.send(request.sender, ArgumentsPinned(key[1], blocks))

    def _fail(
        self,
        key: tuple[Address, int],
        request: Request,
        wanted: Wanted,
        nodes: tuple[NodeId, ...],
        reason: str,
        full: bool,
    ) -> None:
        self._end(key, request)
        self._store.transport.send(request.sender, ArgumentsFailed(key[1], wanted.object_id, nodes, reason, full))

    def _begin_anew(self, key: tuple[Address, int], request: Request) -> None:
        """Something that was under way was given up; it is looked for from the start."""
        self._end(key, request)
        self._begin(key, request.objects, Rank.ARGUMENTS)
