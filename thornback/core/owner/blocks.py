"""Large objects that this process reads: pinned in the node's shared memory for as long as there are views of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from thornback.core import errors
from thornback.core.config import Config
from thornback.core.ids import Address, ObjectId, node_of
from thornback.core.messages import ObjectPinned, PinFailed, PinObject, Stored, TrimPins, UnpinObject, Value
from thornback.core.owner.objects import Objects
from thornback.core.owner.references import Reference
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


class Blocks:
    """What this process has pinned in its node's shared memory.

    Attributes:
        table: by object; one pin serves all readers of this process.
    """

    def __init__(self, objects: Objects, ports: Ports, memory: ObjectMemory, config: Config) -> None:
        self.objects = objects
        self.references = objects.references
        self.node_id = node_of(objects.references.worker_id)
        self.transport = ports.transport
        self.trace = ports.trace
        self.memory = memory
        self.clock = ports.clock
        self.pin_hold = config.pin_hold
        self.table: dict[ObjectId, Block] = {}
        self.views_ended: deque[ObjectId] = deque()
        """Filled from any thread as views are collected; emptied in :meth:`end_turn`."""
        self.before_trim: Callable[[], None] = _nothing
        """Called when the raylet needs room, before unused pins are given back."""
        self._idle: dict[ObjectId, None] = {}
        """Blocks without users, and (below) those that were so at the last look already."""
        self._idle_before: dict[ObjectId, None] = {}
        self._idle_timer = False
        self._pinning: dict[ObjectId, list[Callable[[Block | None], None]]] = {}

    def make_local(self, reference: Reference, done: Callable[[Block | None], None]) -> None:
        """Call ``done`` once the value can be read here: with a block to read from (its ``users`` count includes the
        caller), or None if ``reference.content`` is an inline value. The caller holds the reference meanwhile."""
        content = reference.content
        if content is None:
            self.objects.watch(reference, lambda known: self.make_local(known, done))
        elif isinstance(content, Value):
            done(None)
        else:
            block = self.table.get(reference.object_id)
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
        block = self.table.get(object_id)
        if block is None:
            block = self.table[object_id] = Block(offset, size)
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
        self.objects.not_there(reference, message.nodes)
        for done in waiting:
            self.make_local(reference, done)

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
        block = self.table.get(object_id)
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
        del self.table[object_id]
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
            block = self.table.get(object_id)
            if block is not None and block.users == 0:
                self._unpin(object_id)
        idle.clear()

    def on_trim_pins(self, sender: Address, message: TrimPins) -> None:
        """The raylet needs room."""
        self.before_trim()
        self._unpin_idle(self._idle_before)
        self._unpin_idle(self._idle)

    def forgotten(self, object_id: ObjectId) -> None:
        """Nothing in this process refers to the object any more."""
        block = self.table.get(object_id)
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
