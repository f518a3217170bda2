"""What the GCS has acknowledged is on disk, and stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from thornback.core.ids import GCS, is_node, short
from thornback.core.messages import (
    ActorRegistered,
    CheckpointSaved,
    Deaths,
    GroupUpdate,
    JobStarted,
    KeyValue,
    NodeView,
    PutKey,
)
from thornback.faults.invariants.base import Checker, Detail, Unsettled

if TYPE_CHECKING:
    from thornback.simulator.world import World


_node = msgspec.msgpack.Decoder(NodeView).decode


class Acknowledged(Checker):
    """Keeps all writes that were ever committed, and compares them with requests and answers and, in the end, with the
    tables."""

    name = "acknowledged writes"
    promise = "the GCS answers only after its write is durable, makes it once, and what it has acknowledged survives"

    def __init__(self) -> None:
        super().__init__()
        self._ever: dict[tuple[str, bytes], list[bytes | None]] = {}
        self._puts: dict[tuple[bytes, int], tuple[bytes, int]] = {}
        """By sender and number of the request: its key, and how often that had been committed by then."""
        self._answers: dict[tuple[bytes, int], bytes | None] = {}
        self._asked: Counter[tuple[bytes, bytes | None]] = Counter()
        """How many requests there were to set a key to a value."""
        self._changed: Counter[tuple[bytes, bytes | None]] = Counter()
        """How often a key has become a value that it did not have before."""

    def on_gcs_committed(self, time: int, subject: bytes, detail: Detail) -> None:
        """A row is on disk; None as its value means that it was removed."""
        ever = self._ever.setdefault((detail.table, subject), [])
        if detail.table == "keys" and detail.value != (ever[-1] if ever else None):
            self._key_changed(subject, detail.value)
        ever.append(detail.value)

    def _key_changed(self, key: bytes, value: bytes | None) -> None:
        self._changed[key, value] += 1
        if self._changed[key, value] > self._asked[key, value]:
            text = (
                f"key {key.decode()!r} has become {value!r} {self._changed[key, value]} times, and "
                f"{self._asked[key, value]} requests asked for that: a repeated one has undone a later write"
            )
            self.fail(key, "keys: a write was made twice", text)

    def _expect(self, table: str, key: bytes, what: str) -> None:
        if (table, key) not in self._ever:
            text = f"the GCS has acknowledged {what} before the write was durable"
            self.fail(key, f"{table}: acknowledged before it was durable", text)

    def saw_actor_registered(self, time: int, sender: bytes, to: bytes, message: ActorRegistered) -> None:
        """An owner learns that its actor is registered."""
        if not message.existing:
            self._expect("actors", message.actor_id, f"actor {short(message.actor_id)}")

    def saw_job_started(self, time: int, sender: bytes, to: bytes, message: JobStarted) -> None:
        """A driver learns its number."""
        if sender == GCS:
            self._expect("jobs", str(message.job_id).encode(), f"job {message.job_id}")

    def saw_group_update(self, time: int, sender: bytes, to: bytes, message: GroupUpdate) -> None:
        """A process learns that a group has its place."""
        if message.state == "CREATED":
            self._expect("placement_groups", message.group_id, f"group {short(message.group_id)}")

    def saw_checkpoint_saved(self, time: int, sender: bytes, to: bytes, message: CheckpointSaved) -> None:
        """An actor learns that its state is safe, and then so do its callers."""
        self._expect("checkpoints", message.actor_id, f"a checkpoint of actor {short(message.actor_id)}")

    def saw_deaths(self, time: int, sender: bytes, to: bytes, message: Deaths) -> None:
        """A node learns that others are given up for good: the next GCS must know it too."""
        for death in message.deaths if sender == GCS else ():
            rows = self._ever.get(("nodes", death.address), [])
            if is_node(death.address) and not any(row is None or not _node(row).alive for row in rows):
                text = f"the GCS has told of the end of node {short(death.address)} before that was durable"
                self.fail(death.address, "nodes: an end that was told before it was durable", text)

    def saw_put_key(self, time: int, sender: bytes, to: bytes, message: PutKey) -> None:
        """Somebody writes a key."""
        key = message.key.encode()
        if (sender, message.request) not in self._puts:
            self._puts[sender, message.request] = key, len(self._ever.get(("keys", key), ()))
            self._asked[key, message.value] += 1

    def saw_key_value(self, time: int, sender: bytes, to: bytes, message: KeyValue) -> None:
        """The answer to a write or read of a key."""
        if (to, message.request) not in self._puts:
            return
        key, before = self._puts[to, message.request]
        ever = self._ever.get(("keys", key), [])
        if len(ever) == before and message.value not in ever:  # One commit holds only the last of its writes.
            text = f"the GCS has acknowledged a write of key {key.decode()!r} before it was durable"
            self.fail(key, "keys: acknowledged before it was durable", text)
        elif self._answers.setdefault((to, message.request), message.value) != message.value:
            text = f"request {message.request} of {short(to)} for key {key.decode()!r} was answered in two ways"
            self.fail(key, "keys: a repeated write is answered otherwise", text)

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """Rows that the disk, or the GCS's memory, does not have."""
        process = world.nodes[0].gcs
        gcs = None if process is None or process.ended else process.core.tables
        rows = world.nodes[0].disk.rows
        for (table, key), values in self._ever.items():
            value = values[-1]
            if rows.get((table, key)) != value:
                yield Unsettled(f"{table}: a durable row is gone", f"row {key!r} of {table} is not on disk", key)
            elif gcs is not None and value is not None:
                if table == "keys" and gcs.keys.table.get(key.decode()) != value:
                    yield Unsettled(
                        "keys: not in memory", f"key {key!r} is on disk, and the GCS has another value", key
                    )
                if table == "actors" and key not in gcs.actors.table:
                    yield Unsettled("actors: not in memory", f"actor {short(key)} is on disk, and not in the GCS", key)
                if table == "checkpoints" and key not in gcs.checkpoints.table:
                    text = f"the checkpoint of {short(key)} is on disk, and not in the GCS"
                    yield Unsettled("checkpoints: not in memory", text, key)
                if table == "placement_groups" and key not in gcs.groups.table:
                    yield Unsettled("groups: not in memory", f"group {short(key)} is on disk, and not in the GCS", key)
