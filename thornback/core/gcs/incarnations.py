"""Which incarnation of the GCS this is, and which processes know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import Address, node_of
from thornback.core.messages import (
    BarrierPassed,
    CommitBarrier,
    GcsStarted,
    MeetGcs,
    Message,
    NodeDrained,
    NodeFenced,
    PutKey,
    RegisterActor,
    StartJob,
    SubscribeActor,
    SubscribeGroup,
)

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

_KEY = b"incarnation"
EPOCH_BITS = 32
"""Counters of an incarnation begin at its number shifted by so many bits, so that all are higher than any before."""

FOR_ITSELF = (MeetGcs, PutKey, RegisterActor, StartJob, SubscribeActor, SubscribeGroup)
"""What a process wants for itself, and what would stay in the tables if it was heard after its end. What it wanted of
others is done."""


class Incarnations:
    """Refuses what was meant for an earlier GCS.

    A process that knew an earlier one may have asked it for things that were lost with it. Until it has said that it
    knows of this one, and so repeats those first, nothing that it says is taken: later requests must not overtake
    earlier ones.
    """

    name = "gcs"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.transport = gcs.ports.transport
        self.present = 0
        """This incarnation; the first is 1."""
        self._met: dict[Address, None] = {}

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row."""
        self.present = int(value)

    def start(self) -> None:
        """This is the next incarnation; nobody hears of it before that is durable."""
        self.present += 1
        self.gcs.journal.write(self.name, _KEY, str(self.present).encode())
        self.gcs.journal.event("gcs.started", b"gcs", self.present)

    @property
    def epoch(self) -> int:
        """Where counters of this incarnation begin."""
        return self.present << EPOCH_BITS

    def announce(self, node: Address) -> None:
        """Tell a node that knew an earlier GCS."""
        self.transport.send(node, GcsStarted(self.present))

    def accepts(self, sender: Address, message: Message) -> bool:
        """Whether the sender knows whom it speaks to; it is told if not. Everybody knows the first incarnation. A node
        that was given up is fenced whatever it says, or one of its processes, unless it wanted to leave, and is not
        listened to."""
        node = node_of(sender)
        if self.gcs.nodes.is_dead(node):
            return self._is_leaving(node, message) and sender == node
        if type(message) in FOR_ITSELF and self.gcs.actors.is_dead(sender):
            return False
        if self.present == 1 or sender in self._met or type(message) is MeetGcs:
            return True
        self.announce(sender)
        return False

    def _is_leaving(self, node: Address, message: Message) -> bool:
        leaves = type(message) is NodeDrained
        if not leaves:
            self.transport.send(node, NodeFenced())
        return leaves

    def on_meet_gcs(self, sender: Address, message: MeetGcs) -> None:
        """A process knows of this GCS, or still of an earlier one."""
        if message.incarnation == self.present:
            self._met[sender] = None
        else:
            self.announce(sender)

    def on_commit_barrier(self, sender: Address, message: CommitBarrier) -> None:
        """The answer leaves, as every answer, when what was done before is durable."""
        if message.incarnation == self.present:
            self.transport.send(sender, BarrierPassed(message.number))
        else:
            self.announce(sender)

    def process_died(self, address: Address) -> None:
        """A process or node has ended."""
        for known in [known for known in self._met if known.startswith(address)]:
            del self._met[known]
