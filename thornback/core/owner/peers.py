"""Other processes that this one depends on, and which of them have ended."""

from __future__ import annotations

from thornback.core.deaths import DeadProcesses
from thornback.core.ids import WORKER_ID_SIZE, Address, WorkerId, is_node, node_of
from thornback.core.messages import WatchProcesses
from thornback.core.ports import Transport


class Peers:
    """What this process wants to be told of others, and what it has been told.

    The end of a node is told to all. Of the end of a single process only those learn that have said
    :meth:`depend_on`, of one that has ended long ago as well as of one that ends later: whoever keeps something that
    must go with another process calls it first.
    """

    __slots__ = ("_node_id", "_transport", "_watched", "_worker_id", "dead")

    def __init__(self, worker_id: WorkerId, transport: Transport) -> None:
        self.dead = DeadProcesses()
        self._worker_id = worker_id
        self._node_id = node_of(worker_id)
        self._transport = transport
        self._watched: dict[WorkerId, None] = {}

    def depend_on(self, process: Address) -> None:
        """The end of ``process`` concerns this one from now on. Nodes, the GCS and this process itself need not be
        watched."""
        if process in self._watched or process == self._worker_id or len(process) != WORKER_ID_SIZE:
            return
        if process not in self.dead:
            self._watched[process] = None
            self._transport.send(self._node_id, WatchProcesses((process,)))

    def died(self, address: Address) -> None:
        """A process or a node has ended."""
        self.dead.add(address)
        if is_node(address):
            for process in [process for process in self._watched if process.startswith(address)]:
                del self._watched[process]
        else:
            self._watched.pop(address, None)
