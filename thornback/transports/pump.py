"""Who drives the event loop of a process whose user code runs in threads.

One lock guards the core. The thread that waits for something *pumps*: it polls (lock released), handles what arrived
(lock held), until what it waits for has happened. Other threads that wait meanwhile park, and one of them takes over
when the pumping thread leaves. User code thus never hands a message to another thread.

A background thread, the *ticker*, covers the times when user threads are busy elsewhere. It has three states:

======== ==================================================== ==========================================
ticking  looks every few milliseconds whether it is needed    user threads are active
pumping  pumps like any other, until a user thread wants to   no user thread has pumped for a tick
         or makes many turns
asleep   waits for :meth:`Pump._rouse`                        some user thread has been pumping for long
======== ==================================================== ==========================================

Interrupts (Ctrl-C, cancelled tasks) never hit a thread inside the core: a thread that is *inside* a turn or a wait gets
them when it leaves.
"""

from __future__ import annotations

import _thread
import ctypes
import signal
import threading
import traceback
from collections.abc import Callable
from threading import get_ident
from time import monotonic_ns
from types import TracebackType

from thornback.core.errors import TaskCancelledError
from thornback.core.runtime import Waiter
from thornback.transports.loop import FOREVER, EventLoop

TICK = 0.005
_TICKS_BEFORE_SLEEP = 10
_TURNS_BEFORE_POLL = 64
_FEW_TURNS = 16
_TICKING, _PUMPING, _ASLEEP = "ticking", "pumping", "asleep"


