"""Faults of the network between nodes."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from thornback.faults.base import (
    MESSAGE_NAMES,
    Count,
    Factor,
    Fault,
    LastingFault,
    NodeIndex,
    Nodes,
    Rate,
    Seconds,
    unknown,
)

Within: TypeAlias = Literal["all", "driver_node", "worker_node", "owner_worker"]
"""Connections inside of one node: of drivers with the node process, of workers with it, of owners with the workers that
run their tasks, or all of them."""


class LinkFault(LastingFault, frozen=True, kw_only=True):
    """Base of the faults of links: from the nodes ``a`` to the nodes ``b`` and back. By default all nodes.

    A node that is in neither list is not concerned: if it reaches both sides of a cut, it is a bridge between them.
    """

    streams: ClassVar[bool] = False
    """Whether it can happen to a stream, which loses nothing and keeps the order, and so inside of a node."""

    a: Nodes | None = None
    b: Nodes | None = None
    one_way: bool = False
    """Only from ``a`` to ``b``: with ``a`` at the asking side requests are hit, the other way round replies."""
    within: Within | None = None
    """Inside of the nodes ``a`` (by default of all), between such processes, rather than between nodes."""

    def problem(self) -> str:
        """Why this fault is impossible; "" if it is not."""
        if self.within is not None:
            if not self.streams:
                return f"inside of a node no message is lost, doubled or overtaken: {self.kind} has no within"
            if self.b is not None or self.one_way:
                return "within goes with a (the nodes inside of which it happens), not with b or one_way"
        return super().problem()


class Cut(LinkFault, frozen=True, kw_only=True, tag="cut"):
    """No message passes."""

    lossy: ClassVar[bool] = True
    streams: ClassVar[bool] = True


class Loss(LinkFault, frozen=True, kw_only=True, tag="loss"):
    """Some messages are lost."""

    lossy: ClassVar[bool] = True
    rate: Rate


class Duplicate(LinkFault, frozen=True, kw_only=True, tag="duplicate"):
    """Some messages arrive twice."""

    lossy: ClassVar[bool] = True
    rate: Rate


class Reorder(LinkFault, frozen=True, kw_only=True, tag="reorder"):
    """Some messages are late, and overtaken by others."""

    lossy: ClassVar[bool] = True
    rate: Rate
    window: Seconds = 0.01
    """How late at most."""


class Delay(LinkFault, frozen=True, kw_only=True, tag="delay"):
    """Messages take longer."""

    streams: ClassVar[bool] = True
    seconds: Seconds
    jitter: Seconds = 0.0
    """Up to which a random time is added."""


class Bandwidth(LinkFault, frozen=True, kw_only=True, tag="bandwidth"):
    """Large messages take longer."""

    streams: ClassVar[bool] = True
    factor: Factor
    """On the bandwidth (inside of a node: on 1 GB/s); below 1 is slower."""


class Reset(Fault, frozen=True, kw_only=True, tag="reset"):
    """The connection between two nodes breaks: what is under way is lost. ``after`` an ``ObjectChunk``, that is in the
    middle of a transfer."""

    lossy: ClassVar[bool] = True
    a: NodeIndex
    b: NodeIndex

    def problem(self) -> str:
        """Why this fault is impossible; "" if it is not."""
        return super().problem() or ("a and b must be two nodes" if self.a == self.b else "")


class LoseMessage(Fault, frozen=True, kw_only=True, tag="lose_message"):
    """The next messages of one kind between nodes are lost, each once: a request, or the reply to one."""

    lossy: ClassVar[bool] = True
    always_timed: ClassVar[bool] = False
    message: str
    """Name of its kind, as in ``thornback.core.messages``; what travels together with it is lost too."""
    sender: NodeIndex | None = None
    """Node that it comes from; by default any."""
    count: Count = 1

    def problem(self) -> str:
        """Why this fault is impossible; "" if it is not."""
        if self.message not in MESSAGE_NAMES:
            return unknown("message", self.message, MESSAGE_NAMES)
        return super().problem()
