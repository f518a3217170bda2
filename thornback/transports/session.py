"""Session directories: where the sockets and logs of one running node are, and how none is left behind.

The node process holds an exclusive lock on a file in its directory for as long as it lives. A directory whose lock is
free belongs to nobody and is removed by whoever finds it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from pathlib import Path

_LOCK = "lock"
_PREFIX = "session-"
_UNFINISHED = "new-"
_UNFINISHED_LIFE = 60.0
_PATH_LIMIT = 107
_LONGEST_SOCKET = len("/wffffffff")
LOGS = "logs"


def base_directory() -> Path:
    """The directory of all sessions of this user; made if need be, closed to others.

    Raises:
        PermissionError: it exists, but is not ours alone.
    """
    candidates = []
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        candidates.append(Path(runtime) / "thornback")
    user = f"thornback-{os.geteuid()}"
    candidates += [Path(tempfile.gettempdir()) / user, Path("/tmp") / user]
    base = next((path for path in candidates if _is_short_enough(path)), candidates[-1])
    base.mkdir(mode=0o700, exist_ok=True)
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(f"{base} must be a directory that belongs to you and that nobody else can enter")
    return base


def _is_short_enough(base: Path) -> bool:
    return len(os.fsencode(base)) + 1 + len(_new_name()) + _LONGEST_SOCKET <= _PATH_LIMIT


def _new_name() -> str:
    return f"{_PREFIX}{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def create(base: Path) -> tuple[Path, int]:
    """A new session directory and the descriptor that locks it, until its last duplicate is closed."""
    name = _new_name()
    unfinished = base / (_UNFINISHED + name)
    (unfinished / LOGS).mkdir(mode=0o700, parents=True)
    unfinished.chmod(0o700)
    lock = os.open(unfinished / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    directory = base / name
    unfinished.rename(directory)
    return directory, lock


def is_live(directory: Path) -> bool:
    """Whether a node process holds the directory."""
    try:
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def live_sessions(base: Path) -> list[Path]:
    """Directories of running sessions, newest first."""
    return sorted((path for path in base.glob(_PREFIX + "*") if is_live(path)), reverse=True)


def sweep(base: Path) -> None:
    """Remove the directories that ended sessions have left."""
    for path in base.iterdir():
        if path.name.startswith(_PREFIX):
            if not is_live(path):
                remove(path)
        elif path.name.startswith(_UNFINISHED) and _age(path) > _UNFINISHED_LIFE:
            remove(path)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def remove(directory: Path) -> None:
    """Remove a session directory; no harm if another process does the same."""
    shutil.rmtree(directory, ignore_errors=True)
