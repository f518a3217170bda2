"""What simulated workers print: straight to the program's streams, each line marked with where it comes from."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from thornback.simulator import threads


class _RoutedStream:
    """Stands for one of the standard streams; passes on everything that it does not know to the real one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._partial: dict[bytes, str] = {}

    def write(self, text: str) -> int:
        """Write; lines of workers get a prefix once they are complete."""
        thread = threads.active
        process = thread.process if thread is not None else None
        if thread is None or process is None or process.user_code is None:
            return self._stream.write(text)
        if process.ended:
            return len(text)
        *lines, rest = (self._partial.get(process.address, "") + text).split("\n")
        self._partial[process.address] = rest
        if lines:
            name = process.user_code.running
            prefix = f"({name} pid={process.pid}, node={process.node.name}) "
            self._stream.write("".join(f"{prefix}{line}\n" for line in lines))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write all of ``lines``."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class RoutedOutput:
    """Replaces ``sys.stdout`` and ``sys.stderr`` while a simulation runs."""

    def __init__(self) -> None:
        self._replaced: list[tuple[str, Any, Any]] = []

    def install(self) -> None:
        """Replace them."""
        for name in ("stdout", "stderr"):
            original = getattr(sys, name)
            routed = _RoutedStream(original)
            self._replaced.append((name, original, routed))
            setattr(sys, name, routed)

    def remove(self) -> None:
        """Put the real ones back, unless the program has replaced them itself."""
        for name, original, routed in self._replaced:
            if getattr(sys, name) is routed:
                setattr(sys, name, original)
        self._replaced.clear()
