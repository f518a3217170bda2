"""What this process knows of the contents of objects: asking owners, telling borrowers, keeping track of copies."""

from __future__ import annotations

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
    ObjectUnavailable,
    PrimaryMoved,
    Stored,
    Value,
)
from thornback.core.owner.references import Reference, ReferenceTable
from thornback.core.ports import Ports
from thornback.core.serialization import error_value


class Objects:
    """Contents of owned and borrowed objects.

    Args:
        recover: called with an owned reference all of whose copies are lost; returns "" if it will be rebuilt, else
            why that cannot be done.
        is_made_now: whether a worker may be making the object now.
    """

    def __init__(
        self,
        references: ReferenceTable,
        ports: Ports,
        recover: Callable[[Reference], str],
        is_made_now: Callable[[ObjectId], bool],
    ) -> None:
        self.references = references
        self.node_id = node_of(references.worker_id)
        self.transport = ports.transport
        self.trace = ports.trace
        self.recover = recover
        self.is_made_now = is_made_now
        self._news: list[Reference] = []
        """Whose watchers are being told, and then those that wait for it."""

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
        elif reference.local <= 0:
            self.references.settle(reference)

    def _notify(self, reference: Reference) -> None:
        """Tell those who watch. What they make known in turn is told after that, not within: a chain of tasks that fail
        with each other may be longer than calls can be nested."""
        self._news.append(reference)
        if len(self._news) > 1:
            return
        try:
            for known in self._news:
                watchers, known.watchers = known.watchers, None
                if watchers is not None:
                    for call in watchers if isinstance(watchers, dict) else (watchers,):
                        call(known)
                if known.owned:
                    self.references.settle(known)
        finally:
            self._news.clear()

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
        else:
            self.references.peers.depend_on(borrower)
            if reference.asking is None:
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
        self.free_strays(reference)
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

    def free_strays(self, reference: Reference) -> None:
        """Delete what was made by runs that do not count. The next run must not take it for its own: it may contain
        references to what has ended with its worker."""
        if reference.strays:
            strays, reference.strays = reference.strays, ()
            self.free(reference.object_id, strays)

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
        elif content is None and not self.is_made_now(message.object_id):
            self.free(message.object_id, (node,))
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
