"""Starting a node process on this machine, and joining one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from thornback.core.config import Config
from thornback.core.messages import JobTerms
from thornback.core.resources import CPU, GPU, MEMORY, OBJECT_STORE_MEMORY, to_units
from thornback.core.runtime import Runtime
from thornback.transports import arena, relay, session, spill_places
from thornback.transports.links import listen, socket_path
from thornback.transports.node_options import NodeOptions, to_json
from thornback.transports.wire import HEADER, Join, Welcome, decode_welcome, opening_frame

if TYPE_CHECKING:
    from thornback.transports.driver_runtime import DriverRuntime

AUTO = "auto"
_JOIN_TIMEOUT = 30.0
_PID_FILE = "node.pid"
_BOOT = """import sys
sys.path.insert(0, sys.argv.pop(1))
from thornback.transports.node_main import main
main(sys.argv[1])"""


def start_local(
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    object_store_memory: int | None = None,
    namespace: str | None = None,
    config: Config | Mapping[str, Any] | None = None,
    log_to_driver: bool = True,
    memory: int | None = None,
    metadata: Mapping[str, str] | None = None,
    terms: JobTerms | None = None,
) -> Runtime:
    """Start a node that lives as long as this process, and join it as its driver.

    Args:
        num_cpus: default: the CPUs that this process may run on.
        object_store_memory: bytes; default: 30 % of the system's memory.
        memory: bytes that tasks may ask for; default: what the object store leaves.
        namespace: given: also make this driver a job of it; None: the caller does that.
        terms: what that job may claim.

    Raises:
        ValueError: an argument makes no sense.
        RuntimeError: the node process did not come up.
    """
    amounts = _amounts(num_cpus, num_gpus, resources, object_store_memory, memory)
    directory, process, life = _start_node(amounts, dict(labels or {}), _settings(config), owned=True)
    assert life is not None
    try:
        runtime = _join(directory, log_to_driver, (process, life))
    except BaseException as error:
        life.close()
        process.kill()
        process.wait()
        log = node_log(directory)
        session.remove(directory)
        if isinstance(error, OSError):
            raise RuntimeError(f"the node process did not come up:\n{log}") from error
        raise
    return _with_job(runtime, namespace, metadata, terms)


def start_standalone(
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    object_store_memory: int | None = None,
    config: Config | Mapping[str, Any] | None = None,
    memory: int | None = None,
) -> Path:
    """Start a node that lives until :func:`stop_standalone`; returns its session directory, which is its address."""
    amounts = _amounts(num_cpus, num_gpus, resources, object_store_memory, memory)
    directory, _process, _ = _start_node(amounts, dict(labels or {}), _settings(config), owned=False)
    return directory


def connect(
    address: str = AUTO,
    namespace: str | None = None,
    log_to_driver: bool = True,
    metadata: Mapping[str, str] | None = None,
    terms: JobTerms | None = None,
) -> Runtime:
    """Join a running node of this user as a further driver.

    Args:
        address: a session directory, or "auto" for the one that was started last.

    Raises:
        ConnectionError: there is none.
    """
    if address == AUTO:
        sessions = session.live_sessions(session.base_directory())
        if not sessions:
            raise ConnectionError("no running thornback session was found on this machine")
        directory = sessions[0]
    else:
        directory = Path(address)
        if not session.is_live(directory):
            raise ConnectionError(f"there is no running thornback session in {directory}")
    return _with_job(_join(directory, log_to_driver, None), namespace, metadata, terms)


def _with_job(
    runtime: DriverRuntime, namespace: str | None, metadata: Mapping[str, str] | None, terms: JobTerms | None
) -> Runtime:
    if namespace is None:
        return runtime
    from thornback.core.blocking import start_job

    try:
        start_job(runtime, namespace, " ".join(sys.argv), dict(metadata or {}), terms)
    except BaseException:
        runtime.close()
        raise
    return runtime


def _settings(config: Config | Mapping[str, Any] | None) -> dict[str, Any]:
    settings: dict[str, Any] = msgspec.to_builtins(config if isinstance(config, Config) else Config.of(config))
    return settings


def _amounts(
    num_cpus: float | None,
    num_gpus: float | None,
    resources: Mapping[str, float] | None,
    object_store_memory: int | None,
    memory: int | None,
) -> dict[str, float]:
    reserved = sorted({CPU, GPU, MEMORY, OBJECT_STORE_MEMORY} & set(resources or ()))
    if reserved:
        raise ValueError(f"resource {reserved[0]!r} has an argument of its own")
    if object_store_memory is None:
        object_store_memory = arena.default_capacity()
    elif object_store_memory < arena.SMALLEST:
        raise ValueError(f"object_store_memory must be at least {arena.SMALLEST} bytes, not {object_store_memory}")
    if memory is None:
        memory = max(0, arena.system_memory() - object_store_memory)
    return {
        CPU: len(os.sched_getaffinity(0)) if num_cpus is None else num_cpus,
        GPU: 0 if num_gpus is None else num_gpus,
        MEMORY: memory,
        OBJECT_STORE_MEMORY: object_store_memory,
        **(resources or {}),
    }


def _start_node(
    amounts: dict[str, float], labels: dict[str, str], config: dict[str, Any], owned: bool
) -> tuple[Path, subprocess.Popen[bytes], socket.socket | None]:
    """Start a node process. Its socket accepts connections at once, before the process is up."""
    units = to_units(amounts)
    spill_places.check_places(Config.of(config))
    base = session.base_directory()
    session.sweep(base)
    directory, lock = session.create(base)
    try:
        process, life = _spawn(directory, lock, units, amounts, labels, config, owned)
    except BaseException:
        session.remove(directory)
        raise
    return directory, process, life


def _spawn(
    directory: Path,
    lock: int,
    units: dict[str, int],
    amounts: dict[str, float],
    labels: dict[str, str],
    config: dict[str, Any],
    owned: bool,
) -> tuple[subprocess.Popen[bytes], socket.socket | None]:
    listener = listen(socket_path(directory, b"gcs"))
    relay_listener = listen(str(directory / relay.FILE)) if config["relayed_links"] else None
    life, node_life = socket.socketpair() if owned else (None, None)
    options = NodeOptions(
        directory=str(directory),
        resources=units,
        labels=labels,
        object_store_memory=int(amounts[OBJECT_STORE_MEMORY]),
        config=config,
        sys_path=program_path(),
        cwd=os.getcwd(),
        listener_fd=listener.fileno(),
        relay_fd=-1 if relay_listener is None else relay_listener.fileno(),
        lock_fd=lock,
        life_fd=-1 if node_life is None else node_life.fileno(),
    )
    sockets = [sock for sock in (listener, relay_listener, node_life) if sock is not None]
    inherited = [lock, *(sock.fileno() for sock in sockets)]
    package_root = str(Path(__file__).resolve().parents[2])
    try:
        with open(directory / session.LOGS / "node.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, package_root, to_json(options).decode()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=inherited,
                start_new_session=True,
            )
    finally:
        os.close(lock)
        for sock in sockets:
            sock.close()
    (directory / _PID_FILE).write_text(str(process.pid))
    return process, life


def program_path() -> list[str]:
    """``sys.path`` of this process as others can use it: absolute, without duplicates."""
    return list(dict.fromkeys(os.path.abspath(path) for path in sys.path))


def node_log(directory: Path) -> str:
    """What the node process has written to its log; for error messages."""
    try:
        return (directory / session.LOGS / "node.log").read_text(errors="replace")
    except OSError:
        return ""


def _join(
    directory: Path, log_to_driver: bool, node: tuple[subprocess.Popen[bytes], socket.socket] | None
) -> DriverRuntime:
    # The node process starts meanwhile, on another CPU if there is one.
    from thornback.transports.driver_runtime import DriverRuntime

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(_JOIN_TIMEOUT)
        relay.dial(sock, directory, socket_path(directory, b"gcs"), relay.DRIVER_NODE)
        sock.sendall(opening_frame(Join(os.getpid(), os.getcwd(), program_path())))
        welcome, memory_fd = _receive_welcome(sock)
    except BaseException:
        sock.close()
        raise
    return DriverRuntime(directory, sock, welcome, memory_fd, log_to_driver, node)


def _receive_welcome(sock: socket.socket) -> tuple[Welcome, int]:
    """The node's answer, which comes in one piece and alone."""
    data, fds, _, _ = socket.recv_fds(sock, 1 << 16, 1)
    if not data or not fds:
        raise ConnectionError("the node process ended before it was up")
    size, _ = HEADER.unpack_from(data)
    while len(data) < HEADER.size + size:
        more = sock.recv(HEADER.size + size - len(data))
        if not more:
            raise ConnectionError("the node process ended before it was up")
        data += more
    return decode_welcome(data[HEADER.size :]), fds[0]


def stop_standalone(directory: Path) -> None:
    """Ask the node of a session to end.

    Raises:
        ConnectionError: it does not run.
    """
    os.kill(node_pid(directory), signal.SIGTERM)


def node_pid(directory: Path) -> int:
    """Pid of the node process of a running session.

    Raises:
        ConnectionError: it does not run.
    """
    if not session.is_live(directory):
        raise ConnectionError(f"there is no running thornback session in {directory}")
    return int((directory / _PID_FILE).read_text())
