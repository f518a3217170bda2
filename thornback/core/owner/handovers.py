"""References that one borrower hands to another: the owner's part.

A worker that returns somebody else's reference registers its caller with the owner, and then replies. Should the worker
end in between, the owner would keep a registration that nobody will ever give back. It therefore notes who registered
whom until the receiver says that the reference has come (HandoverTaken). When the giver ends first, the owner asks the
receiver: its answer means that everything it has confirmed was confirmed before and that it will take nothing more from
the giver, so what is still open is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import Address, ObjectId, WorkerId, owner_of
from thornback.core.messages import HandoversReviewed, HandoverTaken, ReviewHandovers
from thornback.core.ports import Transport

if TYPE_CHECKING:
    from thornback.core.owner.references import ReferenceTable


class Handovers:
    """Registrations made by third parties that their receivers have not confirmed."""

    def __init__(self, references: ReferenceTable, transport: Transport) -> None:
        self._references = references
        self._transport = transport
        self._open: dict[WorkerId, dict[WorkerId, dict[ObjectId, int]]] = {}
        """By giver, then by receiver: how many registrations of which object."""

    def __len__(self) -> int:
        return len(self._open)

    # --- The receiver

    def taken(self, object_id: ObjectId, giver: WorkerId) -> None:
        """A reference from ``giver`` has come: tell its owner."""
        self._transport.send(owner_of(object_id), HandoverTaken(object_id, giver))

    # --- The owner

    def given(self, giver: WorkerId, object_id: ObjectId, receiver: WorkerId) -> None:
        """``giver`` registers ``receiver``."""
        if self._references.is_dead(receiver):
            return
        self._references.peers.depend_on(giver)
        counts = self._open.setdefault(giver, {}).setdefault(receiver, {})
        counts[object_id] = counts.get(object_id, 0) + 1

    def on_handover_taken(self, sender: Address, message: HandoverTaken) -> None:
        """The receiver has it."""
        counts = self._open.get(message.giver, {}).get(sender)
        if counts is None or message.object_id not in counts:
            return
        counts[message.object_id] -= 1
        if counts[message.object_id] == 0:
            del counts[message.object_id]
            if not counts:
                self._close(message.giver, sender)

    def on_handovers_reviewed(self, sender: Address, message: HandoversReviewed) -> None:
        """The receiver takes nothing more from a giver that has ended."""
        counts = self._open.get(message.giver, {}).get(sender)
        if counts is not None:
            self._close(message.giver, sender)
            for object_id, count in counts.items():
                self._references.add_borrower(object_id, sender, -count)

    def _close(self, giver: WorkerId, receiver: WorkerId) -> None:
        receivers = self._open[giver]
        del receivers[receiver]
        if not receivers:
            del self._open[giver]

    def process_died(self, address: Address) -> None:
        """A giver or a receiver has ended."""
        for giver in list(self._open):
            for receiver in list(self._open[giver]):
                if receiver.startswith(address):
                    self._close(giver, receiver)
                elif giver.startswith(address):
                    self._transport.send(receiver, ReviewHandovers(giver))
