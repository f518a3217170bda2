"""What a forked worker does: from the template's copy of memory to a process that serves tasks."""

from __future__ import annotations

import os
import sys
import types
from typing import NoReturn

from thornback.api import current
from thornback.transports.marked_output import MarkedOutput
from thornback.transports.template import StartRequest, WorkerEnvironment
from thornback.transports.user_threads import UserThreads
from thornback.transports.worker_runtime import WorkerRuntime


def run_worker(environment: WorkerEnvironment, request: StartRequest) -> NoReturn:
    """The life of a worker."""
    sys.path[:] = request.sys_path
    sys.argv = [""]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        os.chdir(request.cwd)
    except OSError:
        pass  # a directory that is gone: stay in the template's
    output = MarkedOutput()
    output.install()
    user_threads = UserThreads(environment.page, request.slot, output)
    runtime = WorkerRuntime(environment, request, user_threads)
    current.runtime = runtime
    runtime.serve()
