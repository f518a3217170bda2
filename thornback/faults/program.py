"""What is explored: a program in a file, one of the workloads, or a function."""

from __future__ import annotations

import gc
import hashlib
import importlib
import inspect
import linecache
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import thornback
from thornback.faults.invariants.custom import CustomChecker, declared_in
from thornback.faults.workloads import WORKLOADS, faults_of, node_of
from thornback.simulator.cluster import Machines

WORKLOAD = "workload:"
_INSTALLED = tuple(
    os.path.join(path, "")
    for path in (
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        os.path.dirname(thornback.__file__),
    )
)
"""Where modules are that do not belong to programs, even if a program stands above them."""


class ProgramError(ValueError):
    """There is no such program."""


class ProgramFailed(Exception):
    """The program ended with an exit code that is not 0."""


class Program:
    """Something that can be run from its beginning, any number of times.

    Attributes:
        name: for people and for files of failures; :func:`find_program` takes it.
        text: its source, "" if that is not known.
        file: where its source is, for tracebacks.
        arguments: what it finds in ``sys.argv``.
        modules: files beside it that its last run has imported, by their paths from its folder.
    """

    arguments: tuple[str, ...] = ()
    modules: Mapping[str, Path] = MappingProxyType({})

    def __init__(self, name: str, text: str, file: str) -> None:
        self.name = name
        self.text = text
        self.file = file

    @property
    def node(self) -> Machines:
        """The machines that it is made for, as :func:`thornback.simulator.cluster.machines` takes them."""
        return {}

    @property
    def faults(self) -> tuple[str, ...]:
        """Kinds of faults that storms of this program have besides the usual ones."""
        return ()

    @property
    def digest(self) -> str:
        """Of the source, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def invariants(self) -> list[CustomChecker]:
        """What the program has declared when it was imported."""
        return []

    def run(self) -> None:
        """Run it to its end; nothing of it is left afterwards.

        Raises:
            Exception: what it raises.
            ProgramFailed: it has exited with another code than 0.
        """
        raise NotImplementedError


class FileProgram(Program):
    """A program that runs as ``__main__``."""

    def __init__(self, path: Path, text: str, arguments: Sequence[str] = ()) -> None:
        super().__init__(str(path), text, str(path))
        self._path = path
        self.arguments = tuple(arguments)

    def run(self) -> None:
        """Run the source in a new ``__main__``; modules from its folder are imported anew each time."""
        module = ModuleType("__main__")
        module.__file__ = self.file
        module.__dict__["__builtins__"] = __builtins__
        linecache.cache[self.file] = (len(self.text), None, self.text.splitlines(True), self.file)
        folder = str(self._path.resolve().parent)
        saved, known = (sys.modules["__main__"], sys.argv), set(sys.modules)
        sys.modules["__main__"], sys.argv = module, [self.file, *self.arguments]
        sys.path.insert(0, folder)
        try:
            exec(compile(self.text, self.file, "exec", dont_inherit=True), module.__dict__)
        except SystemExit as end:
            if end.code not in (None, 0):
                failed = ProgramFailed(f"the program has exited with {end.code!r}")
                raise failed.with_traceback(end.__traceback__) from None
        finally:
            sys.modules["__main__"], sys.argv = saved
            sys.path.remove(folder)
            self.modules = _forget_modules(folder, known)
            module.__dict__.clear()


def _forget_modules(folder: str, known: set[str]) -> dict[str, Path]:
    """Have the modules from a folder imported anew next time; returns their files."""
    beside, found = os.path.join(folder, ""), {}
    for name in [name for name in sys.modules if name not in known]:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(beside) and not file.startswith(_INSTALLED):
            del sys.modules[name]
            found[file.removeprefix(beside)] = Path(file)
    return found


class ModuleProgram(Program):
    """A module with a function ``main``."""

    def __init__(self, name: str, module: ModuleType, node: Machines, faults: tuple[str, ...]) -> None:
        super().__init__(name, inspect.getsource(module), module.__file__ or "")
        self._module = module
        self._node = node
        self._faults = faults

    @property
    def node(self) -> Machines:
        """What the workload says."""
        return self._node

    @property
    def faults(self) -> tuple[str, ...]:
        """What the workload says."""
        return self._faults

    def invariants(self) -> list[CustomChecker]:
        """What the module has declared."""
        return declared_in(self._module.__name__)

    def run(self) -> None:
        """Call ``main``."""
        self._module.main()


class FunctionProgram(Program):
    """A function without arguments of this process."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(
            f"{function.__module__}:{function.__qualname__}", "", inspect.getsourcefile(function) or function.__module__
        )
        self._function = function

    def invariants(self) -> list[CustomChecker]:
        """What its module has declared."""
        return declared_in(self._function.__module__)

    def run(self) -> None:
        """Call it."""
        self._function()


def find_program(what: str | Path | Callable[[], Any] | Program, arguments: Sequence[str] = ()) -> Program:
    """The program with that path, workload with that name (``workload:shuffle``), or function.

    Raises:
        ProgramError: there is none, it cannot be read, or it is no Python.
    """
    if isinstance(what, Program):
        return what
    if callable(what):
        return FunctionProgram(what)
    if str(what).startswith(WORKLOAD):
        return _workload(str(what))
    path = Path(what)
    try:
        text = path.read_text(encoding="utf-8")
        compile(text, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise ProgramError(f"{path}:{error.lineno}: {error.msg}") from None
    except (OSError, ValueError) as error:
        if not path.is_file():
            raise ProgramError(f"there is no program {path}; {_choices()}") from None
        raise ProgramError(f"cannot read the program {path}: {error}") from None
    return FileProgram(path, text, arguments)


def recorded_program(name: str, text: str, arguments: Sequence[str] = ()) -> Program:
    """The program of that name with the source that it had, whatever its file holds now.

    Raises:
        ProgramError: it is a workload that does not exist.
    """
    return find_program(name) if name.startswith(WORKLOAD) else FileProgram(Path(name), text, arguments)


def programs_of(
    what: str | Path | Callable[[], Any] | Program | list[Program], arguments: Sequence[str] = ()
) -> list[Program]:
    """As :func:`find_program`; ``workload:all`` stands for all workloads."""
    if isinstance(what, list):
        return what
    if what == f"{WORKLOAD}all":
        return [find_program(WORKLOAD + name) for name in WORKLOADS]
    return [find_program(what, arguments)]


def _workload(name: str) -> Program:
    short = name.removeprefix(WORKLOAD)
    module = WORKLOADS.get(short)
    if module is None:
        raise ProgramError(f"there is no {name}; {_choices()}")
    return ModuleProgram(name, importlib.import_module(module), node_of(short), faults_of(short))


def _choices() -> str:
    return f"a program is a file, or one of {', '.join(WORKLOAD + name for name in ('all', *WORKLOADS))}"


def forget_cycles() -> None:
    """Collect what the program has left behind, so that its references are dropped."""
    gc.collect()
