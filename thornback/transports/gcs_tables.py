"""The durable tables of the GCS: a SQLite file in the session directory, written by a thread of its own.

The file is in write-ahead-log mode with ``synchronous=NORMAL``: what was committed survives any end of the process,
and a loss of power leaves a whole, if older, state. A commit that was torn is not there when the file is opened again:
SQLite finds that out by the checksums of its log. Each row has a checksum too, so that no changed byte is taken for a
value.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from thornback.core.ports import Write
from thornback.transports.loop import EventLoop

if TYPE_CHECKING:
    import sqlite3

FORMAT = 1
"""Number of the file's layout, kept in its ``user_version``."""
RETRY = 1.0
"""Seconds until a commit is tried again that the file system has refused (no room, an error of the disk)."""
_MAKE = """CREATE TABLE rows (
    name TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (name, key)
)"""
_PUT = """INSERT INTO rows VALUES (?, ?, ?, ?)
    ON CONFLICT (name, key) DO UPDATE SET value = excluded.value, checksum = excluded.checksum"""
_DELETE = "DELETE FROM rows WHERE name = ? AND key = ?"
_READ = "SELECT name, key, value, checksum FROM rows ORDER BY rowid"

_Commit = tuple[Sequence[Write], Callable[[], None]]


class TablesUnusable(Exception):
    """The file cannot be read, or not be written any more; says which file, and why."""


class GcsTables:
    """The :class:`thornback.core.ports.DurableStore` of the real world.

    A new file is made while the caller goes on. Commits that wait for one under way become one transaction.

    Args:
        failed: called in a turn, with the reason, when nothing can be committed any more.

    Raises:
        TablesUnusable: there is a file, and it is damaged or of another kind.

    Attributes:
        delay: seconds that each commit takes longer; for faults.
    """

    def __init__(self, path: Path, loop: EventLoop, failed: Callable[[str], None]) -> None:
        self._path = path
        self._loop = loop
        self._failed = failed
        self.delay = 0.0
        self._jobs: queue.SimpleQueue[_Commit | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._giving_up = False
        self._rows: Sequence[Write] = ()
        self._problem = ""
        self._opened = threading.Event()
        is_new = not path.exists()
        self._thread = threading.Thread(target=self._work, args=(is_new,), name="thornback-tables", daemon=True)
        self._thread.start()
        if not is_new:
            self._opened.wait()
            if self._problem:
                raise TablesUnusable(self._problem)

    # --- The port -----------------------------------------------------------------------------------------------------

    def commit(self, writes: Sequence[Write], then: Callable[[], None]) -> None:
        """Make all the writes or none, then start a turn with ``then()``."""
        self._jobs.put((writes, then))

    def load(self) -> Sequence[Write]:
        """What was in the file when it was opened, in the order in which the keys were first written."""
        rows, self._rows = self._rows, ()
        return rows

    def close(self, keep_unsynced: bool = True) -> None:
        """Let go of the file; what was asked to be committed until now is, or else what is not under way is lost."""
        self._giving_up = not keep_unsynced
        self._closing.set()
        self._jobs.put(None)
        self._thread.join()

    # --- The thread ---------------------------------------------------------------------------------------------------

    def _work(self, is_new: bool) -> None:
        import sqlite3

        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(self._path, isolation_level=None)
            self._prepare(connection, is_new)
            self._opened.set()
            self._commit_all(connection, sqlite3.OperationalError)
        except (sqlite3.Error, TablesUnusable) as error:
            self._problem = f"the tables of the GCS in {self._path} cannot be used: {error}"
            if self._opened.is_set() or is_new:
                self._finish(lambda: self._failed(self._problem))
        finally:
            if connection is not None:
                connection.close()
            self._opened.set()

    def _prepare(self, connection: sqlite3.Connection, is_new: bool) -> None:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"):
            connection.execute(f"PRAGMA {pragma}")
        if is_new:
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute(_MAKE)
            return
        [(found,)] = connection.execute("PRAGMA user_version")
        if found != FORMAT:
            raise TablesUnusable(f"their format is number {found}, and only number {FORMAT} is known")
        [(verdict,), *_] = connection.execute("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise TablesUnusable(str(verdict))
        self._rows = [_checked(*row) for row in connection.execute(_READ)]

    def _commit_all(self, connection: sqlite3.Connection, temporary: type[Exception]) -> None:
        while (first := self._jobs.get()) is not None:
            commits, ended = self._with_those_that_wait(first)
            if self.delay:
                self._closing.wait(self.delay)
            while not self._giving_up:
                try:
                    _transact(connection, commits)
                except temporary as error:
                    print(f"thornback: {self._path}: {error}; it is tried again", file=sys.stderr, flush=True)
                    if self._closing.wait(RETRY):
                        return
                else:
                    self._finish(*(then for _, then in commits))
                    break
            if ended:
                return

    def _with_those_that_wait(self, first: _Commit) -> tuple[list[_Commit], bool]:
        """All commits asked for so far, and whether they are the last ones."""
        commits = [first]
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return commits, False
            if job is None:
                return commits, True
            commits.append(job)

    def _finish(self, *calls: Callable[[], None]) -> None:
        self._loop.soon.extend(calls)
        self._loop.kick()


def _transact(connection: sqlite3.Connection, commits: Sequence[_Commit]) -> None:
    connection.execute("BEGIN")
    try:
        for writes, _ in commits:
            for write in writes:
                if write.value is None:
                    connection.execute(_DELETE, (write.table, write.key))
                else:
                    checksum = _checksum(write.table, write.key, write.value)
                    connection.execute(_PUT, (*write, checksum))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _checksum(table: str, key: bytes, value: bytes) -> int:
    return crc32(value, crc32(key, crc32(table.encode())))


def _checked(table: str, key: bytes, value: bytes, checksum: int) -> Write:
    if _checksum(table, key, value) != checksum:
        raise TablesUnusable(f"the row {key.hex()} of table {table} is corrupt")
    return Write(table, key, value)
