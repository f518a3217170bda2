"""Simulated processes: what hosts a ``NodeCore`` or a ``WorkerCore``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from thornback.core.config import Config
from thornback.core.ids import Address, WorkerId, short
from thornback.core.messages import Message, NodeRegistered, TaskReplies
from thornback.core.node import GcsCore, NodeCore
from thornback.core.owner.task import DONE
from thornback.core.ports import Ports
from thornback.core.worker import WorkerCore
from thornback.simulator.clock import ProcessClock
from thornback.simulator.engine import Event
from thornback.simulator.seeds import Streams

if TYPE_CHECKING:
    from thornback.simulator.links import Endpoint
    from thornback.simulator.network import Link
    from thornback.simulator.nodes import Node
    from thornback.simulator.threads import GreenletThread
    from thornback.simulator.user_code import SimulatedUserCode
    from thornback.simulator.world import World

RUNNING, PAUSED, ENDED = 0, 1, 2

Outbox = dict[Address, list[Message]]


class Process:
    """One operating-system process of a simulated node.

    Attributes:
        gate: RUNNING, PAUSED (its events wait) or ENDED (its events vanish).
        links: to whom it has sent, in order of the first message.
        incoming: who has sent to it, in order of the first message.
        endpoints: ends of its links over which messages can be lost.
        severed: ended peers whose link state it has dropped.
        before_send: called with the outbox before the messages of a turn leave; faults use it.
    """

    __slots__ = (
        "_pauses",
        "address",
        "before_send",
        "clock",
        "endpoints",
        "engine",
        "exit_reason",
        "gate",
        "incoming",
        "links",
        "node",
        "outbox",
        "pid",
        "postponed",
        "severed",
        "world",
    )

    def __init__(self, world: World, node: Node, address: Address, pid: int) -> None:
        self.world = world
        self.engine = world.engine
        self.node = node
        self.address = address
        self.pid = pid
        self.gate = PAUSED if node.pauses else RUNNING
        self._pauses = node.pauses
        self.outbox: Outbox = {}
        self.links: dict[Address, Link] = {}
        self.incoming: list[Process] = []
        self.endpoints: dict[Address, Endpoint] = {}
        self.severed: dict[Address, None] = {}
        self.postponed: list[Event] = []
        self.exit_reason: str | None = None
        self.before_send: Callable[[Outbox], None] | None = None
        self.clock = ProcessClock(self, node.clock)

    @property
    def ended(self) -> bool:
        """Whether it is gone for good."""
        return self.gate == ENDED

    def ports(self) -> Ports:
        """The doors of its core."""
        return Ports(self.clock, Streams(self.world.seed, self.address), self, self.world.trace)

    def send(self, to: Address, message: Message) -> None:
        """The ``Transport`` port: held back until the turn is over, then sent together."""
        box = self.outbox.get(to)
        if box is None:
            self.outbox[to] = [message]
        else:
            box.append(message)

    def receive(self, to: Address, sender: Address, messages: list[Message]) -> None:
        """A batch arrived: one turn."""
        raise NotImplementedError

    def peer_down(self, address: Address, detail: str) -> None:
        """A process of the same node that it spoke with has ended: one turn."""
        raise NotImplementedError

    def settle(self) -> None:
        """End the turn: let the core finish it, and send what it made."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what the turn made."""
        outbox = self.outbox
        if outbox:
            if self.before_send is not None:
                self.before_send(outbox)
                if self.gate == ENDED:
                    return
            self.outbox = {}
            post = self.world.network.post
            for to, messages in outbox.items():
                post(self, to, messages)

    def refuse(self, event: Event) -> None:
        """An event came due while the process does not run: keep it for later, or forget it."""
        if self.gate == PAUSED:
            self.postponed.append(event)

    def pause(self) -> None:
        """Stop taking events (SIGSTOP), until each pause has ended."""
        self._pauses += 1
        if self.gate == RUNNING:
            self.gate = PAUSED

    def resume(self) -> None:
        """A pause has ended. After the last one, events are taken again; those that came due meanwhile happen now, in
        order."""
        self._pauses -= 1
        if self.gate == PAUSED and not self._pauses:
            self.engine.call_after(0, self._go_on)

    def _go_on(self) -> None:
        if self.gate != PAUSED or self._pauses:
            return
        self.gate = RUNNING
        postponed, self.postponed = self.postponed, []
        for event in postponed:
            if not event.cancelled:
                event.run()

    def end(self) -> None:
        """Drop everything; called by the world only."""
        self.gate = ENDED
        self.outbox = {}
        self.postponed = []
        self.endpoints = {}


