"""Who wants news of what: processes by subject, found again when one of them ends."""

from __future__ import annotations

from collections.abc import Iterable

from thornback.core.ids import Address, owner_of


class Subscribers:
    """Subscriptions of processes to actors or to placement groups, also to those that are not registered yet."""

    def __init__(self) -> None:
        self._of: dict[bytes, dict[Address, None]] = {}
        self._subjects: dict[Address, dict[bytes, None]] = {}

    def add(self, subject: bytes, subscriber: Address) -> None:
        """From now on the subscriber is among :meth:`of` the subject."""
        self._of.setdefault(subject, {})[subscriber] = None
        self._subjects.setdefault(subscriber, {})[subject] = None

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

    def process_died(self, address: Address) -> None:
        """A process or a node has ended, and wants no news any more."""
        for subscriber in [each for each in self._subjects if each.startswith(address)]:
            for subject in self._subjects.pop(subscriber):
                subscribers = self._of[subject]
                del subscribers[subscriber]
                if not subscribers:
                    del self._of[subject]

    def subjects_owned_by(self, address: Address) -> list[bytes]:
        """Subjects made by a process, or a process of a node, that somebody subscribed to."""
        return [subject for subject in self._of if owner_of(subject).startswith(address)]
