"""Distributed Python: tasks, actors and shared objects.

``import thornback as ray`` runs ordinary Ray programs. ``thornback simulate program.py`` runs the same programs on a
simulated cluster.
"""

from typing import TYPE_CHECKING, Any

from thornback import actor, exceptions, util
from thornback.api.actor_class import ActorClass
from thornback.api.actor_handle import ActorHandle, ActorMethod, get_actor, kill
from thornback.api.actor_type import method
from thornback.api.cluster import available_resources, cluster_resources, get_gpu_ids, nodes, timeline
from thornback.api.decorator import remote
from thornback.api.generators import DynamicObjectRefGenerator, ObjectRefGenerator
from thornback.api.ids import (
    ActorClassID,
    ActorID,
    FunctionID,
    JobID,
    NodeID,
    PlacementGroupID,
    TaskID,
    UniqueID,
    WorkerID,
)
from thornback.api.job_config import JobConfig
from thornback.api.logging_config import LoggingConfig
from thornback.api.object_ref import ObjectRef
from thornback.api.objects import cancel, get, put, wait
from thornback.api.remote_function import RemoteFunction
from thornback.api.runtime_context import RuntimeContext, get_runtime_context
from thornback.api.session import Context, init, is_initialized, shutdown

if TYPE_CHECKING:
    from thornback.simulator import simulate

__version__ = "0.1.0"

ObjectID = ObjectRef

__all__ = [
    "ActorClass",
    "ActorClassID",
    "ActorHandle",
    "ActorID",
    "ActorMethod",
    "Context",
    "DynamicObjectRefGenerator",
    "FunctionID",
    "JobConfig",
    "JobID",
    "LoggingConfig",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "RemoteFunction",
    "RuntimeContext",
    "TaskID",
    "UniqueID",
    "WorkerID",
    "__version__",
    "actor",
    "available_resources",
    "cancel",
    "cluster_resources",
    "exceptions",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "simulate",
    "timeline",
    "util",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name == "simulate":
        from thornback.simulator import simulate

        return simulate
    if name in ("job_config", "remote_function", "runtime_context", "simulator"):
        import importlib

        return importlib.import_module(f"thornback.{name}")
    raise AttributeError(f"module 'thornback' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
