"""What this process knows of the contents of objects: asking owners, telling borrowers, pinning large ones here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from thornback.core import errors
from thornback.core.ids import Address, NodeId, ObjectId, node_of, owner_of, short
from thornback.core.messages import (
    Content,
    CopyChanged,
    FreeObjects,
    GetObject,
    KeepCopy,
    ObjectContent,
    ObjectPinned,
    ObjectUnavailable,
    PinFailed,
    PinObject,
    PrimaryMoved,
    Stored,
    TrimPins,
    UnpinObject,
    Value,
)
from thornback.core.owner.references import Reference, ReferenceTable
from thornback.core.ports import ObjectMemory, Ports
from thornback.core.serialization import error_value


class Block:
    """An object in this node's shared memory that this process reads."""

    __slots__ = ("failure", "offset", "size", "users")

    def __init__(self, offset: int, size: int, failure: Value | None = None) -> None:
        self.offset = offset
        self.size = size
        self.failure = failure
        """Why the object cannot be read here now, as the error to raise; there is no memory then."""
        self.users = 0
        """Views, and readers that are about to make one. At zero the pin is given back."""


class Objects:
    """Contents of owned and borrowed objects.

    Args:
        recover: called with an owned reference all of whose copies are lost; returns "" if it will be rebuilt, else
            why that cannot be done.
        pin_hold: see :attr:`thornback.core.config.Config.pin_hold`.
    """

    def __init__(
        self,
        references: ReferenceTable,
        ports: Ports,
        memory: ObjectMemory,
        recover: Callable[[Reference], str],
        pin_hold: int,
    ) -> None:
        self.references = references
        self.node_id = node_of(references.worker_id)
        self.transport = ports.transport
        self.trace = ports.trace
        self.memory = memory
        self.recover = recover
        self.clock = ports.clock
        self.pin_hold = pin_hold
        self.blocks: dict[ObjectId, Block] = {}
        self.views_ended: deque[ObjectId] = deque()
        """Filled from any thread as views are collected; emptied in :meth:`end_turn`."""
        self.before_trim: Callable[[], None] = _nothing
        """Called when the raylet needs room, before unused pins are given back."""
        self._idle: dict[ObjectId, None] = {}
        """Blocks without users, and (below) those that were so at the last look already."""
        self._idle_before: dict[ObjectId, None] = {}
        self._idle_timer = False
        self._pinning: dict[ObjectId, list[Callable[[Block | None], None]]] = {}

    # --- Contents

    def set_content(self, reference: Reference, content: Content) -> None:
        """An owned object has been made, or has failed. The references inside it are held already."""
        reference.content = content
        if self.trace.enabled:
            self.trace.event("object.ready", reference.object_id, content)
        if reference.asking is not None:
            askers, reference.asking = reference.asking, None
            for borrower in askers:
                self.transport.send(borrower, ObjectContent(reference.object_id, content))
        if reference.watchers is not None:
            self._notify(reference)
        if reference.local <= 0:
            self.references.settle(reference)

    def _notify(self, reference: Reference) -> None:
        if reference.watchers is not None:
            watchers, reference.watchers = reference.watchers, None
            for call in watchers if isinstance(watchers, dict) else (watchers,):
                call(reference)

    def watch(self, reference: Reference, call: Callable[[Reference], None]) -> None:
        """``call(reference)`` once when the content is known, which it is not yet; an owner elsewhere is asked. An
        equal ``call`` that watches already is not added."""
        watchers = reference.watchers
        if watchers is None:
            reference.watchers = call
        elif isinstance(watchers, dict):
            watchers[call] = None
        elif watchers != call:
            reference.watchers = {watchers: None, call: None}
        if not reference.owned or reference.released:
            self.ask(reference)

    def unwatch(self, object_ids: Iterable[ObjectId], call: Callable[[Reference], None]) -> None:
        """The caller of ``watch`` lost interest."""
        for object_id in object_ids:
            reference = self.references.table.get(object_id)
            if reference is None:
                continue
            if isinstance(reference.watchers, dict):
                reference.watchers.pop(call, None)
            elif reference.watchers == call:
                reference.watchers = None

    def ask(self, reference: Reference) -> None:
        """Make sure that the content of a borrowed object comes here when there is one."""
        if reference.owned or reference.content is not None or reference.asked:
            if reference.owned and reference.released and reference.content is None:
                self.set_content(reference, self.lost(reference.object_id, "it was freed when nobody referred to it"))
            return
        owner = owner_of(reference.object_id)
        reference.asked = True
        if self.references.is_dead(owner):
            self._owner_died(reference)
        else:
            self.transport.send(owner, GetObject(reference.object_id))

    def on_get_object(self, sender: Address, message: GetObject) -> None:
        """A borrower wants the content."""
        self._answer(sender, self.references.lookup(message.object_id))

    def _answer(self, borrower: Address, reference: Reference) -> None:
        if reference.released and reference.content is None:
            content = self.lost(reference.object_id, "it was freed when nobody referred to it")
            self.transport.send(borrower, ObjectContent(reference.object_id, content))
            self.references.settle(reference)
        elif reference.content is not None:
            self.transport.send(borrower, ObjectContent(reference.object_id, reference.content))
        elif reference.asking is None:
            reference.asking = [borrower]
        else:
            reference.asking.append(borrower)

    def on_object_content(self, sender: Address, message: ObjectContent) -> None:
        """The owner has answered."""
        reference = self.references.table.get(message.object_id)
        if reference is not None and reference.asked and not reference.owned:
            reference.asked = False
            reference.content = message.content
            self._notify(reference)

    def lost(self, object_id: ObjectId, reason: str) -> Value:
        """The error value of an object that is gone."""
        return error_value(errors.ObjectLostError(f"object {short(object_id)} is lost: {reason}", object_id.hex()))

    def _owner_died(self, reference: Reference) -> None:
        if self.trace.enabled:
            self.trace.event("object.owner_died", reference.object_id, self.references.worker_id)
        owner = short(owner_of(reference.object_id))
        text = f"object {short(reference.object_id)} is lost: its owner, process {owner}, has ended"
        reference.content = error_value(errors.OwnerDiedError(text, reference.object_id.hex()))
        reference.asked = False
        self._notify(reference)

    # --- Copies

    def value_released(self, reference: Reference) -> None:
        """Nobody refers to an owned object: free its copies and let go of what it contains."""
        content, reference.content = reference.content, None
        if self.trace.enabled:
            self.trace.event("object.released", reference.object_id)
        if self.blocks:
            self.reference_forgotten(reference.object_id)
        if reference.strays:
            strays, reference.strays = reference.strays, ()
            self.free(reference.object_id, strays)
        if content is None:
            return
        if isinstance(content, Stored):
            self.free(reference.object_id, content.nodes)
        for object_id in content.contained:
            self.references.release(object_id)

    def free(self, object_id: ObjectId, nodes: Iterable[NodeId]) -> None:
        """Delete copies of an object that nobody refers to."""
        for node in nodes:
            if not self.references.is_dead(node):
                self.transport.send(node, FreeObjects((object_id,)))

    def report_copy(self, object_id: ObjectId) -> None:
        """This process has stored a value that no reply will name: its owner decides what becomes of it."""
        self.transport.send(owner_of(object_id), CopyChanged(object_id, True))

    def on_copy_changed(self, sender: Address, message: CopyChanged) -> None:
        """A node has fetched, or evicted, a copy of one of our objects."""
        node = node_of(sender)
        if self.references.is_dead(node):
            return
        reference = self.references.table.get(message.object_id)
        if reference is None or reference.released:
            if message.present:
                self.free(message.object_id, (node,))
            return
        content = reference.content
        if not message.present:
            reference.strays = tuple(stray for stray in reference.strays if stray != node)
            if isinstance(content, Stored):
                self._drop_copies(reference, content, {node}, message.reason)
        elif not isinstance(content, Stored):
            if node not in reference.strays:
                reference.strays = (*reference.strays, node)
        elif node not in content.nodes:
            reference.content = Stored(content.size, (*content.nodes, node), content.contained)

    def on_primary_moved(self, sender: Address, message: PrimaryMoved) -> None:
        """A node that leaves has handed one of our objects on: its own copy may go."""
        reference = self.references.table.get(message.object_id)
        if reference is None or not reference.owned or self.references.is_dead(message.node):
            self.free(message.object_id, (sender,) if reference is None else ())
            return
        content = reference.content
        if isinstance(content, Stored) and not reference.released:
            others = (node for node in content.nodes if node not in (sender, message.node))
            reference.content = Stored(content.size, (message.node, *others), content.contained)
            self.transport.send(message.node, KeepCopy(message.object_id))
            self.free(message.object_id, (sender,))
        elif reference.released:
            self.free(message.object_id, (sender, message.node))

    def on_object_unavailable(self, sender: Address, message: ObjectUnavailable) -> None:
        """A borrower could not fetch it from these nodes."""
        reference = self.references.lookup(message.object_id)
        if isinstance(reference.content, Stored):
            self._give_up_copies(reference, reference.content, message.nodes)
        self._answer(sender, reference)

    def _give_up_copies(self, reference: Reference, content: Stored, nodes: tuple[NodeId, ...]) -> None:
        """Copies could not be read where they should be: whatever is left of them must not stay there for ever."""
        self.free(reference.object_id, [node for node in nodes if node in content.nodes])
        self._drop_copies(reference, content, set(nodes))

    def _drop_copies(self, reference: Reference, content: Stored, gone: set[NodeId], why: str = "") -> None:
        nodes = tuple(node for node in content.nodes if node not in gone)
        if len(nodes) == len(content.nodes):
            return
        if nodes:
            reference.content = Stored(content.size, nodes, content.contained)
            if nodes[0] != content.nodes[0]:
                self.transport.send(nodes[0], KeepCopy(reference.object_id))
            return
        reference.content = None
        for object_id in content.contained:
            self.references.release(object_id)
        if self.trace.enabled:
            self.trace.event("object.lost", reference.object_id)
        if not reference.released:
            self.rebuild(reference, why)

    def rebuild(self, reference: Reference, why: str = "") -> None:
        """An owned object whose copies are gone is made again, or fails."""
        obstacle = self.recover(reference)
        if obstacle and reference.content is None:
            reason = f"{why or 'all nodes that had it are gone'}, and it cannot be made again: {obstacle}"
            text = f"object {short(reference.object_id)} is lost: {reason}"
            error = errors.ObjectReconstructionFailedError(text, reference.object_id.hex())
            self.set_content(reference, error_value(error))

    def process_died(self, address: Address) -> None:
        """Drop copies on a node that died; fail what was owned there."""
        for reference in list(self.references.table.values()):
            content = reference.content
            if reference.owned:
                if isinstance(content, Stored) and address in content.nodes:
                    self._drop_copies(reference, content, {address})
                if reference.asking is not None:
                    reference.asking = [asker for asker in reference.asking if not asker.startswith(address)] or None
            elif reference.object_id.startswith(address) and not isinstance(content, Value):
                self._owner_died(reference)

    # --- Reading large objects

    def make_local(self, reference: Reference, done: Callable[[Block | None], None]) -> None:
        """Call ``done`` once the value can be read here: with a block to read from (its ``users`` count includes the
        caller), or None if ``reference.content`` is an inline value. The caller holds the reference meanwhile."""
        content = reference.content
        if content is None:
            self.watch(reference, lambda known: self.make_local(known, done))
        elif isinstance(content, Value):
            done(None)
        else:
            block = self.blocks.get(reference.object_id)
            if block is not None:
                block.users += 1
                done(block)
            else:
                self._pin(reference.object_id, content, done)

    def _pin(self, object_id: ObjectId, content: Stored, done: Callable[[Block | None], None]) -> None:
        waiting = self._pinning.get(object_id)
        if waiting is not None:
            waiting.append(done)
        else:
            self._pinning[object_id] = [done]
            self.transport.send(self.node_id, PinObject(object_id, content.size, content.nodes))

    def on_object_pinned(self, sender: Address, message: ObjectPinned) -> None:
        """A large object is here and stays."""
        waiting = self._pinning.pop(message.object_id, None)
        if not waiting:
            self.transport.send(self.node_id, UnpinObject(message.object_id, 1))
            return
        block = self.adopt(message.object_id, message.offset, message.size, len(waiting))
        for done in waiting:
            done(block)

    def adopt(self, object_id: ObjectId, offset: int, size: int, users: int) -> Block:
        """The raylet has pinned an object for that many users of this process; one pin per process is enough."""
        block = self.blocks.get(object_id)
        if block is None:
            block = self.blocks[object_id] = Block(offset, size)
        else:
            self.transport.send(self.node_id, UnpinObject(object_id, 1))
        block.users += users
        return block

    def on_pin_failed(self, sender: Address, message: PinFailed) -> None:
        """No copy is where we thought; the owner must say where it is now."""
        waiting = self._pinning.pop(message.object_id, [])
        if message.full:
            error = error_value(errors.ObjectStoreFullError(message.reason))
            for done in waiting:
                done(Block(-1, 0, error))
            return
        reference = self.references.lookup(message.object_id)
        self.not_there(reference, message.nodes)
        for done in waiting:
            self.make_local(reference, done)

    def not_there(self, reference: Reference, nodes: tuple[NodeId, ...]) -> None:
        """These nodes do not have an object that should be there: the owner must say where it is now."""
        if reference.owned:
            if isinstance(reference.content, Stored):
                self._give_up_copies(reference, reference.content, nodes)
        elif isinstance(reference.content, Stored):
            reference.content = None
            reference.asked = True
            owner = owner_of(reference.object_id)
            if self.references.is_dead(owner):
                self._owner_died(reference)
            else:
                self.transport.send(owner, ObjectUnavailable(reference.object_id, nodes))

    def read(self, object_id: ObjectId, block: Block) -> memoryview:
        """A view of a block that ``make_local`` has given; its user count passes to the view."""
        ended = self.views_ended
        if self.trace.enabled:
            self.trace.event("object.read", object_id, (self.node_id, block.offset, block.size))

        def released() -> None:
            ended.append(object_id)

        return self.memory.read(block.offset, block.size, released)

    def unused(self, object_id: ObjectId) -> None:
        """One user of a block less. While the object is referred to, its pin is kept a moment for the next read."""
        block = self.blocks.get(object_id)
        if block is None:
            return
        block.users -= 1
        if block.users > 0:
            return
        if self.pin_hold > 0 and object_id in self.references.table:
            self._idle[object_id] = None
            if not self._idle_timer:
                self._idle_timer = True
                self.clock.call_after(self.pin_hold, self._idle_over)
        else:
            self._unpin(object_id)

    def _unpin(self, object_id: ObjectId) -> None:
        del self.blocks[object_id]
        self._idle.pop(object_id, None)
        self._idle_before.pop(object_id, None)
        self.transport.send(self.node_id, UnpinObject(object_id, 1))

    def _idle_over(self) -> None:
        self._idle_timer = False
        self._unpin_idle(self._idle_before)
        self._idle_before, self._idle = self._idle, {}
        if self._idle_before:
            self._idle_timer = True
            self.clock.call_after(self.pin_hold, self._idle_over)

    def _unpin_idle(self, idle: dict[ObjectId, None]) -> None:
        for object_id in list(idle):
            block = self.blocks.get(object_id)
            if block is not None and block.users == 0:
                self._unpin(object_id)
        idle.clear()

    def on_trim_pins(self, sender: Address, message: TrimPins) -> None:
        """The raylet needs room."""
        self.before_trim()
        self._unpin_idle(self._idle_before)
        self._unpin_idle(self._idle)

    def reference_forgotten(self, object_id: ObjectId) -> None:
        """Nothing in this process refers to the object any more."""
        block = self.blocks.get(object_id)
        if block is not None and block.users == 0:
            self._unpin(object_id)

    def end_turn(self) -> None:
        """Give back the pins of views that were collected."""
        ended = self.views_ended
        if ended:
            for object_id in sorted(ended.popleft() for _ in range(len(ended))):
                self.unused(object_id)


def _nothing() -> None:
    pass
