"""Exactly-once, in-order delivery over a link that loses, duplicates, delays and reorders.

One :class:`ReliableLink` lives at each end of the link between two processes. It is a pure protocol object: time is
passed in, the next deadline is exposed, and what must be transmitted is returned. Payloads are opaque.

Each :class:`Frame` with a payload has a number and is kept until the peer acknowledged it; acknowledgements are
cumulative, ride on frames in the other direction, and travel alone when there are none for a while. What is not
acknowledged in time is sent again, ever more seldom. No more than :data:`WINDOW` frames are under way; others wait.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from thornback.core.backoff import Backoff
from thornback.core.config import Config
from thornback.core.ports import RandomStream

WINDOW = 1024
"""Most frames that are under way without acknowledgement; a receiver keeps no more than that out of order."""
QUEUE_LIMIT = 1_000_000
"""Most frames that wait for room in the window; a link that exceeds it is given up."""
ACKNOWLEDGE_EVERY = 256
"""Frames that arrive before an acknowledgement is sent without delay."""
RESEND_BURST = 64
"""Most frames that one timeout sends again."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """What travels over the link."""

    number: int
    """1 for the first payload; 0 for a frame that only acknowledges."""
    acknowledged: int
    """The sender of this frame has received every number up to this one."""
    payload: Any = None


class ReliableLink:
    """One end of a link.

    Args:
        random: draws the jitter of repeated transmissions; None: there is none.

    Attributes:
        deadline: when :meth:`on_deadline` must be called (nanoseconds); None: no need.
        broken: the limit was exceeded; nothing will be delivered any more.
    """

    __slots__ = (
        "_ack_due",
        "_backoff",
        "_config",
        "_early",
        "_next",
        "_random",
        "_received",
        "_repeats",
        "_resend_due",
        "_unacknowledged",
        "_unanswered",
        "_waiting",
        "broken",
    )

    def __init__(self, config: Config, random: RandomStream | None = None) -> None:
        self._config = config
        self._random = random
        self._backoff = Backoff(config.resend_after, config.resend_limit)
        self._repeats = 0
        """Transmissions of the same frames, since the last acknowledgement, that were in vain."""
        self._next = 1
        self._received = 0
        self._early: dict[int, Any] = {}
        self._unacknowledged: deque[tuple[int, Any]] = deque()
        self._waiting: deque[Any] = deque()
        self._unanswered = 0
        self._ack_due: int | None = None
        self._resend_due: int | None = None
        self.broken = False

    @property
    def deadline(self) -> int | None:
        """When :meth:`on_deadline` must be called (nanoseconds); None: no need."""
        if self._ack_due is None:
            return self._resend_due
        if self._resend_due is None:
            return self._ack_due
        return min(self._ack_due, self._resend_due)

    @property
    def outstanding(self) -> int:
        """Payloads that the peer has not acknowledged."""
        return len(self._unacknowledged) + len(self._waiting)

    def send(self, payload: Any, now: int) -> list[Frame]:
        """Accept a payload; returns the frames to transmit now (none while the window is full)."""
        if self.broken:
            return []
        if len(self._unacknowledged) >= WINDOW:
            if len(self._waiting) >= QUEUE_LIMIT:
                self._give_up()
            else:
                self._waiting.append(payload)
            return []
        return [self._first_transmission(payload, now)]

    def receive(self, frame: Frame, now: int) -> tuple[list[Any], list[Frame]]:
        """A frame arrived: the payloads that are next in order, and the frames to transmit now."""
        if self.broken:
            return [], []
        frames = self._acknowledged(frame.acknowledged, now)
        if frame.number == 0:
            return [], frames
        if self._ack_due is None:
            self._ack_due = now + self._config.acknowledge_after
        self._unanswered += 1
        if frame.number <= self._received or self._unanswered >= ACKNOWLEDGE_EVERY:
            self._ack_due = now
        if frame.number <= self._received:
            return [], frames
        if frame.number <= self._received + WINDOW:
            self._early.setdefault(frame.number, frame.payload)
        return self._in_order(), frames

    def on_deadline(self, now: int) -> list[Frame]:
        """The frames to transmit because their time has come; call it when :attr:`deadline` is reached."""
        frames: list[Frame] = []
        if self._resend_due is not None and now >= self._resend_due:
            for index, (number, payload) in enumerate(self._unacknowledged):
                if index >= RESEND_BURST:
                    break
                frames.append(Frame(number, self._received, payload))
            self._repeats += 1
            self._resend_due = now + self._patience()
            self._acknowledging()
        if self._ack_due is not None and now >= self._ack_due:
            self._acknowledging()
            frames.append(Frame(0, self._received))
        return frames

    def _first_transmission(self, payload: Any, now: int) -> Frame:
        number = self._next
        self._next += 1
        self._unacknowledged.append((number, payload))
        if self._resend_due is None:
            self._resend_due = now + self._patience()
        self._acknowledging()
        return Frame(number, self._received, payload)

    def _patience(self) -> int:
        """How long to wait for an acknowledgement now."""
        if self._random is None or not self._repeats:
            return self._backoff.bound(self._repeats + 1)
        return self._backoff.delay(self._repeats + 1, self._random)

    def _acknowledging(self) -> None:
        """A frame leaves, and every frame acknowledges."""
        self._ack_due = None
        self._unanswered = 0

    def _acknowledged(self, number: int, now: int) -> list[Frame]:
        pending = self._unacknowledged
        if not pending or pending[0][0] > number:
            return []
        while pending and pending[0][0] <= number:
            pending.popleft()
        self._repeats = 0
        self._resend_due = now + self._patience() if pending else None
        frames = []
        while self._waiting and len(pending) < WINDOW:
            frames.append(self._first_transmission(self._waiting.popleft(), now))
        return frames

    def _in_order(self) -> list[Any]:
        payloads = []
        while (following := self._received + 1) in self._early:
            payloads.append(self._early.pop(following))
            self._received = following
        return payloads

    def _give_up(self) -> None:
        self.broken = True
        self._unacknowledged.clear()
        self._waiting.clear()
        self._early.clear()
        self._ack_due = self._resend_due = None
