"""Ends of actors and placement groups that have overtaken their beginning: who ends one has it from its maker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import Address, TaskId, owner_of

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

KEPT = 1000
"""Oldest forgotten first: what is not known by then has ended long ago."""


class EarlyEnds:
    """Actors and placement groups that are to end as soon as they are known."""

    name = "early_ends"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self._gcs = gcs
        self._wanted: dict[TaskId, None] = {}

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row."""
        self._wanted[key] = None

    def note(self, subject: TaskId) -> None:
        """Somebody wants something to end that is not known, yet or any more."""
        if subject in self._wanted or self._gcs.actors.is_dead(owner_of(subject)):
            return
        self._wanted[subject] = None
        self._gcs.journal.write(self.name, subject, b"1")
        if len(self._wanted) > KEPT:
            self.take(next(iter(self._wanted)))

    def take(self, subject: TaskId) -> bool:
        """Whether something that is heard of now is to end; asked once."""
        if subject not in self._wanted:
            return False
        del self._wanted[subject]
        self._gcs.journal.write(self.name, subject, None)
        return True

    def process_died(self, address: Address) -> None:
        """It makes nothing any more."""
        for subject in [subject for subject in self._wanted if subject.startswith(address)]:
            self.take(subject)
