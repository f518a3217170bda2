"""Every public name says in one sentence what it is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import thornback

PACKAGE = Path(thornback.__file__).parent
FOLDERS = ("core", "api", "util")


def undocumented(path: Path) -> Iterator[str]:
    """Public modules, classes, functions and methods of a file that have no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    name = path.relative_to(PACKAGE.parent)
    if ast.get_docstring(tree) is None:
        yield f"{name}:1 the module"
    yield from _within(tree, str(name), "")


def _within(parent: ast.AST, file: str, prefix: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.If):
            yield from _within(node, file, prefix)
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        if "overload" not in decorators and ast.get_docstring(node) is None:
            yield f"{file}:{node.lineno} {prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from _within(node, file, f"{prefix}{node.name}.")


def test_every_public_module_class_and_function_has_a_docstring() -> None:
    paths = [path for folder in FOLDERS for path in sorted((PACKAGE / folder).rglob("*.py"))]
    missing = [place for path in [PACKAGE / "__init__.py", *paths] for place in undocumented(path)]
    assert not missing, "a docstring is missing at\n" + "\n".join(missing)
