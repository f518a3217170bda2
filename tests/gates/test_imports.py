"""The import rule of ``core/``: it reaches the outside through its ports alone."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import thornback

PACKAGE = Path(thornback.__file__).parent

CORE_MAY_IMPORT = frozenset(
    {
        "__future__",
        "abc",
        "bisect",
        "cloudpickle",
        "collections",
        "contextlib",
        "contextvars",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "inspect",
        "io",
        "itertools",
        "json",
        "logging",
        "math",
        "msgspec",
        "operator",
        "pickle",
        "re",
        "struct",
        "traceback",
        "types",
        "typing",
        "weakref",
        "zlib",
    }
)
"""Everything in the list computes; nothing in it tells the time, draws a number, waits, or touches the machine."""


class Import(NamedTuple):
    """One import of one module."""

    path: Path
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(PACKAGE.parent)}:{self.line} imports {self.module}"


def imports_of(path: Path) -> Iterator[Import]:
    """All imports of a file, those inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    package = ("thornback", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [stem] if stem != "thornback" else [f"{stem}.{alias.name}" for alias in node.names]
            for name in names:
                yield Import(path, node.lineno, name)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("__import__", "importlib.import_module"):
            yield Import(path, node.lineno, ast.unparse(node))


def modules(*folders: str) -> list[Path]:
    """The Python files below some folders of the package."""
    return sorted(path for folder in folders for path in (PACKAGE / folder).rglob("*.py"))


def test_the_core_imports_nothing_that_touches_the_outside() -> None:
    breaches = [
        found
        for path in modules("core")
        for found in imports_of(path)
        if found.module.split(".")[0] not in CORE_MAY_IMPORT and not found.module.startswith("thornback.core")
    ]
    assert not breaches, "core/ may import only itself and what computes (see CORE_MAY_IMPORT); but\n" + "\n".join(
        map(str, breaches)
    )


def test_the_list_of_what_the_core_may_import_holds_no_door() -> None:
    doors = {
        "time",
        "random",
        "os",
        "socket",
        "threading",
        "asyncio",
        "uuid",
        "subprocess",
        "simpy",
        "grpc",
        "greenlet",
    }
    assert not doors & CORE_MAY_IMPORT
    assert CORE_MAY_IMPORT - {"cloudpickle", "msgspec"} <= sys.stdlib_module_names


def test_the_api_knows_no_world_until_one_is_started() -> None:
    """``api/`` and ``util/`` are written over the runtime; only ``init`` chooses the world, when it is called."""
    worlds = ("thornback.transports", "thornback.simulator", "simpy", "greenlet", "grpc", "pyarrow")
    breaches = [
        found
        for path in modules("api", "util")
        for found in imports_of(path)
        if found.module.startswith(worlds) and path.name != "session.py"
    ]
    assert not breaches, "only api/session.py may know the worlds; but\n" + "\n".join(map(str, breaches))


def test_the_worlds_do_not_know_each_other() -> None:
    breaches = [
        found
        for folder, other in (("transports", "thornback.simulator"), ("simulator", "thornback.transports"))
        for path in modules(folder)
        for found in imports_of(path)
        if found.module.startswith(other)
    ]
    assert not breaches, "each world implements the ports on its own; but\n" + "\n".join(map(str, breaches))


def test_tools_built_on_the_api_use_only_the_api() -> None:
    """``libs/`` is written against the public API, so that every library runs in both worlds."""
    breaches = [
        found
        for path in modules("libs")
        for found in imports_of(path)
        if found.module.startswith(("thornback.core", "thornback.api", "thornback.transports", "thornback.simulator"))
    ]
    assert not breaches, "libs/ may import only the public API; but\n" + "\n".join(map(str, breaches))
