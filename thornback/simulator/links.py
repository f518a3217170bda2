"""Links between nodes that lose messages: one end of the reliable protocol per process and peer."""

from __future__ import annotations

from typing import NamedTuple

from thornback.core.ids import Address
from thornback.core.links import Frame, ReliableLink
from thornback.core.messages import Deaths, Message
from thornback.simulator.engine import Call, Event
from thornback.simulator.network import Batch, Link, Network
from thornback.simulator.process import ENDED, Process

UNRELIABLE = -1
"""Number of a frame that is not sent again."""


class Parcel(NamedTuple):
    """The payload of a frame: what one turn sent to one address, and the event that made it."""

    to: Address
    messages: list[Message]
    cause: int


class FrameArrival(Event):
    """A frame reaches its target."""

    __slots__ = ("epoch", "frame", "link", "network")

    def __init__(self, network: Network, link: Link, frame: Frame) -> None:
        self.network = network
        self.link = link
        self.frame = frame
        self.epoch = link.epoch

    def run(self) -> None:
        """A turn of the receiver for each parcel that is next in order; none if another process has taken the sender's
        place (the GCS has come back), with numbers of its own."""
        link = self.link
        target = link.target
        if target.gate:
            target.refuse(self)
            return
        source = link.source.address
        if self.epoch != link.epoch or source in target.severed:
            return
        network = self.network
        if network.directory.get(source, link.source) is not link.source:
            return
        if self.frame.number == UNRELIABLE:
            deliver(network, link, self.frame.payload)
            return
        endpoint = network.endpoint(target, network.link_between(target, link.source))
        endpoint.frame_arrived(link, self.frame)


def deliver(network: Network, link: Link, parcel: Parcel) -> None:
    """Hand a parcel to the target of the link."""
    target = link.target
    network.messages += len(parcel.messages)
    network.trace.delivered(link.source.address, parcel.to, parcel.messages, parcel.cause)
    if network.triggers is None:
        target.receive(parcel.to, link.source.address, parcel.messages)
    else:
        network.triggers.hand_over(Batch(network, link, parcel.to, parcel.messages, parcel.cause))
    for message in parcel.messages:
        if type(message) is Deaths and target.gate != ENDED:
            network.forget_ended(target, [death.address for death in message.deaths])


class Endpoint:
    """One end of a lossy link: the protocol's state, and the timer that it wants.

    Args:
        link: from this process to the peer.
    """

    __slots__ = ("_armed", "_closed", "_link", "_network", "_process", "_protocol", "_timer")

    def __init__(self, network: Network, link: Link) -> None:
        self._network = network
        self._link = link
        self._process: Process = link.source
        self._protocol = ReliableLink(link.source.world.config, network.resends)
        self._timer: Call | None = None
        self._armed = 0
        self._closed = False

    @property
    def peer(self) -> Process:
        """At the other end."""
        return self._link.target

    @property
    def outstanding(self) -> int:
        """Parcels that the peer has not acknowledged."""
        return self._protocol.outstanding

    def post(self, to: Address, messages: list[Message], cause: int) -> None:
        """Send; what is not worth repeating goes by itself."""
        reliable = [message for message in messages if message.reliable]
        if len(reliable) < len(messages):
            others = [message for message in messages if not message.reliable]
            self._transmit(Frame(UNRELIABLE, 0, Parcel(to, others, cause)))
        if reliable:
            for frame in self._protocol.send(Parcel(to, reliable, cause), self._network.engine._now):
                self._transmit(frame)
            self._arm()

    def frame_arrived(self, link: Link, frame: Frame) -> None:
        """``frame`` came over ``link``, from the peer to this process."""
        parcels, frames = self._protocol.receive(frame, self._network.engine._now)
        for answer in frames:
            self._transmit(answer)
        for parcel in parcels:
            if self._process.gate == ENDED or self._closed:
                return
            deliver(self._network, link, parcel)
        if not self._closed:
            self._arm()

    def close(self) -> None:
        """The peer has ended."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        deadline = self._protocol.deadline
        if deadline is None or (self._timer is not None and self._armed <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        engine = self._network.engine
        self._armed = deadline
        self._timer = engine.call_after(deadline - engine._now, self._due)

    def _refused(self) -> None:
        """The machine of the peer has answered that it is not there any more."""
        self.close()
        if self._process.endpoints.get(self.peer.address) is self:
            del self._process.endpoints[self.peer.address]

    def _due(self) -> None:
        self._timer = None
        if self._closed or self._process.gate == ENDED:
            return
        for frame in self._protocol.on_deadline(self._network.engine._now):
            self._transmit(frame)
        self._arm()

    def _transmit(self, frame: Frame) -> None:
        network, link = self._network, self._link
        rule = network.conditions.between(link.source.node.index, link.target.node.index)
        if rule.cut or (rule.loss and network.chance() < rule.loss):
            return
        if link.target.gate == ENDED:
            if link.target.node.alive:
                network.engine.call_after(2 * network.model.latency, self._refused)
            return
        if network.losing and frame.payload is not None and network.loses(link, frame.payload.messages):
            return
        self._schedule(frame, in_order=not (rule.reorder and network.chance() < rule.reorder))
        if rule.duplicate and network.chance() < rule.duplicate:
            self._schedule(frame, in_order=False)

    def _schedule(self, frame: Frame, in_order: bool) -> None:
        network, link = self._network, self._link
        rule = network.conditions.between(link.source.node.index, link.target.node.index)
        messages = frame.payload.messages if frame.payload is not None else []
        delay = network.transmission_delay(link, messages, rule.bandwidth) + rule.delay
        if rule.jitter:
            delay += int(rule.jitter * network.chance())
        when = network.engine._now + delay
        if in_order:
            when = link.last = max(when, link.last + 1)
        else:
            when += int(rule.window * network.chance())
        network.engine.push(when, FrameArrival(network, link, frame))
