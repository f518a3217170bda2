"""Where the GCS lives in the node process of the head: what it is started from, and how it ends alone, for faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from thornback.core.config import Config
from thornback.core.ids import Address
from thornback.core.messages import Message
from thornback.core.node import GcsCore
from thornback.core.ports import Clock, NoTrace, Ports, Random, Timer, Transport
from thornback.transports.gcs_tables import GcsTables
from thornback.transports.loop import EventLoop

FILE = "gcs.sqlite"
"""Name of the file of the tables in the session directory."""


class _MortalPorts:
    """The clock and the transport of one incarnation: nothing comes of its timers and messages after its end."""

    def __init__(self, clock: Clock, transport: Transport) -> None:
        self._clock = clock
        self._transport = transport
        self.alive = True

    def now(self) -> int:
        """See :class:`thornback.core.ports.Clock`."""
        return self._clock.now()

    def call_after(self, delay: int, call: Callable[[], None]) -> Timer:
        """See :class:`thornback.core.ports.Clock`."""
        return self._clock.call_after(delay, lambda: call() if self.alive else None)

    def send(self, to: Address, message: Message) -> None:
        """See :class:`thornback.core.ports.Transport`."""
        if self.alive:
            self._transport.send(to, message)


class GcsHost:
    """Makes the GCS of a node process, with its durable tables.

    Args:
        failed: called in a turn, with the reason, when the tables cannot be written any more.
    """

    def __init__(
        self,
        directory: Path,
        loop: EventLoop,
        random: Random,
        transport: Transport,
        config: Config,
        failed: Callable[[str], None],
    ) -> None:
        self._path = directory / FILE
        self._loop = loop
        self._random = random
        self._transport = transport
        self._config = config
        self._failed = failed
        self._ports: _MortalPorts | None = None
        self._tables: GcsTables | None = None
        self._delay = 0.0

    def make(self) -> GcsCore:
        """A GCS with what earlier ones have left, not yet started.

        Raises:
            TablesUnusable: its file is damaged.
        """
        self._tables = GcsTables(self._path, self._loop, self._failed)
        self._tables.delay = self._delay
        self._ports = _MortalPorts(self._loop, self._transport)
        ports = Ports(self._ports, self._random, self._ports, NoTrace())
        return GcsCore(ports, self._tables, self._config)

    def end(self, keep_unsynced: bool = True) -> None:
        """The present GCS ends at once; does nothing if there is none.

        Args:
            keep_unsynced: what was on its way to the disk reaches it, though the GCS has not heard so.
        """
        if self._ports is not None and self._tables is not None:
            self._ports.alive = False
            self._tables.close(keep_unsynced)
            self._ports = self._tables = None

    def delay_commits(self, seconds: float) -> None:
        """Each commit takes so much longer from now on."""
        self._delay = seconds
        if self._tables is not None:
            self._tables.delay = seconds
