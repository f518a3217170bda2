"""The durable tables of the GCS: what was committed is there again, and damage is named rather than believed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thornback.core.ports import Write
from thornback.transports.gcs_tables import FORMAT, GcsTables, TablesUnusable
from thornback.transports.loop import EventLoop

LIMIT = 10_000_000_000


class Host:
    """A process that writes tables, as far as they are concerned."""

    def __init__(self, path: Path) -> None:
        self.loop = EventLoop()
        self.failures: list[str] = []
        self.done = 0
        self.tables = GcsTables(path, self.loop, self.failures.append)

    def commit(self, *writes: Write) -> None:
        self.tables.commit(writes, self._committed)

    def _committed(self) -> None:
        self.done += 1

    def until(self, condition: Callable[[], bool], expected: str) -> None:
        deadline = self.loop.now() + LIMIT
        while not condition():
            assert self.loop.now() < deadline, f"{expected}; failures: {self.failures}"
            self.loop.dispatch(self.loop.poll(self.loop.now() + 10_000_000))
            while self.loop.soon:
                self.loop.soon.popleft()()

    def committed(self, count: int) -> None:
        self.until(lambda: self.done >= count, f"{count} commits should be durable")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Host]]:
    started: list[Host] = []

    def start_one() -> Host:
        started.append(Host(tmp_path / "gcs.sqlite"))
        return started[-1]

    yield start_one
    for host in started:
        host.tables.close()
        host.loop.close()


def put(number: int, value: bytes = b"value") -> Write:
    return Write("keys", b"%d" % number, value)


def test_what_was_committed_is_there_again_in_the_order_of_its_keys(start: Callable[[], Host]) -> None:
    """A key that is written again keeps its place; one that was deleted and comes back is the last."""
    first = start()
    assert first.tables.load() == ()
    first.commit(put(1), put(2), put(3))
    first.commit(Write("keys", b"1", None), put(2, b"other"), Write("nodes", b"2", b""))
    first.commit(put(1, b"again"))
    first.committed(3)
    first.tables.close()
    assert start().tables.load() == [put(2, b"other"), put(3), Write("nodes", b"2", b""), put(1, b"again")]


def test_commits_are_answered_in_order_and_from_the_loop(start: Callable[[], Host]) -> None:
    host = start()
    answers: list[int] = []
    for number in range(200):
        host.tables.commit([put(number)], lambda number=number: answers.append(number))  # type: ignore[misc]
    assert not answers, "the answer is a turn of its own, not part of the call"
    host.until(lambda: len(answers) == 200, "every commit should be answered")
    assert answers == list(range(200))


@pytest.mark.parametrize("keep", [True, False])
def test_commits_under_way_are_kept_or_lost_as_a_whole(start: Callable[[], Host], keep: bool) -> None:
    host = start()
    host.commit(put(1))
    host.committed(1)
    host.tables.delay = 60.0
    host.commit(put(2), put(3))
    host.tables.close(keep_unsynced=keep)
    assert host.done == 1, "nobody hears of what was under way"
    found = [row.key for row in start().tables.load()]
    assert found == ([b"1", b"2", b"3"] if keep else [b"1"])


KILLED = """
import os, signal, sys
from pathlib import Path
from thornback.core.ports import Write
from thornback.transports.gcs_tables import GcsTables
from thornback.transports.loop import EventLoop
loop = EventLoop()
tables = GcsTables(Path(sys.argv[1]), loop, print)
def committed(number):
    if number == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    tables.commit([Write("keys", b"%d" % number, b"value")], lambda: committed(number + 1))
committed(0)
while True:
    loop.dispatch(loop.poll(1 << 62))
    while loop.soon:
        loop.soon.popleft()()
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The file of a process that was killed (SIGKILL) right after its twentieth commit."""
    path = tmp_path / "gcs.sqlite"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    return path


def test_what_was_answered_survives_sigkill(killed: Path, start: Callable[[], Host]) -> None:
    assert start().tables.load() == [put(number) for number in range(20)]


def test_a_torn_commit_is_not_there_and_all_before_it_are(killed: Path, start: Callable[[], Host]) -> None:
    """The log ends in the middle of the last commit, as after a loss of power."""
    log = killed.with_name(killed.name + "-wal")
    os.truncate(log, log.stat().st_size - 1000)
    assert start().tables.load() == [put(number) for number in range(19)]


def _unfinished(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def _no_database(path: Path) -> None:
    path.write_bytes(b"nonsense" * 1000)


def _changed_byte(path: Path) -> None:
    data = path.read_bytes()
    place = data.index(b"a long value that is found easily")
    path.write_bytes(data[:place] + b"A" + data[place + 1 :])


def _other_format(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_unfinished, "malformed|not a database"),
        (_no_database, "not a database"),
        (_changed_byte, "the row 37 of table keys is corrupt"),
        (_other_format, f"their format is number {FORMAT + 1}, and only number {FORMAT} is known"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_damaged_file_is_named(
    start: Callable[[], Host], tmp_path: Path, damage: Callable[[Path], None], why: str
) -> None:
    host = start()
    host.commit(
        put(7, b"a long value that is found easily"), *(put(number, os.urandom(500)) for number in range(10, 30))
    )
    host.committed(1)
    host.tables.close()
    path = tmp_path / "gcs.sqlite"
    damage(path)
    with pytest.raises(TablesUnusable, match=f"the tables of the GCS in {path} cannot be used: .*({why})"):
        start()


def test_a_place_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    host = Host(tmp_path / "missing" / "gcs.sqlite")
    host.commit(put(1))
    host.until(lambda: bool(host.failures), "that the file cannot be made should be told")
    assert "missing/gcs.sqlite cannot be used" in host.failures[0]
    assert host.done == 0
    host.tables.close()
