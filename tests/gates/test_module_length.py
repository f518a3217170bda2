"""Modules stay small: one concept each, 800 lines at the most."""

from __future__ import annotations

from pathlib import Path

import thornback

PACKAGE = Path(thornback.__file__).parent
LIMIT = 800


def test_no_module_is_longer_than_800_lines() -> None:
    paths = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "tests").rglob("*.py")]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    long = [f"{path.relative_to(PACKAGE.parent)}: {count}" for path, count in lengths.items() if count > LIMIT]
    assert not long, f"split what has more than {LIMIT} lines:\n" + "\n".join(sorted(long))
