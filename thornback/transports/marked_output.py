"""In a worker: stdout and stderr that say which function's output they carry.

The name is written only when something is printed after it has changed, so it costs tasks that print nothing no time.
"""

from __future__ import annotations

import io
import os
import sys

from thornback.transports.output_collector import MARK, MARK_END


class _MarkedFile(io.RawIOBase):
    def __init__(self, output: MarkedOutput, fd: int) -> None:
        super().__init__()
        self._output = output
        self._fd = fd
        self._name = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: bytes) -> int:  # type: ignore[override]
        name = self._output.name
        if name != self._name:
            self._name = name
            _write_all(self._fd, MARK + name.encode("utf-8", "replace") + MARK_END)
        return os.write(self._fd, data)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


class MarkedOutput:
    """The standard streams of a worker; set :attr:`name` whenever another function runs."""

    def __init__(self) -> None:
        self.name = ""

    def install(self) -> None:
        """Replace ``sys.stdout`` and ``sys.stderr`` by line-buffered streams that carry the marks."""
        for attribute, fd in (("stdout", 1), ("stderr", 2)):
            buffered = io.BufferedWriter(_MarkedFile(self, fd))  # type: ignore[type-var]
            stream = io.TextIOWrapper(buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True)
            setattr(sys, attribute, stream)
            setattr(sys, f"__{attribute}__", stream)

    @staticmethod
    def flush() -> None:
        """Hand everything to the node."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
