"""In the node process: the output of workers, on its way into log files and to the driver of their job."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from thornback.core.config import SECOND
from thornback.core.ids import WorkerId, short
from thornback.core.ports import Timer
from thornback.transports.loop import EventLoop

Forward = Callable[[WorkerId, int, str, str, tuple[str, ...]], None]
"""Called with worker, pid, name of the function, stream and lines."""

STREAMS = ("stdout", "stderr")
MARK, MARK_END = b"\x1e", b"\x1f"
LINES_PER_SECOND = 1000
BURST = 2000
_READ = 1 << 16
_LONGEST_LINE = 1 << 16
_LONGEST_MARK = 1 << 10
_QUIET = SECOND // 4
_READABLE = 1
_MARKS = re.compile(MARK + b"([^" + MARK + MARK_END + b"]*)" + MARK_END)


class LineFilter:
    """What of a stream of lines is shown: repeats are collapsed, floods are cut.

    Args:
        now: nanoseconds.
        where: the file that has it all, for people.
    """

    def __init__(self, now: int, where: str) -> None:
        self._where = where
        self._tokens = float(BURST)
        self._refilled = now
        self._last: str | None = None
        self.repeated = 0
        self.dropped = 0

    def take(self, lines: list[str], now: int) -> list[str]:
        """Those of ``lines`` to show now."""
        self._tokens = min(BURST, self._tokens + (now - self._refilled) * LINES_PER_SECOND / SECOND)
        self._refilled = now
        shown: list[str] = []
        for line in lines:
            if line == self._last and line:
                self.repeated += 1
                continue
            self._last = line
            if self._tokens < 1:
                self.dropped += 1
                continue
            self._tokens -= 1
            shown += self.rest()
            shown.append(line)
        return shown

    def rest(self) -> list[str]:
        """What there is to say about lines that were not shown."""
        notes = []
        if self.repeated:
            notes.append(f"… repeated {self.repeated}x")
        if self.dropped:
            notes.append(f"… {self.dropped} lines dropped, see {self._where}")
        self.repeated = self.dropped = 0
        return notes


class _Stream:
    """One pipe of one worker."""

    def __init__(self, collector: OutputCollector, worker_id: WorkerId, kind: str, fd: int, file: Path) -> None:
        self._collector = collector
        self._worker_id = worker_id
        self._kind = kind
        self._fd = fd
        self._path = file
        self._file: BinaryIO | None = None
        self._name = ""
        self._pending = b""
        self._filter = LineFilter(collector.loop.now(), str(file))
        self._timer: Timer | None = None
        os.set_blocking(fd, False)
        collector.loop.add(fd, _READABLE, self._on_readable)

    @property
    def open(self) -> bool:
        return self._fd >= 0

    def _on_readable(self, _mask: int) -> None:
        self.read()

    def read(self) -> bool:
        """Take what is there; False if nothing is."""
        if not self.open:
            return False
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return False
        if data:
            self._feed(data)
        else:
            self.close()
        return bool(data)

    def close(self) -> None:
        """Give out what is left and close."""
        if not self.open:
            return
        self._collector.loop.remove(self._fd)
        os.close(self._fd)
        self._fd = -1
        text, self._pending = self._pending, b""
        self._lines([text] if text else [])
        self.say_rest()
        if self._file is not None:
            self._file.close()

    def _feed(self, data: bytes) -> None:
        data = self._pending + data
        pieces = _MARKS.split(data)
        rest = b""
        for index, piece in enumerate(pieces):
            if index % 2:
                self._lines([rest] if rest else [])
                self._name, rest = piece.decode("utf-8", "replace"), b""
            else:
                *lines, rest = (rest + piece).split(b"\n")
                self._lines(lines)
        if len(rest) > _LONGEST_LINE:
            self._lines([rest])
            rest = b""
        self._pending = rest

    def _lines(self, lines: list[bytes]) -> None:
        if not lines:
            return
        if self._file is None:
            self._file = self._path.open("ab", buffering=0)
        try:
            self._file.write(b"\n".join(lines) + b"\n")
        except OSError:
            pass  # a full disk must not stop the node
        now = self._collector.loop.now()
        self._show(self._filter.take([line.decode("utf-8", "replace").rstrip("\r") for line in lines], now))
        if (self._filter.repeated or self._filter.dropped) and self._timer is None:
            self._timer = self._collector.loop.call_after(_QUIET, self.say_rest)

    def say_rest(self) -> None:
        """Tell of lines that were held back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._show(self._filter.rest())

    def _show(self, lines: list[str]) -> None:
        if lines:
            self._collector.show(self._worker_id, self._name, self._kind, tuple(lines))


class OutputCollector:
    """The pipes of all workers."""

    def __init__(self, loop: EventLoop, logs: Path, forward: Forward) -> None:
        self.loop = loop
        self._logs = logs
        self._forward = forward
        self._streams: dict[WorkerId, list[_Stream]] = {}
        self._pids: dict[WorkerId, int] = {}

    def open(self, worker_id: WorkerId) -> list[int]:
        """Pipes for a new worker; returns the write ends for its stdout and stderr, which the caller closes."""
        streams, write_ends = [], []
        for kind in STREAMS:
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
            write_ends.append(write_end)
            file = self._logs / f"worker-{short(worker_id)}.{kind}"
            streams.append(_Stream(self, worker_id, kind, read_end, file))
        self._streams[worker_id] = streams
        return write_ends

    def started(self, worker_id: WorkerId, pid: int) -> None:
        """Its pid is known."""
        self._pids[worker_id] = pid

    def ended(self, worker_id: WorkerId) -> None:
        """The worker has ended; a process that it has started and that lives on loses its output."""
        for stream in self._streams.pop(worker_id, ()):
            while stream.read():
                pass
            stream.close()
        self._pids.pop(worker_id, None)

    def drain(self) -> None:
        """Read all pipes that still have something, and tell what was held back."""
        for worker_id in list(self._streams):
            self.ended(worker_id)

    def show(self, worker_id: WorkerId, name: str, kind: str, lines: tuple[str, ...]) -> None:
        """Lines of a worker to be forwarded."""
        self._forward(worker_id, self._pids.get(worker_id, 0), name, kind, lines)
