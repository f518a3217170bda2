"""The module ``time``, and the present moment of ``datetime``, on virtual time."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any

from thornback.simulator import threads
from thornback.simulator.model import nanoseconds
from thornback.simulator.patches import Patches
from thornback.simulator.surroundings import FREE_READS, Surroundings

MOMENT = 20_000
"""Nanoseconds that a clock reading takes in a program that does nothing but read the clock."""


def install(patches: Patches) -> None:
    """Replace the clocks and ``sleep``."""
    for name, read in _CLOCKS.items():
        patches.replace(time, name, _clock(patches, getattr(time, name), read, 1e9))
        patches.replace(time, f"{name}_ns", _clock(patches, getattr(time, f"{name}_ns"), read, None))
    patches.replace(time, "sleep", _sleep(patches, time.sleep))
    for name in ("localtime", "gmtime", "ctime"):
        patches.replace(time, name, _converter(patches, getattr(time, name)))
    patches.replace(time, "asctime", _formatter(patches, time.asctime, 0))
    patches.replace(time, "strftime", _formatter(patches, time.strftime, 1))
    patches.replace(datetime, "datetime", _virtual_datetime(patches, datetime.datetime))
    patches.replace(datetime, "date", _virtual_date(patches, datetime.date))


_CLOCKS: dict[str, Callable[[Surroundings], int]] = {
    "time": Surroundings.wall,
    "monotonic": Surroundings.monotonic,
    "perf_counter": Surroundings.monotonic,
    "process_time": Surroundings.monotonic,
    "thread_time": Surroundings.monotonic,
}


def _clock(patches: Patches, original: Any, read: Callable[[Surroundings], int], scale: float | None) -> Any:
    caller = patches.caller

    def now() -> Any:
        thread = caller()
        if thread is None:
            return original()
        surroundings = thread.surroundings
        surroundings.reads += 1
        if surroundings.reads > FREE_READS:
            _spend_a_moment(thread)
        value = read(surroundings)
        return value if scale is None else value / scale

    return now


def _spend_a_moment(thread: threads.UserThread) -> None:
    surroundings = thread.surroundings
    thread.sleep(MOMENT)
    surroundings.reads = FREE_READS


def _sleep(patches: Patches, original: Any) -> Any:
    def sleep(seconds: float) -> None:
        thread = patches.caller()
        if thread is None:
            original(seconds)
            return
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        thread.sleep(nanoseconds(seconds))

    return sleep


def _converter(patches: Patches, original: Any) -> Any:
    def convert(seconds: float | None = None) -> Any:
        thread = patches.caller()
        if seconds is None and thread is not None:
            seconds = thread.surroundings.wall() / 1e9
        return original(seconds)

    return convert


def _formatter(patches: Patches, original: Any, position: int) -> Any:
    def form(*args: Any) -> Any:
        if len(args) == position and patches.caller() is not None:
            args = (*args, time.localtime())
        return original(*args)

    return form


def _virtual_datetime(patches: Patches, original: Any) -> Any:
    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, original)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, original)

    class VirtualDatetime(original, metaclass=Meta):  # type: ignore[misc]
        __slots__ = ()

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return original(*args, **kwargs)

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            thread = patches.caller()
            return original.now(tz) if thread is None else original.fromtimestamp(thread.surroundings.wall() / 1e9, tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now(datetime.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    _disguise(VirtualDatetime, original)
    return VirtualDatetime


def _virtual_date(patches: Patches, original: Any) -> Any:
    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, original)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, original)

    class VirtualDate(original, metaclass=Meta):  # type: ignore[misc]
        __slots__ = ()

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return original(*args, **kwargs)

        @classmethod
        def today(cls) -> Any:
            thread = patches.caller()
            return original.today() if thread is None else original.fromtimestamp(thread.surroundings.wall() / 1e9)

    _disguise(VirtualDate, original)
    return VirtualDate


def _disguise(virtual: type, original: type) -> None:
    virtual.__name__, virtual.__qualname__, virtual.__module__ = original.__name__, original.__qualname__, "datetime"
