"""Who wants news of what: processes and nodes by subject, found again when one of them ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from thornback.core.ids import Address, WorkerId, is_node, owner_of


class Subscribers:
    """Subscriptions to actors, placement groups or processes, also to those that are not known yet."""

    def __init__(self) -> None:
        self._of: dict[bytes, dict[Address, None]] = {}
        self._subjects: dict[Address, dict[bytes, None]] = {}
        self._by_owner: dict[WorkerId, dict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def add(self, subject: bytes, subscriber: Address) -> None:
        """From now on the subscriber is among :meth:`of` the subject."""
        self._of.setdefault(subject, {})[subscriber] = None
        self._subjects.setdefault(subscriber, {})[subject] = None
        self._by_owner.setdefault(owner_of(subject), {})[subject] = None

    def of(self, subject: bytes) -> Iterable[Address]:
        """In the order of their subscriptions."""
        return tuple(self._of.get(subject, ()))

    def drop_subject(self, subject: bytes) -> None:
        """There will be no more news of it."""
        for subscriber in self._of.pop(subject, ()):
            subjects = self._subjects[subscriber]
            del subjects[subject]
            if not subjects:
                del self._subjects[subscriber]
        self._forget(subject)

    def process_died(self, address: Address) -> None:
        """A process or a node has ended, and wants no news any more."""
        for subscriber in _at(address, self._subjects):
            for subject in self._subjects.pop(subscriber):
                subscribers = self._of[subject]
                del subscribers[subscriber]
                if not subscribers:
                    del self._of[subject]
                    self._forget(subject)

    def subjects_owned_by(self, address: Address) -> list[bytes]:
        """Subjects made by a process, or a process of a node, that somebody subscribed to."""
        return [subject for owner in _at(address, self._by_owner) for subject in self._by_owner[owner]]

    def _forget(self, subject: bytes) -> None:
        owner = owner_of(subject)
        subjects = self._by_owner.get(owner)
        if subjects is not None:
            subjects.pop(subject, None)
            if not subjects:
                del self._by_owner[owner]


def _at(address: Address, table: Mapping[Address, object]) -> list[Address]:
    """The keys that are the process, or belong to the node."""
    if is_node(address):
        return [key for key in table if key.startswith(address)]
    return [address] if address in table else []
