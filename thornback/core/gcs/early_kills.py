"""Kills that have overtaken the registration of their actor: who kills it has its handle from the owner, sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import ActorId, Address, owner_of

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

KEPT = 1000
"""Oldest forgotten first: an actor that is not registered by then has ended long ago."""


class EarlyKills:
    """Actors that are to end as soon as they are registered."""

    name = "early_kills"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self._gcs = gcs
        self._wanted: dict[ActorId, None] = {}

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row."""
        self._wanted[key] = None

    def note(self, actor_id: ActorId) -> None:
        """Somebody wants an actor to end that is not known, yet or any more."""
        if actor_id in self._wanted or self._gcs.actors.is_dead(owner_of(actor_id)):
            return
        self._wanted[actor_id] = None
        self._gcs.journal.write(self.name, actor_id, b"1")
        if len(self._wanted) > KEPT:
            self.take(next(iter(self._wanted)))

    def take(self, actor_id: ActorId) -> bool:
        """Whether an actor that is registered now is to end; asked once."""
        if actor_id not in self._wanted:
            return False
        del self._wanted[actor_id]
        self._gcs.journal.write(self.name, actor_id, None)
        return True

    def process_died(self, address: Address) -> None:
        """An owner registers nothing any more."""
        for actor_id in [actor_id for actor_id in self._wanted if actor_id.startswith(address)]:
            self.take(actor_id)
