"""The shared memory of one node: one anonymous memory file that every process of the node maps once.

The file has no name, so nothing of it can be left behind, whatever is killed. Its pages are made when first touched.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from thornback.core.config import MIB
from thornback.core.ports import OUTSIDE
from thornback.transports.outside_files import OutsideFiles

SHARE_OF_MEMORY = 0.3
LARGE = 8 * MIB
"""Copies from this size on are made by several threads: twice as fast into fresh pages, a quarter into warm ones."""
STEP = 4 * MIB
COPY_THREADS = 4
SMALLEST = 75 * MIB


def system_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or less if its control group is limited."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _limit_files():
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def _limit_files() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    files = [root / "memory.max", root / "memory" / "memory.limit_in_bytes"]
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return files
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            group = root / path.lstrip("/")
            while group != root:
                files.append(group / "memory.max")
                group = group.parent
        elif "memory" in controllers.split(","):
            files.append(root / "memory" / path.lstrip("/") / "memory.limit_in_bytes")
    return files


def default_capacity() -> int:
    """Size of the arena in bytes when the user does not say."""
    return max(SMALLEST, int(system_memory() * SHARE_OF_MEMORY)) // mmap.PAGESIZE * mmap.PAGESIZE


def create(capacity: int) -> int:
    """A descriptor of a new memory file of ``capacity`` bytes."""
    fd = os.memfd_create("thornback-objects", os.MFD_CLOEXEC)
    os.ftruncate(fd, capacity)
    return fd


def _copy_in_parallel(target: memoryview, source: memoryview) -> None:
    """Copy with as many threads as help, the calling one included; other threads of the process can run meanwhile."""
    import numpy as np

    to, data = np.frombuffer(target, np.uint8), np.frombuffer(source, np.uint8)
    starts = iter(range(0, len(data), STEP))

    def work() -> None:
        for start in starts:
            np.copyto(to[start : start + STEP], data[start : start + STEP])

    helpers = [threading.Thread(target=work, name="thornback-copy") for _ in range(_helpers())]
    for helper in helpers:
        helper.start()
    try:
        work()
    finally:
        for helper in helpers:
            helper.join()


def _helpers() -> int:
    return min(len(os.sched_getaffinity(0)), COPY_THREADS) - 1


class _Watch(weakref.ref):  # type: ignore[type-arg]
    """Knows when the array under all views of one ``read`` is gone. Cheaper than :class:`weakref.finalize`."""

    __slots__ = ("released",)

    released: Callable[[], None]

    __hash__ = object.__hash__
    __eq__ = object.__eq__


_watches: set[_Watch] = set()


def _view_gone(watch: _Watch) -> None:
    _watches.discard(watch)
    watch.released()


class Arena:
    """The :class:`thornback.core.ports.ObjectMemory` of one process. Maps the file at first use."""

    def __init__(self, fd: int, capacity: int, session_directory: Path) -> None:
        self.fd = fd
        self.outside = OutsideFiles(session_directory)
        self._capacity = capacity
        self._mapped: mmap.mmap | None = None
        self._bytes = memoryview(b"")

    @property
    def capacity(self) -> int:
        """Size in bytes."""
        return self._capacity

    def _map(self) -> mmap.mmap:
        if self._mapped is None:
            self._mapped = mmap.mmap(self.fd, self._capacity)
            self._bytes = memoryview(self._mapped)
        return self._mapped

    def write(self, offset: int, parts: Sequence[memoryview | bytes]) -> None:
        """Copy ``parts`` one after the other to ``offset``."""
        if offset >= OUTSIDE:
            target, at = memoryview(self.outside.map(offset)), offset % OUTSIDE
        else:
            self._map()
            target, at = self._bytes, offset
        for part in parts:
            source = memoryview(part)
            if source.format != "B" or source.ndim != 1:
                source = source.cast("B")
            end = at + len(source)
            if len(source) < LARGE:
                target[at:end] = source
            else:
                _copy_in_parallel(target[at:end], source)
            at = end

    def view(self, offset: int, size: int) -> memoryview:
        """The bytes themselves, for the node process."""
        if offset >= OUTSIDE:
            return memoryview(self.outside.map(offset))[offset % OUTSIDE :][:size]
        self._map()
        return self._bytes[offset : offset + size]

    def read(self, offset: int, size: int, released: Callable[[], None]) -> memoryview:
        """A read-only view; ``released`` is called, from any thread, when the last view derived from it is gone."""
        import numpy as np  # costs too much for processes that only handle small values

        mapped, at = (self.outside.map(offset), offset % OUTSIDE) if offset >= OUTSIDE else (self._map(), offset)
        block = np.frombuffer(mapped, np.uint8, size, at)
        block.flags.writeable = False
        watch = _Watch(block, _view_gone)
        watch.released = released
        _watches.add(watch)
        return memoryview(block)  # type: ignore[arg-type]

    def discard(self, offset: int, size: int) -> None:
        """Nothing: the pages stay, as touching fresh ones costs far more than a copy."""
