"""One node process: the raylet and, on the head node, the GCS."""

from __future__ import annotations

from collections.abc import Mapping

from thornback.core.config import Config
from thornback.core.dispatch import handlers_of
from thornback.core.gcs import GlobalControlStore
from thornback.core.ids import GCS, Address, NodeId, WorkerId
from thornback.core.messages import Message
from thornback.core.ports import Disk, DurableStore, ObjectMemory, Ports, Processes
from thornback.core.raylet import Raylet


class GcsCore:
    """The decisions of the GCS, in the node process of the head or in a process of its own.

    Hosted like :class:`thornback.core.worker.WorkerCore`: every call is a turn, and :meth:`end_turn` follows.

    Args:
        ports: its messages must come from the address :data:`GCS`.
        store: what an earlier GCS has left, and where this one writes.
    """

    def __init__(self, ports: Ports, store: DurableStore, config: Config) -> None:
        self.tables = GlobalControlStore(ports, store, config)
        self._handlers = handlers_of(self.tables, *self.tables.parts)

    def start(self) -> None:
        """First turn: go on where the last GCS was."""
        self.tables.start()

    def receive(self, sender: Address, message: Message) -> None:
        """A message arrived."""
        handler = self._handlers.get(type(message))
        if handler is not None and self.tables.incarnations.accepts(sender, message):
            handler(sender, message)

    def end_turn(self) -> None:
        """Make durable what was decided, then let it leave."""
        self.tables.end_turn()


class NodeCore:
    """The decisions of one node process.

    Hosted like :class:`thornback.core.worker.WorkerCore`: every call is a turn, and :meth:`end_turn` follows.

    Args:
        node_id: new with each start of the process.
        name: for people.
        resources: integer units, see :mod:`thornback.core.resources`.
        is_head: the program runs here, and the GCS.
        disk: for spill files; None: objects stay in memory.
        gcs: if it lives in the same process.
    """

    def __init__(
        self,
        node_id: NodeId,
        name: str,
        ports: Ports,
        processes: Processes,
        memory: ObjectMemory,
        config: Config,
        resources: Mapping[str, int],
        labels: Mapping[str, str],
        endpoint: str = "",
        is_head: bool = False,
        disk: Disk | None = None,
        gcs: GcsCore | None = None,
    ) -> None:
        self.node_id = node_id
        self.name = name
        self.ports = ports
        self.raylet = Raylet(
            node_id, name, ports, processes, memory, config, resources, labels, endpoint, is_head, disk
        )
        self.gcs = gcs
        self._handlers = handlers_of(self.raylet, *self.raylet.parts)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where this process takes messages."""
        return (self.node_id,) if self.gcs is None else (self.node_id, GCS)

    def start(self) -> None:
        """First turn: load the GCS's tables, register the node."""
        if self.gcs is not None:
            self.gcs.start()
        self.raylet.start()

    def new_worker_id(self) -> WorkerId:
        """The id for a process that is about to join this node (a driver; the raylet makes those of its workers)."""
        return self.raylet.new_worker_id()

    def receive(self, to: Address, sender: Address, message: Message) -> None:
        """A message arrived for the raylet or the GCS."""
        if to == GCS:
            if self.gcs is not None:
                self.gcs.receive(sender, message)
            return
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(sender, message)

    def peer_down(self, address: Address, reason: str) -> None:
        """A process of this node has closed its connection; for a worker ``worker_exited`` follows, for a driver this
        is its end."""
        self.raylet.peer_down(address, reason)

    def worker_exited(self, worker_id: WorkerId, detail: str) -> None:
        """A worker process has ended; ``detail`` says how (exit code, signal), for people."""
        self.raylet.worker_exited(worker_id, detail)

    def end_turn(self) -> None:
        """Settle what the last turns left."""
        self.raylet.end_turn()
        if self.gcs is not None:
            self.gcs.end_turn()