class _Parking:
    """Where one thread waits for another; may be left early, never blocks the one that wakes."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def wake(self) -> None:
        """End the wait; may be repeated."""
        try:
            self._lock.release()
        except RuntimeError:
            pass

    def wait(self, deadline: int) -> None:
        """Until woken or ``deadline``."""
        timeout = -1.0 if deadline >= FOREVER else max(0, deadline - monotonic_ns()) / 1e9
        self._lock.acquire(True, timeout)


class Pump:
    """The lock of a process's core, the turns of its user threads and the pumping of its loop.

    ``with pump:`` is a turn. Args:
        settle: with the lock held: end the core's turn and flush what it sent.
        is_urgent: whether what the last turn made must leave at once.
        unlocked_work: called without the lock now and then by whoever pumps, for output to people.
    """

    def __init__(
        self,
        loop: EventLoop,
        settle: Callable[[], None],
        is_urgent: Callable[[], bool],
        unlocked_work: Callable[[], None],
    ) -> None:
        self.lock = threading.RLock()
        self._loop = loop
        self._settle_core = settle
        self._is_urgent = is_urgent
        self._unlocked_work = unlocked_work
        self.refusal: BaseException | None = None
        """Raised to every user thread that enters, once set."""
        self._depth = 0
        self.dirty = False
        """Turns have ended, or references were collected, since the core was last settled."""
        self._turns = 0
        self._pumper = 0
        self._poll_until = 0
        self._parked: dict[int, _Parking] = {}
        self._inside: set[int] = set()
        self._interrupted: set[int] = set()
        self._polls = 0
        self._ticker_state = _TICKING
        self._ticker_ident = 0
        self._wanted_by_user = False
        self._bell = _Parking()
        self._stopped = False

    # --- Turns --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> None:
        self._inside.add(get_ident())
        self.lock.acquire()
        self._depth += 1
        if self.refusal is not None:
            self.__exit__(None, None, None)
            raise self.refusal

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._depth > 1:
            self._depth -= 1
            self.lock.release()
            return
        try:
            self._after_turn()
        finally:
            self._depth = 0
            self.lock.release()
            ident = get_ident()
            self._inside.discard(ident)
        if ident in self._interrupted:
            self._raise_interrupt(ident)

    def _after_turn(self) -> None:
        self._turns += 1
        if self._is_urgent():
            self.settle()
        elif not self.dirty:
            self.mark_dirty()
        if self._turns >= _TURNS_BEFORE_POLL:
            self.settle()
            self.poll_if_free()
        if self._loop.next_deadline() < self._poll_until:
            self._loop.kick()

    def mark_dirty(self) -> None:
        """A turn has ended that is to be settled soon (lock held)."""
        if not self.dirty:
            self.dirty = True
            if self._ticker_state is not _TICKING:
                self._rouse()

    def touched(self) -> None:
        """Something is to be settled soon; from any thread, in or out of a turn, also while garbage is collected."""
        if self.lock._is_owned():  # type: ignore[attr-defined]
            return
        self.dirty = True
        if self._ticker_state is not _TICKING:
            self._loop.kick()

    def settle(self) -> None:
        """End the core's turn and flush; with the lock held."""
        self.dirty = False
        self._settle_core()

    def poll_if_free(self) -> None:
        """Handle what has arrived, without waiting, unless another thread does that; with the lock held."""
        if self._pumper:
            return
        self._turns = 0
        self._polls += 1
        events = self._loop.poll(0)
        self._loop.dispatch(events)
        if events:
            self.settle()

    # --- Waiting ------------------------------------------------------------------------------------------------------

    def wait(self, waiter: Waiter, timeout: float | None) -> bool:
        """Until ``waiter.done`` (True) or ``timeout`` seconds have passed (False).

        Raises:
            KeyboardInterrupt, TaskCancelledError: the thread was interrupted.
            BaseException: :attr:`refusal`.
        """
        ident = get_ident()
        deadline = FOREVER if timeout is None else monotonic_ns() + int(timeout * 1e9)
        self._inside.add(ident)
        self.lock.acquire()
        try:
            self.settle()
            while not waiter.done and self.refusal is None and ident not in self._interrupted:
                if self._pumper == 0:
                    in_time = self._pump(waiter, deadline, ident)
                else:
                    in_time = self._park(waiter, deadline, ident)
                if not in_time:
                    break
        finally:
            if self._parked and self._pumper == 0:
                self._wake_successor()
            self.lock.release()
            self._inside.discard(ident)
        self._unlocked_work()
        if ident in self._interrupted:
            self._raise_interrupt(ident)
        if waiter.done:
            return True
        if self.refusal is not None:
            raise self.refusal
        return False

    def _pump(self, waiter: Waiter, deadline: int, ident: int) -> bool:
        """Pump until the waiter is done, or something else is to be looked at; False when the deadline has passed."""
        self._pumper = ident
        try:
            while not waiter.done and self.refusal is None and ident not in self._interrupted:
                self._round(deadline)
                self._polls += 1
                if deadline < FOREVER and not waiter.done and monotonic_ns() >= deadline:
                    return False
            return True
        finally:
            self._leave_pump()

    def _round(self, deadline: int) -> int:
        """One wait for events, and their handling. Returns the turns that were made during the wait."""
        loop = self._loop
        self._turns = 0
        self._poll_until = until = 0 if loop.soon else min(deadline, loop.next_deadline())
        self.lock.release()
        try:
            self._unlocked_work()
            events = loop.poll(until)
        finally:
            self.lock.acquire()
            self._poll_until = 0
        turns = self._turns
        loop.dispatch(events)
        self.settle()
        return turns

    def _leave_pump(self) -> None:
        self._pumper = 0
        if self._parked:
            self._wake_successor()
        elif self._ticker_state is _ASLEEP:
            self._rouse()

    def _wake_successor(self) -> None:
        next(iter(self._parked.values())).wake()

    def _park(self, waiter: Waiter, deadline: int, ident: int) -> bool:
        """Wait until woken; False when the deadline has passed."""
        parking = _Parking()
        waiter.on_done = parking.wake
        self._parked[ident] = parking
        if self._pumper == self._ticker_ident:
            self._take_over_from_ticker()
        self.lock.release()
        try:
            parking.wait(deadline)
        finally:
            self.lock.acquire()
            del self._parked[ident]
            waiter.on_done = None
        return waiter.done or deadline >= FOREVER or monotonic_ns() < deadline

    # --- Interrupts ---------------------------------------------------------------------------------------------------

    def interrupt(self, ident: int) -> None:
        """Raise in the thread ``ident`` (lock held): KeyboardInterrupt in the main one, else TaskCancelledError."""
        self._interrupted.add(ident)
        if ident == get_ident():
            return
        if ident == threading.main_thread().ident:
            signal.pthread_kill(ident, signal.SIGURG)
        elif ident in self._inside:
            self._wake_inside(ident)
        else:
            self._interrupted.discard(ident)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TaskCancelledError))

    def interrupt_main(self) -> bool:
        """In a signal handler (so in the main thread): False if the handler may raise here and now; otherwise the main
        thread is inside, and raises KeyboardInterrupt when it leaves."""
        ident = get_ident()
        if ident not in self._inside:
            return False
        self._interrupted.add(ident)
        self._wake_inside(ident)
        return True

    def has_interrupt(self, ident: int) -> bool:
        """Whether an interrupt of the thread is pending."""
        return ident in self._interrupted

    def take_interrupt(self, ident: int) -> bool:
        """Whether an interrupt of the thread was pending; it is not any more."""
        pending = ident in self._interrupted
        self._interrupted.discard(ident)
        return pending

    def protect(self, ident: int, protected: bool) -> None:
        """Count the thread as inside (or not any more) although it is in no turn."""
        if protected:
            self._inside.add(ident)
        else:
            self._inside.discard(ident)

    def _wake_inside(self, ident: int) -> None:
        parking = self._parked.get(ident)
        if parking is not None:
            parking.wake()
        elif self._pumper == ident:
            self._loop.kick()

    def _raise_interrupt(self, ident: int) -> None:
        self._interrupted.discard(ident)
        if ident == threading.main_thread().ident:
            raise KeyboardInterrupt
        raise TaskCancelledError("the task was cancelled")

    # --- The ticker ---------------------------------------------------------------------------------------------------

    def start_ticker(self) -> None:
        """Start the background thread."""
        thread = threading.Thread(target=self._tick, name="thornback-ticker", daemon=True)
        thread.start()
        self._ticker_ident = thread.ident or 0

    def wake_all(self) -> None:
        """Have every waiting thread look at :attr:`refusal` (lock held)."""
        for parking in self._parked.values():
            parking.wake()
        self._loop.kick()

    def forget_threads(self) -> None:
        """In a forked child: the other threads are gone, and with them whatever they held."""
        self.lock = threading.RLock()
        self._depth = 0
        self._parked.clear()
        self._inside.clear()
        self._stopped = True

    def stop(self) -> None:
        """End the ticker (lock held)."""
        self._stopped = True
        self._bell.wake()
        self._loop.kick()

    def _rouse(self) -> None:
        """There is something to settle: make the ticker see to it."""
        if self._ticker_state is _ASLEEP:
            self._ticker_state = _TICKING
            self._bell.wake()
        elif self._ticker_state is _PUMPING:
            self._loop.kick()

    def _take_over_from_ticker(self) -> None:
        if not self._wanted_by_user:
            self._wanted_by_user = True
            self._loop.kick()

    def _tick(self) -> None:
        polls_before, quiet_ticks = -1, 0
        while not self._stopped:
            self._bell.wait(monotonic_ns() + int(TICK * 1e9))
            with self.lock:
                try:
                    if self.dirty:
                        self.settle()
                    if self._pumper == 0 and self._polls == polls_before:
                        self._pump_in_background()
                except Exception:
                    # A bug of the engine must be seen, and must not end the thread that helps when all others are busy.
                    traceback.print_exc()
                quiet = self._pumper != 0 and self._polls == polls_before
                quiet_ticks = quiet_ticks + 1 if quiet else 0
                polls_before = self._polls
                if quiet_ticks < _TICKS_BEFORE_SLEEP or self._stopped:
                    continue
                self._ticker_state, quiet_ticks = _ASLEEP, 0
            while self._ticker_state is _ASLEEP and not self._stopped:
                self._bell.wait(FOREVER)

    def _pump_in_background(self) -> None:
        self._pumper = get_ident()
        self._ticker_state = _PUMPING
        try:
            while not self._wanted_by_user and not self._stopped:
                if self._round(FOREVER) > _FEW_TURNS:
                    return  # user threads are busy: waking up for each of their turns would slow them down
        finally:
            self._ticker_state = _TICKING
            self._wanted_by_user = False
            self._leave_pump()
