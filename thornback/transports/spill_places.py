"""Where spill files lie: directories of this machine, or anywhere that ``pyarrow.fs`` reaches."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from thornback.core.config import Config
from thornback.transports import session

CODECS = ("", "lz4", "zstd", "snappy", "gzip", "brotli")
FULL = 0.95
"""Share of a disk beyond which nothing is spilled to it."""
_PREFIX = "thornback-spill-"


class Place(Protocol):
    """A directory for spill files."""

    name: str

    def create(self, file: str, room: int) -> BinaryIO:
        """Open a new file for up to ``room`` bytes; OSError if it cannot be."""

    def open(self, file: str) -> BinaryIO:
        """Open a file for reading."""

    def delete(self, file: str) -> None:
        """Remove a file; no harm if it is not there."""

    def remove(self) -> None:
        """Remove all files."""


class Directory:
    """A directory of this machine."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, file: str, room: int) -> BinaryIO:
        """Open a new file."""
        usage = shutil.disk_usage(self.path)
        if usage.used + room > FULL * usage.total:
            raise OSError(f"{self.name} has only {usage.free:,} bytes left")
        return open(self.path / file, "xb", buffering=0)

    def open(self, file: str) -> BinaryIO:
        """Open a file for reading."""
        return open(self.path / file, "rb", buffering=0)

    def delete(self, file: str) -> None:
        """Remove a file."""
        (self.path / file).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all files."""
        shutil.rmtree(self.path, ignore_errors=True)


class RemoteDirectory:
    """A directory behind a URI of ``pyarrow.fs``."""

    def __init__(self, uri: str, subdirectory: str) -> None:
        from pyarrow import fs

        self.name = uri
        self._files, path = fs.FileSystem.from_uri(uri)
        self._path = f"{path.rstrip('/')}/{subdirectory}"
        self._files.create_dir(self._path, recursive=True)

    def create(self, file: str, room: int) -> BinaryIO:
        """Open a new file."""
        stream: BinaryIO = self._files.open_output_stream(f"{self._path}/{file}")
        return stream

    def open(self, file: str) -> BinaryIO:
        """Open a file for reading."""
        stream: BinaryIO = self._files.open_input_file(f"{self._path}/{file}")
        return stream

    def delete(self, file: str) -> None:
        """Remove a file."""
        try:
            self._files.delete_file(f"{self._path}/{file}")
        except FileNotFoundError:
            pass

    def remove(self) -> None:
        """Remove all files."""
        try:
            self._files.delete_dir(self._path)
        except OSError:
            pass


def check_places(config: Config) -> None:
    """Find out, before anything is started, whether objects can be spilled where they should be.

    Raises:
        ValueError: a directory cannot be written (it is named), or the codec is not known.
    """
    if config.spill_limit == 0:
        return
    if config.spill_codec not in CODECS:
        raise ValueError(f"spill_codec must be one of {', '.join(map(repr, CODECS))}, not {config.spill_codec!r}")
    for name in config.spill_directories:
        _open_place(name, f"{_PREFIX}probe-{os.getpid()}").remove()


def open_places(directories: Sequence[str], session_directory: Path) -> list[Place]:
    """The places for spill files, checked by writing to each; what earlier sessions left in them is removed.

    Raises:
        ValueError: one of them cannot be written; names it and says why.
    """
    if not directories:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        if not runtime or not session_directory.is_relative_to(runtime):
            return [Directory(session_directory / "spill")]
        directories = (tempfile.gettempdir(),)  # the session directory is in memory
    for name in directories:
        if "://" not in name:
            _sweep(Path(name), session_directory.parent)
    return [_open_place(name, _PREFIX + session_directory.name) for name in directories]


def _open_place(name: str, subdirectory: str) -> Place:
    try:
        remote = "://" in name
        place: Place = RemoteDirectory(name, subdirectory) if remote else Directory(Path(name) / subdirectory)
        with place.create("probe", 0) as probe:
            probe.write(b"thornback")
        place.delete("probe")
    except (OSError, ValueError) as error:
        raise ValueError(f"objects cannot be spilled to {name!r} (spill_directories): {error}") from None
    return place


def _sweep(directory: Path, sessions: Path) -> None:
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        name = path.name.removeprefix(_PREFIX)
        if path.name.startswith(_PREFIX + "session-") and not session.is_live(sessions / name):
            shutil.rmtree(path, ignore_errors=True)
