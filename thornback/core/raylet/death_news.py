"""Who is told of the end of a process: those whom it concerns, whenever that begins.

A process that comes to depend on another one, in whatever way, asks its own raylet to watch it (WatchProcesses), and
that raylet the one of the other's node: it alone knows for certain whether a process of its node lives. An answer
follows in any case, at once if the process has ended, or when it does; or the end of its node takes the place of that,
which the GCS tells to all. So nobody who asks can miss an end, however late he asks, and neither the GCS nor nodes that
have nothing to do with a process hear of it.
"""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.ids import GCS, Address, NodeId, WorkerId, is_node, node_of
from thornback.core.messages import Death, Deaths, WatchProcesses
from thornback.core.ports import Transport
from thornback.core.subscribers import Subscribers


class DeathNews:
    """Which processes are watched for whom: for processes of this node, for other nodes, and for this node itself.

    Args:
        is_dead: whether a process, or its node, is known to have ended.
        lives: whether a process of this node lives.
    """

    def __init__(
        self,
        node_id: NodeId,
        transport: Transport,
        is_dead: Callable[[Address], bool],
        lives: Callable[[WorkerId], bool],
    ) -> None:
        self._node_id = node_id
        self._transport = transport
        self._is_dead = is_dead
        self._lives = lives
        self._watchers = Subscribers()

    def __len__(self) -> int:
        return len(self._watchers)

    def depend_on(self, process: Address) -> None:
        """This node keeps something that must go with a process, which has not ended as far as is known."""
        if process != GCS and node_of(process) != self._node_id and not is_node(process):
            self._watch(process, self._node_id)

    def on_watch_processes(self, sender: Address, message: WatchProcesses) -> None:
        """A process of this node, or another node, wants to be told."""
        for process in message.processes:
            is_here = node_of(process) == self._node_id
            if self._is_dead(process) or (is_here and not self._lives(process)):
                self._transport.send(sender, Deaths((Death(process, "it has ended"),)))
            else:
                self._watch(process, sender)

    def _watch(self, process: WorkerId, watcher: Address) -> None:
        if node_of(process) != self._node_id and not self._watchers.of(process):
            self._transport.send(node_of(process), WatchProcesses((process,)))
        self._watchers.add(process, watcher)

    def ended(self, death: Death) -> None:
        """A process has ended, here or elsewhere: tell its watchers. Whatever it has watched itself is void."""
        for watcher in self._watchers.of(death.address):
            if watcher != self._node_id:
                self._transport.send(watcher, Deaths((death,)))
        self._watchers.drop_subject(death.address)
        self._watchers.process_died(death.address)

    def node_died(self, node: NodeId) -> None:
        """A node has ended, which all are told: nothing of it is watched any more, and nothing for it."""
        for process in self._watchers.subjects_owned_by(node):
            self._watchers.drop_subject(process)
        self._watchers.process_died(node)
