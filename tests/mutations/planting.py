"""Planting a bug: while a module is imported, a snippet of its source is replaced by another."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """A bug that somebody could make.

    Attributes:
        module: where it is.
        before, after: the snippet that is replaced, which must occur exactly once, and what replaces it.
        workload: which notices it; or a program in ``programs/``.
        seeds: within how many runs, each in a storm of its own, it must be found.
        config: settings of the engine that the runs need.
        kinds: faults that the storms consist of; None for all.
    """

    module: str
    before: str
    after: str
    workload: str
    seeds: int
    config: dict[str, int] = {}
    kinds: tuple[str, ...] | None = None

    def mutated(self, source: str) -> str:
        """The source with the bug in it.

        Raises:
            LookupError: the snippet is not there, or there more than once.
        """
        found = source.count(self.before)
        if found != 1:
            raise LookupError(f"{self.module} must have this exactly once, and has it {found} times:\n{self.before}")
        return source.replace(self.before, self.after)

    @property
    def file(self) -> Path:
        """Of the module."""
        return ROOT / (self.module.replace(".", "/") + ".py")


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return compile(self._mutant.mutated(self.get_data(path).decode()), path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None and spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self._mutant)
        return spec


def plant(mutant: Mutant) -> None:
    """Put the bug into this interpreter, before the module is imported."""
    assert mutant.module not in sys.modules, f"{mutant.module} is imported already"
    sys.meta_path.insert(0, _Finder(mutant))
