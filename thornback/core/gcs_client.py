"""What one process asks of the GCS, and repeats until it is durable: the GCS may go, and another come."""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.backoff import Backoff
from thornback.core.config import Config
from thornback.core.ids import GCS, Address
from thornback.core.messages import BarrierPassed, CommitBarrier, GcsStarted, MeetGcs, Message
from thornback.core.ports import Ports, Timer
from thornback.core.runtime import Waiter


class GcsClient:
    """Sends to the GCS what must not be lost with it.

    Every message is kept until the GCS has said that its effect is durable: a barrier follows the messages, and is
    answered when all that it covers is; one barrier is under way at a time. A new GCS takes nothing from a process that
    does not know of it: it is met first, then everything that is kept is sent again, in order. Every handler of the GCS
    takes the same message twice.

    What has been superseded before anyone has heard it is not kept: while the GCS is away, the latest checkpoint of an
    actor takes the place of the one before it (:attr:`Message.latest_by`). Nor is what has been :meth:`answered`, since
    an answer leaves the GCS when the effect of its request is durable. What can grow without limit is asked for by user
    code: it waits for room before it makes another actor or group (:meth:`await_room`).

    Attributes:
        incarnation: of the GCS that this process knows.
        greet: sends what a new GCS must know before the rest.
        settled: called when all that was sent is durable.
        returned: called when everything was sent again to a new GCS, for what else it should know.
    """

    def __init__(self, ports: Ports, config: Config) -> None:
        self.transport = ports.transport
        self.clock = ports.clock
        self.incarnation = 1
        self.greet: Callable[[], None] = _nothing
        self.returned: Callable[[], None] = _nothing
        self.settled: Callable[[], None] = _nothing
        self._config = config
        self._random = ports.random.stream("gcs-client")
        self._backoff = Backoff(config.gcs_retry, config.gcs_retry_limit)
        self._kept: dict[int, Message] = {}
        """By number, ascending."""
        self._latest: dict[tuple[object, ...], int] = {}
        """Numbers of those that a later message would supersede."""
        self._sent = 0
        self._barrier = 0
        """Number of the barrier under way; 0: none."""
        self._timer: Timer | None = None
        self._failures = 0
        self._meeting = False
        self._wait_for_room: list[Waiter] = []

    def send(self, message: Message) -> None:
        """Send a message whose effect must outlive the GCS. Answers may come twice."""
        self._sent += 1
        self._keep(message)
        if self._meeting:
            return
        self.transport.send(GCS, message)
        if not self._barrier:
            self._ask()

    def _keep(self, message: Message) -> None:
        key = _key(message)
        if key is not None:
            self._kept.pop(self._latest.get(key, 0), None)
            self._latest[key] = self._sent
        self._kept[self._sent] = message

    def _is_durable(self, number: int) -> None:
        key = _key(self._kept.pop(number))
        if key is not None:
            del self._latest[key]

    def answered(self, kind: type[Message], *fields: object) -> None:
        """The answer to the message of that kind with these :attr:`Message.latest_by` has come."""
        number = self._latest.get((kind, *fields))
        if number is not None:
            self._is_durable(number)
            self._make_room()

    def tell(self, to: Address, message: Message) -> None:
        """Send to the holder of a lease: the GCS, or an owner, with whom it would not outlive anything."""
        if to == GCS:
            self.send(message)
        else:
            self.transport.send(to, message)

    @property
    def kept(self) -> int:
        """How many messages may not be durable yet."""
        return len(self._kept)

    @property
    def is_full(self) -> bool:
        """Whether so much is kept that nothing should be added that can wait."""
        return len(self._kept) >= self._config.gcs_kept_limit

    def await_room(self) -> Waiter:
        """Completes when there may be room again."""
        waiter = Waiter(int(self.is_full))
        if not waiter.done:
            self._wait_for_room.append(waiter)
        return waiter

    def _make_room(self) -> None:
        if self._wait_for_room and not self.is_full:
            waiting, self._wait_for_room = self._wait_for_room, []
            for waiter in waiting:
                waiter.complete()

    def _ask(self) -> None:
        self._barrier = self._sent
        self.transport.send(GCS, CommitBarrier(self._barrier, self.incarnation))
        self._set_timer(self._backoff.delay(self._failures + 1, self._random), self._unanswered)

    def _set_timer(self, delay: int, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.clock.call_after(delay, call)

    def _unanswered(self) -> None:
        self._failures += 1
        self._send_again()

    def _send_again(self) -> None:
        for message in self._kept.values():
            self.transport.send(GCS, message)
        self._ask()

    def on_barrier_passed(self, sender: Address, message: BarrierPassed) -> None:
        """What was sent before it is durable."""
        while self._kept and (number := next(iter(self._kept))) <= message.number:
            self._is_durable(number)
        self._make_room()
        if message.number != self._barrier:
            return
        self._barrier = 0
        self._failures = 0
        if self._kept:
            self._ask()
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.settled()

    def on_gcs_started(self, sender: Address, message: GcsStarted) -> None:
        """There is another GCS: meet it in a moment, not all at once."""
        if message.incarnation <= self.incarnation:
            return
        self.incarnation = message.incarnation
        self._meeting = True
        self._set_timer(int(self._config.gcs_rejoin_spread * self._random.random()), self._meet)

    def _meet(self) -> None:
        self._meeting = False
        self.transport.send(GCS, MeetGcs(self.incarnation))
        self.greet()
        for message in self._kept.values():
            self.transport.send(GCS, message)
        self.returned()
        self._ask()


def _key(message: Message) -> tuple[object, ...] | None:
    """Equal for messages of which only the latest matters; None where each does."""
    fields = message.latest_by
    return None if fields is None else (type(message), *(getattr(message, name) for name in fields))


def _nothing() -> None:
    pass
