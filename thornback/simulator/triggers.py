"""Waiting for the n-th message or event of a kind: what faults that are not bound to a time wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from thornback.core.messages import Message
from thornback.faults.base import Trigger
from thornback.simulator.process import RUNNING

if TYPE_CHECKING:
    from thornback.simulator.network import Batch
    from thornback.simulator.world import World


class Triggers:
    """Everything that a plan waits for.

    Messages are handed over one part of a batch at a time, so that what happens after a message happens before the one
    that travels behind it.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._messages: dict[str, list[_Waiting]] = {}
        self._events: dict[str, list[_Waiting]] = {}

    def add(self, trigger: Trigger, delay: int, call: Callable[[], Any]) -> None:
        """Call once, ``delay`` nanoseconds after the trigger's moment."""
        waiting = _Waiting(trigger, delay, call)
        if trigger.message is not None:
            self._world.network.triggers = self
            self._messages.setdefault(trigger.message, []).append(waiting)
            return
        if not self._events:
            self._world.trace.listeners.append(self._event)
        self._events.setdefault(str(trigger.event), []).append(waiting)

    def hand_over(self, batch: Batch) -> None:
        """Let the target of a batch handle its messages, up to each one that somebody waits for."""
        target, sender = batch.link.target, batch.link.source.address
        part: list[Message] = []
        for index, message in enumerate(batch.messages):
            part.append(message)
            due = self._due(self._messages, type(message).__name__, target.node.index)
            if not due:
                continue
            target.receive(batch.to, sender, part)
            part = []
            for waiting in due:
                self._call(waiting)
            if target.gate != RUNNING:
                target.refuse(batch.rest(index + 1))
                return
        if part:
            target.receive(batch.to, sender, part)

    def _event(self, now: int, kind: str, subject: bytes, detail: Any) -> None:
        for waiting in self._due(self._events, kind, None):
            self._world.engine.call_after(waiting.delay, waiting.call)

    def _due(self, table: dict[str, list[_Waiting]], kind: str, node: int | None) -> list[_Waiting]:
        found = table.get(kind)
        if not found:
            return []
        due = []
        for waiting in found:
            if waiting.node is None or waiting.node == node:
                waiting.left -= 1
                if waiting.left == 0:
                    due.append(waiting)
        for waiting in due:
            found.remove(waiting)
        return due

    def _call(self, waiting: _Waiting) -> None:
        if waiting.delay:
            self._world.engine.call_after(waiting.delay, waiting.call)
        else:
            waiting.call()


class _Waiting:
    __slots__ = ("call", "delay", "left", "node")

    def __init__(self, trigger: Trigger, delay: int, call: Callable[[], Any]) -> None:
        self.left = trigger.count
        self.node = trigger.node
        self.delay = delay
        self.call = call
