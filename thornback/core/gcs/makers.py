"""Asks whoever made an actor or a placement group whether it is still to come.

Somebody may ask for one that is not in the tables while its maker lives: its registration is under way, or it has ended
so long ago that the tables have forgotten it. The maker knows which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import Address, TaskId, owner_of
from thornback.core.messages import AskMaker, NotComing

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore


class Makers:
    """Those who made the actors and placement groups that are not in the tables."""

    def __init__(self, gcs: GlobalControlStore) -> None:
        self._gcs = gcs

    def ask(self, subject: TaskId) -> None:
        """Somebody wants news of it, and it is unknown."""
        self._gcs.ports.transport.send(owner_of(subject), AskMaker(subject))

    def on_not_coming(self, sender: Address, message: NotComing) -> None:
        """The maker has not registered it before this message, and never will."""
        subject = message.subject
        if subject not in self._gcs.actors.table:
            self._gcs.actors.news.never_comes(subject, "it has ended")
        if subject not in self._gcs.groups.table:
            self._gcs.groups.never_comes(subject)
