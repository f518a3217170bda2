"""Replacing functions of the standard library while a simulation runs.

The replacements act on simulated user code only; for everything else they pass through to the originals.
"""

from __future__ import annotations

import asyncio
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import get_ident
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from thornback.simulator import threads
from thornback.simulator.event_loop import VirtualPolicy

if TYPE_CHECKING:
    from thornback.simulator.threads import UserThread
    from thornback.simulator.world import World

_ABSENT = object()


class Patches:
    """All replacements of one simulation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._replaced: list[tuple[Any, str, Any]] = []
        self._by_original: dict[int, tuple[Any, Any]] = {}
        self._policy: Any = None
        self.home = get_ident()
        """The operating-system thread of the simulation; code in others is not simulated."""

    def caller(self) -> UserThread | None:
        """The simulated user thread that calls; None for any other code."""
        thread = threads.active
        return thread if thread is not None and get_ident() == self.home else None

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute until :meth:`remove`; does nothing if ``owner`` does not have it.

        A function that replaces one of a module takes on its name, so that it is pickled by reference.
        """
        original = owner.__dict__.get(name, _ABSENT) if isinstance(owner, type) else getattr(owner, name, _ABSENT)
        if original is _ABSENT:
            return
        self._replaced.append((owner, name, original))
        if isinstance(owner, ModuleType):
            self._by_original[id(original)] = (original, value)
            if isinstance(value, FunctionType):
                value.__module__, value.__name__, value.__qualname__ = owner.__name__, name, name
        setattr(owner, name, value)

    def replace_all(self, owner: Any, functions: Mapping[str, Callable[..., Any]]) -> None:
        """:meth:`replace` several attributes."""
        for name, value in functions.items():
            self.replace(owner, name, value)

    def install(self) -> None:
        """Replace everything."""
        from thornback.simulator import virtual_locks, virtual_os, virtual_random, virtual_time

        self.home = get_ident()
        virtual_time.install(self)
        virtual_random.install(self)
        virtual_os.install(self)
        virtual_locks.install(self)
        self._replace_imported()
        self._policy = asyncio.get_event_loop_policy()
        asyncio.set_event_loop_policy(VirtualPolicy(self._world))

    def remove(self) -> None:
        """Put everything back."""
        if self._policy is not None:
            asyncio.set_event_loop_policy(self._policy)
            self._policy = None
        while self._replaced:
            owner, name, original = self._replaced.pop()
            setattr(owner, name, original)
        self._by_original.clear()

    def _replace_imported(self) -> None:
        """Modules of the user that did ``from time import sleep`` hold the originals under names of their own."""
        for module in list(sys.modules.values()):
            if isinstance(module, ModuleType) and _is_users(module):
                for name, value in list(vars(module).items()):
                    found = self._by_original.get(id(value))
                    if found is not None and found[0] is value:
                        self._replaced.append((module, name, value))
                        setattr(module, name, found[1])


_SYSTEM = tuple(
    str(Path(directory).resolve())
    for directory in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
)
_OWN = str(Path(__file__).resolve().parent.parent)
_OWN_USER_CODE = ("thornback.libs", "thornback.util", "thornback.demo", "thornback.faults.workloads")


def _is_users(module: ModuleType) -> bool:
    if module.__name__ == "__main__" or module.__name__.startswith(_OWN_USER_CODE):
        return True
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not file.startswith((*_SYSTEM, _OWN))
