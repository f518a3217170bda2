"""In a driver: shows what its workers print."""

from __future__ import annotations

import sys
from collections import deque

from thornback.core.messages import LogLines


class LogPrinter:
    """Keeps lines until :meth:`drain`, which may block, is called outside the lock.

    Args:
        enabled: otherwise lines are ignored.
    """

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._pending: deque[LogLines] = deque()

    def take(self, message: LogLines) -> None:
        """Lines have arrived."""
        if self._enabled:
            self._pending.append(message)

    def drain(self) -> None:
        """Print what is pending."""
        while self._pending:
            try:
                message = self._pending.popleft()
            except IndexError:
                return
            target = sys.stderr if message.stream == "stderr" else sys.stdout
            prefix = f"({message.name} pid={message.pid}) " if message.name else f"(pid={message.pid}) "
            try:
                target.write("".join(f"{prefix}{line}\n" for line in message.lines))
                target.flush()
            except (OSError, ValueError, AttributeError):
                pass  # closed, or None in a windowless program
