"""Distributed Python: tasks, actors and shared objects.

``import thornback as ray`` runs ordinary Ray programs. ``thornback simulate program.py`` runs the same programs on a
simulated cluster.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from thornback.simulator import simulate

    ObjectID = ObjectRef

__version__ = "0.1.0"

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

_HOMES = {
    "thornback.api.actor_class": ("ActorClass",),
    "thornback.api.actor_handle": (
        "ActorHandle",
        "ActorMethod",
        "get_actor",
        "kill",
    ),
    "thornback.api.actor_type": ("method",),
    "thornback.api.cluster": (
        "available_resources",
        "cluster_resources",
        "get_gpu_ids",
        "nodes",
        "timeline",
    ),
    "thornback.api.decorator": ("remote",),
    "thornback.api.generators": (
        "DynamicObjectRefGenerator",
        "ObjectRefGenerator",
    ),
    "thornback.api.ids": (
        "ActorClassID",
        "ActorID",
        "FunctionID",
        "JobID",
        "NodeID",
        "PlacementGroupID",
        "TaskID",
        "UniqueID",
        "WorkerID",
    ),
    "thornback.api.job_config": ("JobConfig",),
    "thornback.api.logging_config": ("LoggingConfig",),
    "thornback.api.object_ref": ("ObjectRef",),
    "thornback.api.objects": (
        "cancel",
        "get",
        "put",
        "wait",
    ),
    "thornback.api.remote_function": ("RemoteFunction",),
    "thornback.api.runtime_context": (
        "RuntimeContext",
        "get_runtime_context",
    ),
    "thornback.api.session": (
        "Context",
        "init",
        "is_initialized",
        "shutdown",
    ),
    "thornback.simulator": ("simulate",),
}
"""Where the names are that are loaded when they are first used."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names} | {"ObjectID": "thornback.api.object_ref"}
_MODULES = frozenset({"actor", "exceptions", "job_config", "remote_function", "runtime_context", "simulator", "util"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"thornback.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'thornback' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), "ObjectRef" if name == "ObjectID" else name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
