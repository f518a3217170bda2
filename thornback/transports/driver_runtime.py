"""The runtime of a driver: a process that runs a user's program."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import FrameType

from thornback.core.config import Config
from thornback.core.errors import SessionEndedError
from thornback.core.ids import Address
from thornback.core.messages import LogLines, Message, NodeEnds
from thornback.core.runtime import Waiter
from thornback.transports import session
from thornback.transports.arena import Arena
from thornback.transports.log_printer import LogPrinter
from thornback.transports.process_runtime import ProcessRuntime
from thornback.transports.wire import Welcome

_CLOSE_LIMIT = 10.0


class DriverRuntime(ProcessRuntime):
    """Args:
    sock: the connection with the node that the welcome came over.
    memory_fd: came with the welcome.
    node: the node process and the other end of its life socket, if this driver started it.
    """

    def __init__(
        self,
        directory: Path,
        sock: socket.socket,
        welcome: Welcome,
        memory_fd: int,
        log_to_driver: bool,
        node: tuple[subprocess.Popen[bytes], socket.socket] | None,
    ) -> None:
        config = Config.of(welcome.config)
        self._printer = LogPrinter(log_to_driver)
        memory = Arena(memory_fd, welcome.memory_capacity, directory)
        super().__init__(directory, welcome.worker_id, memory, config, None)
        self._node = node
        self._ended = Waiter()
        self._previous_handler: object = None
        self.links.adopt(sock, welcome.node_id)
        with self.turn:
            self.core.start(os.getpid())
        self.pump.start_ticker()
        self._catch_interrupts()

    # --- What the loop does -------------------------------------------------------------------------------------------

    def _deliver(self, to: Address, sender: Address, message: Message) -> None:
        if type(message) is LogLines:
            self._printer.take(message)
        elif type(message) is NodeEnds:
            self.session_ended(message.reason)
        else:
            super()._deliver(to, sender, message)

    def _unlocked_work(self) -> None:
        self._printer.drain()

    def session_ended(self, reason: str) -> None:
        """The node process is gone."""
        if self.closed:
            self._ended.complete()
            return
        if self._node is not None:
            reason += f"; its log was {self.directory / session.LOGS}"
        super().session_ended(reason)

    # --- Ctrl-C -------------------------------------------------------------------------------------------------------

    def _catch_interrupts(self) -> None:
        """Keep KeyboardInterrupt out of the core."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous_handler = signal.signal(signal.SIGINT, self._on_interrupt)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self.pump.interrupt_main():
            signal.default_int_handler(number, frame)

    def _restore_interrupts(self) -> None:
        if self._previous_handler is None or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) == self._on_interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    # --- Ends ---------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the cluster; a cluster that this process started has ended, with all its processes, on return."""
        if self.closed:
            return
        self.closed = True
        deadline = time.monotonic() + _CLOSE_LIMIT
        if self._node is not None:
            self._node[1].shutdown(socket.SHUT_WR)
        if self.pump.refusal is None:
            if self._node is not None:
                self.pump.wait(self._ended, _CLOSE_LIMIT)
            else:
                with self.turn:
                    self.pump.settle()
        with self.pump.lock:
            self.pump.refusal = SessionEndedError("this process has left the cluster (shutdown)")
            self.pump.stop()
            self.pump.wake_all()
        if self._node is not None:
            self._await_node(deadline)
        self._restore_interrupts()
        with self.pump.lock:
            self.links.close()
        self.remove_socket()

    def _await_node(self, deadline: float) -> None:
        """Until the node process and all that it has started are gone, by force if it must be."""
        assert self._node is not None
        process, life = self._node
        try:
            life.settimeout(max(0.01, deadline - time.monotonic()))
            life.recv(1)
        except OSError:
            process.kill()
        finally:
            life.close()
        try:
            process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        session.remove(self.directory)

    def abandon(self, refusal: BaseException) -> None:
        """Give up all descriptors, in a child of this process."""
        if self._node is not None:
            self._node[1].close()
        super().abandon(refusal)
