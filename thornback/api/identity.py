"""Who is calling: the job, namespace and runtime environment of the code that runs now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from thornback.core import context
from thornback.core.runtime import Runtime


@dataclass(slots=True)
class Session:
    """What ``init`` was told and that later calls need."""

    namespace: str = ""
    runtime_env: str = ""
    """JSON; inherited by all tasks and actors of the driver."""
    address_info: dict[str, Any] = field(default_factory=dict)


def session_of(runtime: Runtime) -> Session:
    """The session that ``init`` attached to the process; an empty one in workers."""
    session: Session | None = getattr(runtime, "session", None)
    return session if session is not None else Session()


def attach_session(runtime: Runtime, session: Session) -> None:
    """Remember ``session`` with the process."""
    runtime.__dict__["session"] = session


def namespace_of(runtime: Runtime) -> str:
    """The namespace in which this code makes and looks up named actors."""
    running = context.current.get()
    return running.namespace if running is not None else session_of(runtime).namespace


def runtime_env_of(runtime: Runtime) -> str:
    """The runtime environment, as JSON, that tasks inherit which this code submits."""
    running = context.current.get()
    return running.runtime_env if running is not None else session_of(runtime).runtime_env


def job_id_of(runtime: Runtime) -> int:
    """The job that this process works for."""
    running = context.current.get()
    return running.job_id if running is not None else runtime.core.owner.job_id
