"""What running code can ask about itself: its ids, node, job, resources."""

from __future__ import annotations

from typing import Any, NoReturn

from thornback.api import current, identity
from thornback.api.actor_handle import ActorHandle, added_handle
from thornback.api.ids import ActorID, JobID, NodeID, TaskID, WorkerID
from thornback.api.lazy import blocking
from thornback.core import context, errors, resources
from thornback.core.context import TaskContext
from thornback.core.runtime import Runtime


class RuntimeContext:
    """The driver, task or actor method that asks. Made by :func:`get_runtime_context`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def _running(self) -> TaskContext | None:
        return context.current.get()

    # --- Ids, as hexadecimal text

    def get_job_id(self) -> str:
        """The program that this code works for."""
        return self.job_id.hex()

    def get_node_id(self) -> str:
        """The node that this process runs on."""
        return self._runtime.core.node_id.hex()

    def get_worker_id(self) -> str:
        """This process."""
        return self._runtime.core.worker_id.hex()

    def get_task_id(self) -> str | None:
        """The task or method call that runs; None in a driver."""
        running = self._running
        return None if running is None or not running.task_id else running.task_id.hex()

    def get_actor_id(self) -> str | None:
        """The actor that this code belongs to; None outside of actors."""
        running = self._running
        return None if running is None or not running.actor_id else running.actor_id.hex()

    def get_placement_group_id(self) -> str | None:
        """The placement group that this task or actor runs in; None outside of groups."""
        running = self._running
        return None if running is None or not running.strategy.group else running.strategy.group.hex()

    # --- Ids, as objects

    @property
    def job_id(self) -> JobID:
        """The program that this code works for."""
        return JobID.from_int(identity.job_id_of(self._runtime))

    @property
    def node_id(self) -> NodeID:
        """The node that this process runs on."""
        return NodeID(self._runtime.core.node_id)

    @property
    def worker_id(self) -> WorkerID:
        """This process."""
        return WorkerID(self._runtime.core.worker_id)

    @property
    def task_id(self) -> TaskID | None:
        """The task or method call that runs; None in a driver."""
        running = self._running
        return None if running is None or not running.task_id else TaskID(running.task_id)

    @property
    def actor_id(self) -> ActorID | None:
        """The actor that this code belongs to; None outside of actors."""
        running = self._running
        return None if running is None or not running.actor_id else ActorID(running.actor_id)

    # --- Names

    @property
    def namespace(self) -> str:
        """Where named actors of this program are found."""
        return identity.namespace_of(self._runtime)

    def get_task_name(self) -> str | None:
        """The name of the task or method that runs; None in a driver."""
        running = self._running
        return None if running is None else running.name

    def get_task_function_name(self) -> str | None:
        """The name of the task or method that runs; None in a driver."""
        return self.get_task_name()

    def get_actor_name(self) -> str | None:
        """The name of this actor, "" if it has none; None outside of actors."""
        actor_id = self.get_actor_id()
        if actor_id is None:
            return None
        rows = blocking.query(self._runtime, "named_actors")
        return next((str(row["name"]) for row in rows if row["actor_id"] == actor_id), "")

    # --- Resources and environment

    def get_assigned_resources(self) -> dict[str, float]:
        """What this task or actor holds; empty in a driver."""
        running = self._running
        return {} if running is None else resources.from_units(running.resources)

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """The accelerators that this task or actor was given, by kind."""
        running = self._running
        return {"GPU": [] if running is None else [str(gpu) for gpu in running.gpu_ids]}

    def get_node_labels(self) -> dict[str, str]:
        """The labels of the node that this process runs on."""
        here = self._runtime.core.node_id
        return next((dict(view.labels) for view in blocking.view(self._runtime) if view.node_id == here), {})

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The runtime environment that applies here."""
        import json

        text = self.get_runtime_env_string()
        found: dict[str, Any] = json.loads(text)
        return found

    def get_runtime_env_string(self) -> str:
        """The runtime environment that applies here, as JSON."""
        return identity.runtime_env_of(self._runtime) or "{}"

    @property
    def gcs_address(self) -> str:
        """Where the cluster's control store is; "" for a cluster that takes no connections from elsewhere."""
        return str(identity.session_of(self._runtime).address_info.get("gcs_address", ""))

    # --- State

    def get_attempt_number(self) -> int:
        """How often this task was tried before; 0 in a driver."""
        running = self._running
        return 0 if running is None else running.attempt

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether this actor was restarted after a crash.

        Raises:
            RuntimeError: not in an actor.
        """
        return self._in_actor().incarnation > 1

    @property
    def current_actor(self) -> ActorHandle[Any]:
        """A handle of this actor, to be given to others.

        Raises:
            RuntimeError: not in an actor.
        """
        running = self._in_actor()
        executor = self._runtime.core.executor
        spec = None if executor is None else executor.actor.spec
        if spec is None:
            raise RuntimeError("this process is not an actor")
        return added_handle(self._runtime, running.actor_id, spec.handle)

    def is_canceled(self) -> bool:
        """Whether ``cancel`` was called for the task that runs; long tasks can look and stop by themselves."""
        running = self._running
        return running is not None and running.cancelled

    def get(self) -> dict[str, Any]:
        """Job, node, and where they apply task and actor, in one dictionary."""
        found = {"job_id": self.job_id, "node_id": self.node_id, "namespace": self.namespace}
        return found | {
            name: value for name, value in (("task_id", self.task_id), ("actor_id", self.actor_id)) if value is not None
        }

    def _in_actor(self) -> TaskContext:
        running = self._running
        if running is None or not running.actor_id:
            raise RuntimeError("this is only known in a method of an actor")
        return running


def get_runtime_context() -> RuntimeContext:
    """What this code is part of: job, node, task, actor, resources."""
    return RuntimeContext(current.require())


def exit_actor() -> NoReturn:
    """End the actor that calls this, in the middle of the method. Calls that wait get ActorDiedError.

    Raises:
        TypeError: not in an actor.
    """
    running = context.current.get()
    if running is None or not running.actor_id:
        raise TypeError("exit_actor() ends the actor that calls it, and this code is not part of an actor")
    raise errors.ActorExit()
