"""The simulated network: batches of messages that arrive later, in order for each pair of processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappush
from typing import TYPE_CHECKING, Any

from thornback.core import messages as m
from thornback.core.ids import GCS, Address
from thornback.core.messages import Message
from thornback.simulator import seeds
from thornback.simulator.conditions import HEALTHY, Conditions, Rule
from thornback.simulator.engine import Engine, Event
from thornback.simulator.inside import BANDWIDTH, kind_of
from thornback.simulator.model import Model
from thornback.simulator.process import ENDED, Process
from thornback.simulator.trace import RunTrace

if TYPE_CHECKING:
    from thornback.simulator.links import Endpoint
    from thornback.simulator.triggers import Triggers

SMALL = 4096
"""Batches with less payload than this take no bandwidth."""
UNIT = 1 << 20
"""Bytes of code or of an error that count at once."""


def _of_calls(message: m.PushTasks | m.PushActorTasks) -> int:
    size = 0
    for call in message.tasks:
        size += call.arguments.size
    return size


def _of_code(definition: m.FunctionDefinition) -> int:
    return _whole_units(len(definition.blob))


def _whole_units(size: int) -> int:
    """Code and errors name the files that they come from: only what is large in them counts, or a run would depend on
    the folder in which the program lies."""
    return size // UNIT * UNIT


def _of_tasks(message: m.PushTasks) -> int:
    size = _of_calls(message)
    for definition in message.definitions:
        size += _of_code(definition)
    return size


def _of_replies(message: m.TaskReplies) -> int:
    size = 0
    for reply in message.replies:
        for content in reply.results:
            size += _of_content(content)
    return size


def _of_content(content: m.Content) -> int:
    if type(content) is not m.Value:
        return 0
    return _whole_units(content.size) if content.is_error else content.size


_PAYLOADS: dict[type[Message], Callable[[Any], int]] = {
    m.PushTasks: _of_tasks,
    m.PushActorTasks: _of_calls,
    m.TaskReplies: _of_replies,
    m.StreamItem: lambda message: _of_content(message.content),
    m.ObjectContent: lambda message: _of_content(message.content),
    m.ObjectChunk: lambda message: len(message.data),
    m.RegisterActor: lambda message: message.spec.arguments.size + _of_code(message.spec.definition),
    m.CreateActor: lambda message: message.spec.arguments.size + _of_code(message.spec.definition),
}


def payload_size(messages: list[Message]) -> int:
    """Bytes of user data in the messages."""
    size = 0
    for message in messages:
        measure = _PAYLOADS.get(type(message))
        if measure is not None:
            size += measure(message)
    return size


class Link:
    """From one process to another.

    Attributes:
        last: when its latest batch arrives; the next one arrives later.
        held: batches that wait for the end of a cut.
        epoch: grows with each reset; what is under way from an older one is lost.
    """

    __slots__ = ("epoch", "held", "is_local", "last", "source", "target")

    def __init__(self, source: Process, target: Process) -> None:
        self.source = source
        self.target = target
        self.is_local = source.node is target.node
        self.last = 0
        self.epoch = 0
        self.held: list[tuple[Address, list[Message], int]] = []


class Batch(Event):
    """Messages of one turn to one address arrive."""

    __slots__ = ("cause", "link", "messages", "network", "to")

    def __init__(self, network: Network, link: Link, to: Address, messages: list[Message], cause: int) -> None:
        self.network = network
        self.link = link
        self.to = to
        self.messages = messages
        self.cause = cause

    def run(self) -> None:
        """One turn of the receiver, unless it is gone."""
        link = self.link
        target = link.target
        if target.gate:
            target.refuse(self)
            return
        network = self.network
        messages = self.messages
        network.messages += len(messages)
        sender = link.source.address
        network.trace.delivered(sender, self.to, messages, self.cause)
        if network.triggers is None:
            target.receive(self.to, sender, messages)
        else:
            network.triggers.hand_over(self)

    def rest(self, begin: int) -> Batch:
        """The messages from that place on, which the target has not handled yet."""
        return Batch(self.network, self.link, self.to, self.messages[begin:], self.cause)


class PeerDown(Event):
    """A process learns that another one of its node has ended."""

    __slots__ = ("address", "detail", "process")

    def __init__(self, process: Process, address: Address, detail: str) -> None:
        self.process = process
        self.address = address
        self.detail = detail

    def run(self) -> None:
        """One turn of the process, unless it is gone."""
        if self.process.gate:
            self.process.refuse(self)
            return
        self.process.peer_down(self.address, self.detail)


@dataclass(slots=True)
class Losing:
    """The next messages of one kind are lost.

    Attributes:
        message: name of the kind.
        sender: node they come from, by index; None: any.
        left: how many.
    """

    message: str
    sender: int | None
    left: int

    def takes(self, link: Link, messages: list[Message]) -> bool:
        """Whether these messages, which travel together, are lost; counts them."""
        if not self.left or self.sender not in (None, link.source.node.index):
            return False
        lost = any(type(message).__name__ == self.message for message in messages)
        self.left -= lost
        return lost


class Network:
    """All links of a simulation.

    Args:
        lossy: messages between nodes may be lost, so that every link runs a protocol that sends them again.
        codec: encode and decode every message, as in the real world.

    Attributes:
        messages: delivered so far.
        payload: bytes of user data sent from node to node so far.
        conditions: the faults of now.
        triggers: what faults wait for, if they wait for messages.
        losing: kinds of messages of which the next ones are lost.
        post_listeners: called with sender, address and messages of each batch that is sent.
    """

    def __init__(
        self, engine: Engine, trace: RunTrace, model: Model, seed: int, lossy: bool = False, codec: bool = False
    ) -> None:
        self.engine = engine
        self.trace = trace
        self.model = model
        self.lossy = lossy
        self.codec = codec
        self.messages = 0
        self.payload = 0
        self.conditions = Conditions(self._released)
        self._inside: Conditions | None = None
        self.triggers: Triggers | None = None
        self.losing: list[Losing] = []
        self.post_listeners: list[Callable[[Process, Address, list[Message]], None]] = []
        self.directory: dict[Address, Process] = {}
        self._jitter = seeds.stream(seed, "network", "jitter").random
        self.resends = seeds.stream(seed, "network", "resends")
        """Jitter of repeated transmissions on links that lose messages."""
        self.chance = seeds.stream(seed, "network", "faults").random
        self._holding: list[Link] = []
        self._push = engine._queue

    @property
    def held(self) -> int:
        """Batches between processes that live, which wait for the end of a cut."""
        links = [link for link in self._holding if not (link.source.ended or link.target.ended)]
        return sum(len(link.held) for link in links)

    # --- Who is where

    def attach(self, process: Process, *addresses: Address) -> None:
        """From now on, ``process`` receives what is sent to ``addresses``."""
        for address in addresses:
            self.directory[address] = process

    def detach(self, process: Process, detail: str) -> dict[Address, Process]:
        """The process has ended; those of its node that spoke with it are told, and returned."""
        for address in (process.address, GCS):
            if self.directory.get(address) is process:
                del self.directory[address]
        told: dict[Address, Process] = {}
        for other in (*(link.target for link in process.links.values()), *process.incoming):
            if other.node is process.node and other.gate != ENDED and other is not process:
                told[other.address] = other
        for other in told.values():
            self.tell_down(other, process, detail)
        return told

    def tell_down(self, process: Process, ended: Process, detail: str) -> None:
        """Let ``process`` learn of the end of ``ended``, after all that it has sent."""
        link = ended.links.get(process.address)
        when = self.engine._now + self.model.local_latency
        self.engine.push(
            max(when, link.last + 1) if link is not None else when, PeerDown(process, ended.address, detail)
        )

    # --- Sending

    def post(self, source: Process, to: Address, messages: list[Message]) -> None:
        """Send what one turn of ``source`` made for ``to``."""
        link = source.links.get(to)
        if link is None or link.target.gate == ENDED:
            link = self._connect(source, to)
            if link is None:
                self._refuse(source, to)
                return
        if self.codec:
            messages = m.decode(m.encode(messages))
        for listener in self.post_listeners:
            listener(source, to, messages)
        engine = self.engine
        if link.is_local:
            if self._inside is not None:
                self._post_inside(link, to, messages, engine.current)
                return
            when = engine._now + self.model.local_latency
        elif self.lossy:
            self.endpoint(source, link).post(to, messages, engine.current)
            return
        elif self.conditions.active:
            self._post_under_faults(link, to, messages, engine.current)
            return
        else:
            when = engine._now + self._delay(source, messages)
        if when <= link.last:
            when = link.last + 1
        link.last = when
        batch = Batch(self, link, to, messages, engine.current)
        heappush(engine._queue, (when, engine._tie(), next(engine._numbers), batch))

    def _connect(self, source: Process, to: Address) -> Link | None:
        target = self.directory.get(to)
        if target is None:
            return None
        return self.link_between(source, target)

    def _refuse(self, source: Process, to: Address) -> None:
        """Nobody is there: on the same node, the sender is told as if it had been connected."""
        if to.startswith(source.node.node_id) and to not in source.severed and len(to) > len(source.node.node_id):
            source.severed[to] = None
            self.engine.push(self.engine._now + self.model.local_latency, PeerDown(source, to, "the process has ended"))

    def _delay(self, source: Process, messages: list[Message], factor: float = 1.0) -> int:
        model = self.model
        delay = model.latency + int(model.jitter * self._jitter())
        size = payload_size(messages)
        self.payload += size
        if size > SMALL:
            now = self.engine._now
            node = source.node
            node.egress_free = max(now, node.egress_free) + int(size / (model.bandwidth * factor) * 1e9)
            delay += node.egress_free - now
        return delay

    # --- Faults on links that do not lose messages

    def _post_under_faults(self, link: Link, to: Address, messages: list[Message], cause: int) -> None:
        state = self.conditions.between(link.source.node.index, link.target.node.index)
        if state.cut:
            kept = [message for message in messages if message.reliable]
            if kept:
                if not link.held:
                    self._holding.append(link)
                link.held.append((to, kept, cause))
            return
        delay = self._delay(link.source, messages, state.bandwidth) + state.delay + int(state.jitter * self.chance())
        link.last = max(self.engine._now + delay, link.last + 1)
        self.engine.push(link.last, Batch(self, link, to, messages, cause))

    def _released(self) -> None:
        """Conditions have changed: send what waited for the end of a cut."""
        waiting, self._holding = self._holding, []
        for link in waiting:
            held, link.held = link.held, []
            post = self._post_inside if link.is_local else self._post_under_faults
            for to, messages, cause in held:
                post(link, to, messages, cause)

    # --- Faults inside of nodes

    def inside_nodes(self) -> Conditions:
        """Rules for connections between processes of one node: the source is the node, the target the kind of link."""
        if self._inside is None:
            self._inside = Conditions(self._released)
        return self._inside

    def rule_between(self, source: Process, target: Process) -> Rule:
        """What is wrong with the way from one process to another."""
        if source.node is not target.node:
            return self.conditions.between(source.node.index, target.node.index)
        return HEALTHY if self._inside is None else self._inside.between(source.node.index, kind_of(source, target))

    def _post_inside(self, link: Link, to: Address, messages: list[Message], cause: int) -> None:
        """What waits behind a cut is lost with the process at either end."""
        source, target = link.source, link.target
        if ENDED in (source.gate, target.gate):
            return
        state = self.inside_nodes().between(source.node.index, kind_of(source, target))
        if state.cut:
            if not link.held:
                self._holding.append(link)
            link.held.append((to, messages, cause))
            return
        delay = self.model.local_latency + state.delay + int(state.jitter * self.chance())
        if state.bandwidth != 1.0:
            delay += int(payload_size(messages) / (BANDWIDTH * state.bandwidth) * 1e9)
        link.last = max(self.engine._now + delay, link.last + 1)
        self.engine.push(link.last, Batch(self, link, to, messages, cause))

    # --- Links that lose messages

    def endpoint(self, process: Process, link: Link) -> Endpoint:
        """The end of a lossy link at ``process``, which is the source of ``link``."""
        from thornback.simulator.links import Endpoint

        address = link.target.address
        found = process.endpoints.get(address)
        if found is not None and found.peer is not link.target:
            found.close()
            found = None
        if found is None:
            found = process.endpoints[address] = Endpoint(self, link)
        return found

    def link_between(self, source: Process, target: Process) -> Link:
        """The link in that direction; made if needed."""
        link = source.links.get(target.address)
        if link is None or link.target is not target:
            link = Link(source, target)
            source.links[target.address] = link
            target.incoming.append(source)
        return link

    def transmission_delay(self, link: Link, messages: list[Message], factor: float) -> int:
        """How long these messages take, in nanoseconds, waiting for bandwidth included."""
        return self._delay(link.source, messages, factor)

    def reset(self, first: int, second: int) -> None:
        """Lose all that is under way between two nodes, given by index."""
        for process in list(self.directory.values()):
            for link in process.links.values():
                if {link.source.node.index, link.target.node.index} == {first, second}:
                    link.epoch += 1

    def loses(self, link: Link, messages: list[Message]) -> bool:
        """Whether these messages, about to be transmitted together, are among those to be lost."""
        return any(losing.takes(link, messages) for losing in self.losing)

    def forget_ended(self, process: Process, addresses: list[Address]) -> None:
        """``process`` was told that these processes or nodes have ended: drop the state of its links to those that
        really have. One that lives on behind a cut keeps its link, so that it can be told what was decided about it.
        """
        for address in addresses:
            gone = [peer for peer in process.endpoints if peer.startswith(address) and peer not in self.directory]
            for peer in gone:
                process.severed[peer] = None
                process.endpoints.pop(peer).close()