class NodeProcess(Process):
    """Hosts the raylet of a ``NodeCore``.

    Attributes:
        registered: whether the GCS has accepted it.
    """

    __slots__ = ("core", "registered")

    core: NodeCore

    def __init__(self, world: World, node: Node, address: Address, pid: int) -> None:
        super().__init__(world, node, address, pid)
        self.registered = False

    def receive(self, to: Address, sender: Address, messages: list[Message]) -> None:
        """A batch arrived: one turn."""
        receive = self.core.receive
        for message in messages:
            receive(to, sender, message)
        if not self.registered and any(isinstance(message, NodeRegistered) for message in messages):
            self.registered = True
        self.settle()

    def peer_down(self, address: Address, detail: str) -> None:
        """A worker or driver of this node has ended: one turn."""
        if address in self.node.workers:
            del self.node.workers[address]
            self.core.worker_exited(address, detail)
        else:
            self.core.peer_down(address, detail)
        self.settle()

    def settle(self) -> None:
        """End the turn; a node process that the cluster has given up starts anew."""
        if self.gate == ENDED:
            return
        raylet = self.core.raylet
        raylet.end_turn()
        if self.outbox:
            self.flush()
        if raylet.draining.left and self.gate != ENDED:
            self.node.crash("it has left the cluster")
        elif raylet.fenced and self.gate != ENDED:
            self.node.fenced()


class GcsProcess(Process):
    """Hosts a ``GcsCore``, on the head."""

    __slots__ = ("core",)

    core: GcsCore

    def receive(self, to: Address, sender: Address, messages: list[Message]) -> None:
        """A batch arrived: one turn."""
        receive = self.core.receive
        for message in messages:
            receive(sender, message)
        self.settle()

    def peer_down(self, address: Address, detail: str) -> None:
        """Nothing: the GCS learns of ends from raylets."""

    def settle(self) -> None:
        """End the turn."""
        self.core.end_turn()
        if self.outbox:
            self.flush()


class UserProcess(Process):
    """Hosts a ``WorkerCore``: a worker, or a driver (``user_code`` is None).

    Attributes:
        threads: its user threads, in order of their creation.
        number: counts the workers that were started on the node, from 0; -1 for a driver.
        is_program: it is the driver of the simulated program itself.
        beginning: threads that have got a task in this turn. One that was sent by a message begins in the same turn.
    """

    __slots__ = ("beginning", "core", "is_program", "number", "runtime", "started_through", "threads", "user_code")

    core: WorkerCore
    runtime: Any

    def __init__(self, world: World, node: Node, address: WorkerId, pid: int, number: int = -1) -> None:
        super().__init__(world, node, address, pid)
        self.number = number
        self.threads: list[GreenletThread] = []
        self.user_code: SimulatedUserCode | None = None
        self.started_through = -1
        self.is_program = False
        self.beginning: list[GreenletThread] = []

    @property
    def is_busy(self) -> bool:
        """Whether a task or actor method runs here."""
        executor = self.core.executor
        return executor is not None and bool(executor.running)

    def owns(self) -> int:
        """How much would be lost with it: unfinished tasks that it has submitted, its actors and its objects."""
        owner = self.core.owner
        unfinished = sum(task.state != DONE for task in owner.tasks.table.values())
        return unfinished + len(owner.actors.creations) + len(owner.references.table)

    def pending(self) -> list[str]:
        """For people: the unfinished tasks that this process has submitted."""
        unfinished = [task for task in self.core.owner.tasks.table.values() if task.state != DONE]
        return [f"task {task.template.name} of {short(self.address)} is {task.state}" for task in unfinished[:5]]

    def host(self, config: Config, user_code: SimulatedUserCode | None, job_id: int = 0) -> None:
        """Make the core."""
        self.user_code = user_code
        self.core = WorkerCore(self.address, self.ports(), self.node.memory, user_code, config, job_id)

    def receive(self, to: Address, sender: Address, messages: list[Message]) -> None:
        """A batch arrived: one turn."""
        receive = self.core.receive
        for message in messages:
            receive(sender, message)
        if len(self.beginning) == 1 and self.gate == RUNNING:
            self.beginning.pop().go_on()
        else:
            self.settle()

    def peer_down(self, address: Address, detail: str) -> None:
        """A process of this node that it spoke with has ended: one turn."""
        self.core.peer_down(address, detail)
        self.settle()

    def settle(self) -> None:
        """End the turn; a process that wants to exit does so now."""
        if self.gate == ENDED:
            return
        while self.beginning:
            self.beginning.pop(0).wake()
        self.core.end_turn()
        if self.outbox:
            self.flush()
        if self.exit_reason is not None and self.gate != ENDED:
            self.world.end_process(self, self.exit_reason)


def replies_in(outbox: Outbox) -> int:
    """How many task replies are about to leave."""
    return sum(
        len(message.replies) for messages in outbox.values() for message in messages if isinstance(message, TaskReplies)
    )
