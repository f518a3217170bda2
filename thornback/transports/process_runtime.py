"""What drivers and workers have in common: a core, its loop and links, and the pump that user threads drive."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from pathlib import Path

from thornback.api import call_site
from thornback.core.config import Config
from thornback.core.errors import SessionEndedError
from thornback.core.ids import GCS, Address, ObjectId, WorkerId, node_of
from thornback.core.messages import Message
from thornback.core.ports import NoTrace, Ports, UserCode
from thornback.core.runtime import Runtime, Waiter
from thornback.core.worker import WorkerCore
from thornback.transports.arena import Arena
from thornback.transports.links import Links, LinkTransport, listen, socket_path
from thornback.transports.loop import EventLoop
from thornback.transports.pump import Pump
from thornback.transports.small_ports import SystemRandom
from thornback.transports.turns import report_bug, settle


class ProcessRuntime(Runtime):
    """One process of the node that runs user code.

    Args:
        directory: of the session.
        memory: descriptor and size of the node's shared memory.
    """

    def __init__(
        self,
        directory: Path,
        worker_id: WorkerId,
        memory: Arena,
        config: Config,
        user_code: UserCode | None,
        job_id: int = 0,
    ) -> None:
        self.directory = directory
        self.worker_id = worker_id
        self.node_id = node_of(worker_id)
        self.memory = memory
        self.loop = EventLoop()
        self.loop.spins = True
        self.links = Links(self.loop, directory, self.node_id, (worker_id,), self._deliver, self._peer_down)
        self._socket_path = socket_path(directory, worker_id)
        self.links.open(listen(self._socket_path))
        ports = Ports(self.loop, SystemRandom(), LinkTransport(self.links, worker_id), NoTrace())
        self.core = WorkerCore(worker_id, ports, memory, user_code, config, job_id)
        core = self.core
        self.pump = Pump(self.loop, self._settle, lambda: core.urgent, self._unlocked_work)
        self.turn = self.pump
        self.drop = self._make_drop()
        """``drop(object_id)``: a reference object of user code is gone; from any thread, at any time."""
        self.thread = threading.get_ident
        self.closed = False
        _forget_in_children(self)

    # --- What user threads do -----------------------------------------------------------------------------------------

    def block(self, waiter: Waiter, timeout: float | None = None) -> bool:
        """Wait, outside any turn, until ``waiter.done``; False after ``timeout`` seconds."""
        if waiter.done and self.pump.refusal is None:
            return True
        return self.pump.wait(waiter, timeout)

    def wall_time(self) -> int:
        """Nanoseconds since the epoch."""
        return time.time_ns()

    def site_of(self, thread: Hashable) -> str:
        """``file:line function`` where a thread waits; with the lock held, so that it stays there."""
        return call_site.site_of(sys._current_frames().get(thread))  # type: ignore[call-overload]

    def has_other_threads(self, thread: Hashable) -> bool:
        """Whether there are threads besides that one and the engine's own."""
        return any(
            each.ident != thread and not each.name.startswith("thornback-") and each.is_alive()
            for each in threading.enumerate()
        )

    def _make_drop(self) -> Callable[[ObjectId], None]:
        enqueue, pump = self.core.owner.dropped.append, self.pump

        def drop(object_id: ObjectId) -> None:
            enqueue(object_id)
            if not pump.dirty:
                pump.touched()

        return drop

    # --- What the loop does -------------------------------------------------------------------------------------------

    def _deliver(self, _to: Address, sender: Address, message: Message) -> None:
        try:
            self.core.receive(sender, message)
        except Exception:
            report_bug()

    def _peer_down(self, address: Address, reason: str) -> None:
        if address in (self.node_id, GCS):
            self.session_ended(reason)
            return
        try:
            self.core.peer_down(address, reason)
        except Exception:
            report_bug()

    def _settle(self) -> None:
        settle(self.loop, self.links, self.core.end_turn)

    def _unlocked_work(self) -> None:
        """Hook: work for the pumping thread outside the lock."""

    # --- Ends ---------------------------------------------------------------------------------------------------------

    def session_ended(self, reason: str) -> None:
        """The node process is gone: everything that waits raises."""
        if self.pump.refusal is None:
            self.pump.refusal = SessionEndedError(f"the node process of this session has ended ({reason})")
        self.pump.wake_all()

    def remove_socket(self) -> None:
        """Nobody can connect any more."""
        try:
            os.unlink(self._socket_path)
        except OSError:
            pass

    def abandon(self, refusal: BaseException) -> None:
        """Give up all descriptors, in a child of this process that must not use them."""
        self.pump.refusal = refusal
        self.closed = True
        self.loop.detached = True
        self.links.close()
        self.loop.close()


def _forget_in_children(runtime: ProcessRuntime) -> None:
    """Keep a process that user code forks from using (and from keeping open) the connections of its parent."""
    reference = weakref.ref(runtime)
    pid = os.getpid()

    def in_child() -> None:
        forgotten = reference()
        if forgotten is not None and not forgotten.closed:
            forgotten.pump.forget_threads()
            forgotten.abandon(
                RuntimeError(
                    f"this process was forked from process {pid}, which is part of a thornback cluster; a forked child "
                    "cannot use its parent's connection: use tasks or actors, or the multiprocessing method 'spawn'"
                )
            )

    os.register_at_fork(after_in_child=in_child)
