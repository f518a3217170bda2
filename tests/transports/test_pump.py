"""Who pumps: user threads when they wait, the ticker when they do not; and where interrupts may hit."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from thornback.core.errors import SessionEndedError, TaskCancelledError
from thornback.core.runtime import Waiter
from thornback.transports.loop import EventLoop
from thornback.transports.pump import Pump

LIMIT = 10.0
PUMPING, ASLEEP = "pumping", "asleep"


class Process:
    """A core that completes waiters when bytes arrive on a pipe."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.urgent = False
        self.settled = 0
        self.pump = Pump(self.loop, self.settle, lambda: self.urgent, lambda: None)
        self.waiters: list[Waiter] = []
        self.read_end, self.write_end = os.pipe2(os.O_NONBLOCK)
        self.loop.add(self.read_end, 1, lambda _mask: self.arrived(len(os.read(self.read_end, 100))))
        self.pump.start_ticker()

    def settle(self) -> None:
        self.settled += 1

    def arrived(self, count: int) -> None:
        for waiter in self.waiters[:count]:
            waiter.complete()
        del self.waiters[:count]

    def expect(self) -> Waiter:
        with self.pump:
            waiter = Waiter()
            self.waiters.append(waiter)
        return waiter

    def send(self, count: int = 1) -> None:
        os.write(self.write_end, b"x" * count)


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process()
    yield process
    with process.pump.lock:
        process.pump.stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.001)


def in_thread(work: Callable[[], object]) -> list[object]:
    """Run it in a thread; the list gets its result or exception."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)

    threading.Thread(target=run, daemon=True).start()
    return results


def test_many_threads_wait_and_each_gets_its_own(process: Process) -> None:
    """One of the waiting threads pumps; when it leaves another takes over, until all have what they wait for."""
    waiters = [process.expect() for _ in range(8)]
    results = [in_thread(lambda waiter=waiter: process.pump.wait(waiter, LIMIT)) for waiter in waiters]
    for _ in waiters:
        process.send()
        time.sleep(0.002)
    until(lambda: all(results))
    assert [result[0] for result in results] == [True] * 8


def test_a_timeout_is_kept_and_zero_polls_once(process: Process) -> None:
    """wait() returns False when nothing came; with timeout 0 it still sees what has arrived."""
    waiter = process.expect()
    assert process.pump.wait(waiter, 0) is False
    start = time.monotonic()
    assert process.pump.wait(waiter, 0.05) is False
    assert 0.05 <= time.monotonic() - start < LIMIT
    process.send()
    until(lambda: process.pump.wait(waiter, 0))


def test_the_ticker_receives_and_settles_while_user_code_is_busy(process: Process) -> None:
    """Nobody waits: what arrives is handled all the same, and a turn that was not urgent is settled soon."""
    waiter = process.expect()
    until(lambda: process.settled > 0)
    process.send()
    until(lambda: waiter.done)
    until(lambda: process.pump._ticker_state == PUMPING)
    before = process.settled
    with process.pump:
        pass
    until(lambda: process.settled > before)


def test_timers_run_whoever_pumps(process: Process) -> None:
    """A timer set in a turn fires although the pumping thread waits for something else, with no deadline."""
    results = in_thread(lambda: process.pump.wait(process.expect(), None))
    until(lambda: process.pump._ticker_state == ASLEEP)
    fired = threading.Event()
    with process.pump:
        process.loop.call_after(5_000_000, fired.set)
    assert fired.wait(LIMIT)
    assert results == []
    process.send()
    until(lambda: results == [True])


def test_an_idle_process_uses_no_cpu(process: Process) -> None:
    """When all waits, no thread ticks: neither while a user thread pumps for long, nor when nobody does."""
    until(lambda: process.pump._ticker_state == PUMPING)
    assert _cpu_ticks_in(0.3) <= 1
    results = in_thread(lambda: process.pump.wait(process.expect(), None))
    until(lambda: process.pump._ticker_state == ASLEEP)
    assert _cpu_ticks_in(0.3) <= 1
    process.send()
    until(lambda: results == [True])


def _cpu_ticks_in(seconds: float) -> int:
    before = time.process_time()
    time.sleep(seconds)
    return int((time.process_time() - before) * 100)


def test_an_interrupt_never_hits_a_turn(process: Process) -> None:
    """A thread inside a turn gets the interrupt when it leaves; the lock is free afterwards."""
    steps: list[str] = []
    entered, go_on = threading.Event(), threading.Event()
    idents: list[int] = []

    def work() -> None:
        idents.append(threading.get_ident())
        with process.pump:
            entered.set()
            go_on.wait(LIMIT)
            steps.append("turn was whole")
        steps.append("not reached")

    result = in_thread(work)
    assert entered.wait(LIMIT)
    process.pump.interrupt(idents[0])
    go_on.set()
    until(lambda: bool(result))
    assert isinstance(result[0], TaskCancelledError)
    assert steps == ["turn was whole"]
    assert process.pump.lock.acquire(timeout=LIMIT)
    process.pump.lock.release()


@pytest.mark.parametrize("waits", [True, False])
def test_a_cancelled_thread_stops_waiting_or_computing(process: Process, waits: bool) -> None:
    """An interrupt ends a wait, and a loop of plain Python code, in a thread other than the main one."""
    idents: list[int] = []

    def work() -> None:
        idents.append(threading.get_ident())
        if waits:
            process.pump.wait(process.expect(), None)
        while True:
            pass

    result = in_thread(work)
    until(lambda: bool(idents) and (not waits or bool(process.waiters)))
    with process.pump.lock:
        process.pump.interrupt(idents[0])
    until(lambda: bool(result))
    assert isinstance(result[0], TaskCancelledError)


def test_ctrl_c_ends_a_wait_of_the_main_thread(process: Process) -> None:
    """KeyboardInterrupt leaves wait(), never the code that pumps; waiting goes on afterwards."""
    before = signal.signal(signal.SIGINT, lambda *_: process.pump.interrupt_main())
    try:
        waiter = process.expect()
        in_thread(lambda: (time.sleep(0.05), os.kill(os.getpid(), signal.SIGINT)))
        with pytest.raises(KeyboardInterrupt):
            process.pump.wait(waiter, LIMIT)
    finally:
        signal.signal(signal.SIGINT, before)
    process.send()
    assert process.pump.wait(waiter, LIMIT)


def test_the_end_of_the_session_ends_all_waits(process: Process) -> None:
    """Threads that wait, pumping or not, and threads that come later get the reason."""
    results = [in_thread(lambda: process.pump.wait(process.expect(), None)) for _ in range(3)]
    until(lambda: len(process.waiters) == 3)
    with process.pump.lock:
        process.pump.refusal = SessionEndedError("over")
        process.pump.wake_all()
    until(lambda: all(results))
    assert all(isinstance(result[0], SessionEndedError) for result in results)
    with pytest.raises(SessionEndedError), process.pump:
        pass
