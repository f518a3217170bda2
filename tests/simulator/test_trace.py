"""What the hash of a run covers."""

from __future__ import annotations

import random
from array import array

from thornback.core.messages import CpuAcquired
from thornback.simulator.engine import Engine
from thornback.simulator.trace import RunTrace


def test_the_text_of_a_warning_does_not_change_the_hash() -> None:
    """It names the file and line of whoever runs the program."""
    digests = []
    for text, kind in (("in a.py:1", "warning"), ("in b.py:2", "warning"), ("in b.py:2", "task.failed")):
        trace = RunTrace(Engine(random.Random(1)))
        trace.event(kind, b"subject", text)
        digests.append(trace.digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_journal_has_a_checksum_for_each_record_and_listening_changes_nothing() -> None:
    plain, watched = (RunTrace(Engine(random.Random(1))) for _ in range(2))
    watched.journal = array("H")
    seen: list[str] = []
    watched.listeners.append(lambda time, kind, subject, detail: seen.append(kind))
    for trace in (plain, watched):
        trace.event("task.finished", b"one", 0)
        trace.event("task.failed", b"two", 1)
    assert plain.digest == watched.digest
    assert seen == ["task.finished", "task.failed"]
    assert len(watched.journal) == len(set(watched.journal)) == 2


def test_looking_at_the_hash_of_a_run_does_not_change_what_it_becomes() -> None:
    quiet, watched = (RunTrace(Engine(random.Random(1))) for _ in range(2))
    for number in range(5000):
        for trace in (quiet, watched):
            trace.event("task.finished", b"one", number)
            trace.delivered(b"sender", b"receiver", [CpuAcquired()], 0)
        if number % 777 == 0:
            assert watched.digest
    assert quiet.digest == watched.digest
