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


class NodeCore:
    """The decisions of one node process.

    Hosted like :class:`thornback.core.worker.WorkerCore`: every call is a turn, and :meth:`end_turn` follows.

    Args:
        node_id: new with each start of the process.
        name: for people.
        store: the GCS's tables; None on a node that is not the head.
        resources: integer units, see :mod:`thornback.core.resources`.
        gcs_ports: of the GCS, whose messages must come from the address :data:`GCS`; None: those of the raylet.
        disk: for spill files; None: objects stay in memory.
    """

    def __init__(
        self,
        node_id: NodeId,
        name: str,
        ports: Ports,
        processes: Processes,
        memory: ObjectMemory,
        store: DurableStore | None,
        config: Config,
        resources: Mapping[str, int],
        labels: Mapping[str, str],
        endpoint: str = "",
        gcs_ports: Ports | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.node_id = node_id
        self.name = name
        self.ports = ports
        is_head = store is not None
        self.raylet = Raylet(
            node_id, name, ports, processes, memory, config, resources, labels, endpoint, is_head, disk
        )
        self.gcs = None if store is None else GlobalControlStore(gcs_ports or ports, store, config)
        self._handlers = {node_id: handlers_of(self.raylet, *self.raylet.parts)}
        if self.gcs is not None:
            self._handlers[GCS] = handlers_of(self.gcs, *self.gcs.parts)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where this process takes messages."""
        return tuple(self._handlers)

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
        handler = self._handlers[to].get(type(message))
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
