"""Files for objects that are larger than the node's shared memory: on disk, mapped by every process that uses one.

They lie beside the first local spill directory's files; a link in the session directory says where that is.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
from pathlib import Path

from thornback.core.ports import OUTSIDE
from thornback.transports.spill_places import FULL

_NAME = "outside"


class OutsideFiles:
    """The files of one node, as one of its processes sees them."""

    def __init__(self, session_directory: Path) -> None:
        self._link = session_directory / _NAME

    def put_in(self, directory: Path) -> None:
        """Where the files of this session are to lie."""
        place = directory / _NAME
        place.mkdir(mode=0o700, exist_ok=True)
        if not self._link.exists():
            self._link.symlink_to(place)

    def make(self, offset: int, size: int) -> None:
        """Make a file whose bytes all have their place on disk, so that no writer can run out of it.

        Raises:
            OSError: there is no directory, or not enough room in it.
        """
        if not self._link.exists():
            raise OSError(errno.ENOENT, "no directory of this machine is among spill_directories")
        usage = shutil.disk_usage(self._link)
        if usage.used + size > FULL * usage.total:
            raise OSError(errno.ENOSPC, f"only {usage.free:,} bytes are left", str(self._link.resolve()))
        path = self._path(offset)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(fd)

    def remove(self, offset: int) -> None:
        """Delete a file; what is mapped of it stays as long as it is."""
        self._path(offset).unlink(missing_ok=True)

    def map(self, offset: int) -> mmap.mmap:
        """All bytes of the file in which an offset lies."""
        fd = os.open(self._path(offset), os.O_RDWR)
        try:
            return mmap.mmap(fd, 0)
        finally:
            os.close(fd)

    def _path(self, offset: int) -> Path:
        return self._link / str(offset // OUTSIDE)
