"""Where each engine is installed: a virtual environment of its own in the user's cache, made when first needed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

REQUIREMENTS: dict[str, list[str]] = {"ray": ["ray"], "dask": ["dask", "distributed"]}
"""What each engine that is not ours needs, besides NumPy in the version that we use."""
OWN = ("thornback", "bare")
"""Run in the environment that runs this."""
ENGINES = ("thornback", "ray", "dask", "bare")
_COMPLETE = "complete"


class InstallError(Exception):
    """An engine could not be installed; says how pip ended."""


def cache() -> Path:
    """The directory that holds the environments."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "thornback-peers"


def python_of(engine: str, say: Callable[[str], None]) -> Path:
    """The interpreter that runs the engine; installs it if that has not been done.

    Raises:
        InstallError: that failed.
    """
    if engine in OWN:
        return Path(sys.executable)
    directory = cache() / f"{engine}-{sys.version_info.major}.{sys.version_info.minor}"
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory.with_name(f"{directory.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / _COMPLETE).exists():
            say(f"installing {engine} into {directory}")
            _install(engine, directory)
    return directory / "bin" / "python"


def _install(engine: str, directory: Path) -> None:
    shutil.rmtree(directory)
    venv.create(directory, with_pip=True)
    wanted = [*REQUIREMENTS[engine], f"numpy=={version('numpy')}"]
    command: list[str | Path] = [directory / "bin" / "python", "-m", "pip", "install", "--quiet", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise InstallError(f"pip install {' '.join(wanted)}: {lines[-1] if lines else 'failed'}")
    (directory / _COMPLETE).touch()


def remove() -> None:
    """Delete all environments."""
    shutil.rmtree(cache(), ignore_errors=True)
