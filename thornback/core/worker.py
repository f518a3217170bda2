"""One worker or driver process: its owner and, in workers, its executor, behind one dispatch table."""

from __future__ import annotations

from thornback.core.config import Config
from thornback.core.dispatch import handlers_of
from thornback.core.executor import Executor
from thornback.core.ids import GCS, Address, JobId, WorkerId, node_of
from thornback.core.messages import Deaths, Message, RegisterWorker
from thornback.core.owner import Owner
from thornback.core.ports import ObjectMemory, Ports, UserCode
from thornback.core.waits.blocked import BlockedThreads
from thornback.core.waits.process import ProcessReasons


class WorkerCore:
    """The decisions of one worker or driver process.

    The world that hosts it calls the methods below, one at a time (each such call is a turn), and :meth:`end_turn`
    after one or several turns. It holds messages that are sent in a turn back until then, so that they travel together.

    Args:
        worker_id: made by ``NodeCore.new_worker_id`` of the node.
        user_code: None in a driver.
        job_id: 0 in a driver until the GCS has answered.
    """

    def __init__(
        self,
        worker_id: WorkerId,
        ports: Ports,
        memory: ObjectMemory,
        user_code: UserCode | None,
        config: Config,
        job_id: JobId = 0,
    ) -> None:
        self.worker_id = worker_id
        self.node_id = node_of(worker_id)
        self.config = config
        self.ports = ports
        self.owner = Owner(worker_id, ports, memory, config, job_id)
        self.executor = None if user_code is None else Executor(self.owner, ports, user_code, config)
        self.blocked = BlockedThreads(worker_id, ports, config)
        self.reasons = ProcessReasons(self.owner, self.executor, self.blocked)
        components: list[object] = [self, self.owner, *self.owner.parts, self.reasons]
        if self.executor is not None:
            components += [self.executor, *self.executor.parts]
        self._handlers = handlers_of(*components)

    @property
    def is_driver(self) -> bool:
        """Whether this process runs a user's program rather than tasks."""
        return self.executor is None

    @property
    def urgent(self) -> bool:
        """Whether what the last turns made should leave at once, because an idle process waits for it."""
        return self.owner.urgent

    def start(self, pid: int) -> None:
        """First turn: announce the process to its raylet."""
        if self.executor is not None:
            self.executor.pid = pid
        self.ports.transport.send(self.node_id, RegisterWorker(pid, self.is_driver))

    def receive(self, sender: Address, message: Message) -> None:
        """A message arrived."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(sender, message)

    def peer_down(self, address: Address, reason: str) -> None:
        """A process of this node, with which messages were exchanged, has ended."""
        if address not in (self.node_id, GCS):
            self._process_died(address, reason)

    def on_deaths(self, sender: Address, message: Deaths) -> None:
        """The raylet knows of processes or nodes that have ended."""
        for death in message.deaths:
            self._process_died(death.address, death.reason)

    def _process_died(self, address: Address, reason: str) -> None:
        self.owner.process_died(address, reason)
        if self.executor is not None:
            self.executor.process_died(address)

    def end_turn(self) -> None:
        """Settle what the last turns left: dropped references, queues to dispatch, replies to send."""
        if self.executor is not None:
            self.executor.end_turn()
        self.owner.end_turn()
