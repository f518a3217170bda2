"""The operating system as simulated user code sees it: its own pid and host; no threads, processes or sockets."""

from __future__ import annotations

import _thread
import multiprocessing.process
import os
import signal
import socket
import subprocess
import threading
from typing import Any, NoReturn

from thornback.simulator import threads
from thornback.simulator.patches import Patches
from thornback.simulator.process import UserProcess

THREADS = (
    "simulated programs run in one thread: use a task (@remote) or an actor with max_concurrency for work that goes on "
    "at the same time, or asyncio"
)
PROCESSES = "simulated programs cannot start processes: use tasks and actors"
SOCKETS = "simulated programs have no network: let tasks and actors exchange values"


class NotSimulatedError(RuntimeError):
    """The program did something that has no place in a simulation; says what to do instead."""


def install(patches: Patches) -> None:
    """Replace what reaches outside of the process."""
    patches.replace(os, "getpid", _getpid(patches, os.getpid))
    patches.replace(os, "getppid", _getppid(patches, os.getppid))
    patches.replace(os, "_exit", _exit(patches, os._exit))
    patches.replace(os, "abort", _abort(patches, os.abort))
    patches.replace(os, "kill", _kill(patches, os.kill))
    patches.replace(socket, "gethostname", _gethostname(patches, socket.gethostname))
    for owner, name, text in (
        (threading.Thread, "start", f"threading.Thread: {THREADS}"),
        (_thread, "start_new_thread", f"threads: {THREADS}"),
        (_thread, "start_joinable_thread", f"threads: {THREADS}"),
        (subprocess.Popen, "__init__", f"subprocess: {PROCESSES}"),
        (multiprocessing.process.BaseProcess, "start", f"multiprocessing: {PROCESSES}"),
        (os, "fork", f"os.fork: {PROCESSES}"),
        (os, "posix_spawn", f"os.posix_spawn: {PROCESSES}"),
        (os, "system", f"os.system: {PROCESSES}"),
        (socket.socket, "__init__", f"socket: {SOCKETS}"),
    ):
        original = owner.__dict__.get(name)
        if original is not None:
            patches.replace(owner, name, _refused(patches, original, text))


def _refused(patches: Patches, original: Any, text: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        if patches.caller() is not None:
            raise NotSimulatedError(text)
        return original(*args, **kwargs)

    return refuse


def _getpid(patches: Patches, original: Any) -> Any:
    def getpid() -> int:
        thread = patches.caller()
        return original() if thread is None else thread.surroundings.pid

    return getpid


def _getppid(patches: Patches, original: Any) -> Any:
    def getppid() -> Any:
        thread = patches.caller()
        if thread is None:
            return original()
        process = thread.surroundings.node.process
        return process.pid if process is not None else 1

    return getppid


def _gethostname(patches: Patches, original: Any) -> Any:
    def gethostname() -> str:
        thread = patches.caller()
        return original() if thread is None else thread.surroundings.node.name

    return gethostname


def _exit(patches: Patches, original: Any) -> Any:
    def exit_now(status: int) -> NoReturn:
        thread = patches.caller()
        if not isinstance(thread, threads.GreenletThread):
            original(status)
            raise AssertionError
        end_own_process(thread, f"exit code {status}")

    return exit_now


def _abort(patches: Patches, original: Any) -> Any:
    def abort() -> NoReturn:
        thread = patches.caller()
        if not isinstance(thread, threads.GreenletThread):
            original()
            raise AssertionError
        end_own_process(thread, "killed (SIGABRT)")

    return abort


def _kill(patches: Patches, original: Any) -> Any:
    def kill(pid: int, number: int, /) -> None:
        thread = patches.caller()
        if thread is None:
            original(pid, number)
            return
        process = thread.world.process_with(pid)
        if process is None:
            raise ProcessLookupError(3, "No such process")
        if number in (0, signal.SIGCONT, signal.SIGCHLD, signal.SIGURG):
            return
        detail = f"killed ({signal.Signals(number).name})"
        if process is thread.process and isinstance(thread, threads.GreenletThread):
            end_own_process(thread, detail)
        _end_soon(process, detail)

    return kill


def _end_soon(process: UserProcess, detail: str) -> None:
    world = process.world
    world.engine.call_after(0, lambda: world.end_process(process, detail))


def end_own_process(thread: threads.GreenletThread, detail: str) -> NoReturn:
    """End the process of the calling thread at once."""
    assert thread.process is not None
    thread.world.end_process(thread.process, detail)
    thread.vanish()
