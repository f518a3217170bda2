"""The GCS as it looks for cycles: two walks, no verdict on what is unknown, each cycle told once."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from thornback.core.config import Config
from thornback.core.gcs.wait_cycles import ANSWER_LIMIT, WaitCycles
from thornback.core.messages import AskReasons, Message, ReasonsGiven, ReportWaits, WaitCycleFound
from thornback.core.messages.waits import TASK, Blocked, Reason, Running, Subject

FIRST, SECOND = Subject(b"process-one-", TASK, b"1" * 20), Subject(b"process-two-", TASK, b"2" * 20)
DRIVER = b"driver"


def blocked(name: str, need: Subject, since: int = 1) -> Reason:
    return Blocked(
        name=name,
        needs=(need,),
        needed=1,
        since=since,
        call="get()",
        site=f"{name}.py:7 {name}",
        origin=f"{name}.py:6 {name}",
        job_id=1,
        has_timeout=False,
        total=1,
    )


class Gcs:
    """As much of a GCS as the search for cycles uses, and the processes that answer it."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Message]] = []
        self.timers: list[Callable[[], None]] = []
        self.looks: list[Callable[[], None]] = []
        self.answers: dict[Subject, Reason] = {
            FIRST: blocked("first", SECOND),
            SECOND: blocked("second", FIRST),
        }
        clock = SimpleNamespace(now=lambda: 10**9, call_after=self._call_after)
        transport = SimpleNamespace(send=lambda to, message: self.sent.append((to, message)))
        self.ports = SimpleNamespace(clock=clock, transport=transport, trace=SimpleNamespace(enabled=False))
        self.nodes = SimpleNamespace(view=SimpleNamespace(nodes={}))
        self.jobs = SimpleNamespace(table={1: SimpleNamespace(driver=DRIVER, ended=None)})
        self.reasons: Any = None
        self.config = Config()
        self.search = WaitCycles(self)  # type: ignore[arg-type]

    def _call_after(self, delay: int, call: Callable[[], None]) -> None:
        (self.timers if delay == ANSWER_LIMIT else self.looks).append(call)

    def report(self, *subjects: Subject) -> None:
        self.search.on_report_waits(b"process", ReportWaits(subjects))
        self.look()

    def look(self) -> None:
        """Let the pause before the next look pass."""
        looks, self.looks = self.looks, []
        assert len(looks) <= 1, "one look at a time"
        for call in looks:
            call()

    def questions(self) -> list[tuple[bytes, AskReasons]]:
        found = [(to, message) for to, message in self.sent if isinstance(message, AskReasons)]
        self.sent = [each for each in self.sent if not isinstance(each[1], AskReasons)]
        return found

    def answer_one(self, silent: bytes = b"") -> int:
        """Answer the questions that are open now; returns how many there were."""
        asked = self.questions()
        for to, message in asked:
            if to != silent:
                reasons: Any = tuple(self.answers[subject] for subject in message.subjects)
                self.search.on_reasons_given(to, ReasonsGiven(message.request, 10**9, reasons))
        return len(asked)

    def answer_all(self, silent: bytes = b"") -> None:
        while self.answer_one(silent):
            pass

    def told(self) -> list[str]:
        return [message.text for to, message in self.sent if isinstance(message, WaitCycleFound) and to == DRIVER]


def test_a_cycle_is_told_to_the_driver_once_with_both_lines() -> None:
    gcs = Gcs()
    for _ in range(3):
        gcs.report(FIRST)
        gcs.answer_all()
    [text] = gcs.told()
    assert "first.py:7 first" in text and "second.py:6 second" in text


def test_the_oldest_wait_is_told_first() -> None:
    gcs = Gcs()
    gcs.answers[FIRST] = blocked("first", SECOND, since=500_000_000)
    gcs.report(FIRST)
    gcs.answer_all()
    [text] = gcs.told()
    assert text.index("second.py:7") < text.index("first.py:7")


@pytest.mark.parametrize("other", [Running(name="second"), blocked("second", FIRST, since=2)])
def test_what_changes_between_the_two_walks_is_no_cycle(other: Reason) -> None:
    gcs = Gcs()
    gcs.report(FIRST)
    for _ in range(2):
        gcs.answer_one()
    gcs.answers[SECOND] = other
    gcs.answer_all()
    assert gcs.told() == []


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_a_process_that_dies_in_the_middle_of_a_look_may_go_on(answered: int) -> None:
    gcs = Gcs()
    gcs.report(FIRST)
    for _ in range(answered):
        gcs.answer_one()
    gcs.answer_all(silent=SECOND.at)
    gcs.answer_all(silent=FIRST.at)
    for timer in list(gcs.timers):
        timer()
    gcs.answer_all()
    assert gcs.told() == [], "nobody knows what the dead process would do"
    gcs.report(FIRST)
    gcs.answer_all()
    assert len(gcs.told()) == 1, "the next look has an answer from all"


def test_a_report_during_a_look_leads_to_another_look() -> None:
    gcs = Gcs()
    gcs.answers[SECOND] = Running(name="second")
    gcs.report(FIRST)
    gcs.answer_one()
    gcs.answers[SECOND] = blocked("second", FIRST)
    gcs.answers[FIRST] = blocked("first", SECOND, since=3)
    gcs.report(SECOND)
    gcs.answer_all()
    assert gcs.told() == []
    gcs.look()
    gcs.answer_all()
    assert len(gcs.told()) == 1


def test_answers_that_are_late_or_repeated_are_ignored() -> None:
    gcs = Gcs()
    gcs.report(FIRST)
    [(to, question)] = gcs.questions()
    answer = ReasonsGiven(question.request, 10**9, (gcs.answers[FIRST],))  # type: ignore[arg-type]
    for _ in range(2):
        gcs.search.on_reasons_given(to, answer)
    gcs.answer_all()
    gcs.search.on_reasons_given(to, answer)
    assert len(gcs.told()) == 1


def test_a_cycle_of_a_job_without_a_driver_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    gcs = Gcs()
    gcs.jobs.table.clear()
    gcs.report(FIRST)
    gcs.answer_all()
    assert gcs.told() == [] and "wait for each other" in caplog.text
