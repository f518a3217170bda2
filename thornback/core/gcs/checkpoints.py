"""The latest saved state of each actor that has checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from thornback.core.ids import ActorId, Address
from thornback.core.messages import ALIVE, Checkpoint, CheckpointSaved, SaveCheckpoint

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Checkpoint).decode


class CheckpointTable:
    """One checkpoint per live actor; it ends with the actor."""

    name = "checkpoints"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.table: dict[ActorId, Checkpoint] = {}

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row."""
        self.table[key] = decode(value)

    def on_save_checkpoint(self, sender: Address, message: SaveCheckpoint) -> None:
        """An actor has saved its state. One that is not the present incarnation has none to save."""
        actor = self.gcs.actors.table.get(message.actor_id)
        if actor is None or actor.state != ALIVE or actor.incarnation != message.incarnation:
            return
        checkpoint = message.checkpoint
        if checkpoint is None:
            self.gcs.actors.cannot_save(actor, message.error)
            return

        if self._is_news(message.actor_id, checkpoint):
            self.table[message.actor_id] = checkpoint
            self.gcs.journal.write(self.name, message.actor_id, encode(checkpoint))
        self.gcs.ports.transport.send(sender, CheckpointSaved(message.actor_id, checkpoint.number))

    def _is_news(self, actor_id: ActorId, checkpoint: Checkpoint) -> bool:
        """An incarnation that has ended may have saved more than its successor started from: that one counts on."""
        known = self.table.get(actor_id)
        if known is None:
            return True
        return (checkpoint.incarnation, checkpoint.number) > (known.incarnation, known.number)

    def actor_died(self, actor_id: ActorId) -> None:
        """It will not be started again."""
        if self.table.pop(actor_id, None) is not None:
            self.gcs.journal.write(self.name, actor_id, None)
