"""Connecting a program to a cluster, and leaving it."""

from __future__ import annotations

import atexit
import sys
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from thornback.api import current, identity, templates
from thornback.api.job_config import JobConfig
from thornback.api.lazy import blocking
from thornback.api.logging_config import LoggingConfig
from thornback.api.options import suggestion
from thornback.core.config import Config
from thornback.core.runtime import Runtime


class Context:
    """What ``init`` returns: facts about the session; ``with init(...):`` ends it at the end of the block.

    Other programs join the same cluster with ``init(address=context["session_dir"])``; it is "" in a simulation, where
    all do.
    """

    def __init__(self, address_info: dict[str, Any]) -> None:
        self.address_info = address_info
        self.dashboard_url = ""
        self.python_version = ".".join(map(str, sys.version_info[:3]))

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __enter__(self) -> Context:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutdown()

    def disconnect(self) -> None:
        """Leave the cluster; the same as ``shutdown``."""
        shutdown()

    def __repr__(self) -> str:
        return f"Context({self.address_info!r})"


def init(
    address: str | None = None,
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    resources: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    object_store_memory: int | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    include_dashboard: bool | None = None,
    dashboard_host: str = "127.0.0.1",
    dashboard_port: int | None = None,
    logging_config: LoggingConfig | None = None,
    log_to_driver: bool = True,
    namespace: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    job_config: JobConfig | None = None,
    _system_config: Mapping[str, Any] | None = None,
    **others: Any,
) -> Context:
    """Start a cluster on this machine and connect the program to it; in a simulation, attach to the simulated cluster.

    Args:
        address: None or "local" for a new cluster on this machine, "auto" for one that runs here already, or the
            directory of its session.
        num_cpus, num_gpus, resources: what the node offers; by default what the machine has.
        labels: of the node, for scheduling by label.
        object_store_memory: bytes of shared memory for objects.
        local_mode: without effect; programs are debugged under ``thornback simulate``.
        ignore_reinit_error: return at once if connected already.
        logging_config: log level and format in all processes of the program.
        log_to_driver: print the output of workers.
        namespace: where named actors are found; None is one of the program's own.
        runtime_env: packages, files and variables that all tasks and actors need.
        job_config: what the program may claim of a cluster that it shares with others.
        _system_config: settings of the engine, see :class:`thornback.core.config.Config`.

    Raises:
        RuntimeError: connected already.
        ConnectionError: there is no cluster at ``address``.
        TypeError, ValueError: a bad argument; says which, and what is allowed.
    """
    if current.runtime is not None:
        if ignore_reinit_error:
            return Context(identity.session_of(current.runtime).address_info)
        raise RuntimeError("init() was called before: call shutdown() first, or pass ignore_reinit_error=True")
    _check_others(others)
    _check_amounts(num_cpus=num_cpus, num_gpus=num_gpus, object_store_memory=object_store_memory)
    _check_types(resources, labels, namespace)
    if logging_config is not None and not isinstance(logging_config, LoggingConfig):
        raise TypeError(f"init(): logging_config must be a LoggingConfig, not {logging_config!r}")
    if job_config is not None and not isinstance(job_config, JobConfig):
        raise TypeError(f"init(): job_config must be a thornback.JobConfig, not {job_config!r}")
    job = job_config or JobConfig()
    environment = templates.runtime_env_json(runtime_env)
    Config.of(_system_config)
    config = dict(_system_config or {})
    simulator = _simulator()
    if simulator is not None:
        runtime: Runtime = simulator.attach(namespace=namespace, config=config, job=job)
    else:
        runtime = _start_or_join(
            address,
            local_mode,
            namespace or "",
            log_to_driver,
            job,
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            resources=dict(resources or {}),
            labels=dict(labels or {}),
            object_store_memory=object_store_memory,
            config=config,
        )
    return _connected(runtime, environment)


def _start_or_join(
    address: str | None, local_mode: bool, namespace: str, log_to_driver: bool, job: JobConfig, **cluster: Any
) -> Runtime:
    from thornback.transports import local_cluster

    if local_mode:
        warnings.warn(
            "init(local_mode=True) has no effect; `thornback simulate PROGRAM` runs a program in one process",
            stacklevel=3,
        )
    if address in (None, "local"):
        return local_cluster.start_local(
            namespace=namespace, log_to_driver=log_to_driver, metadata=job.metadata, terms=job.to_terms(), **cluster
        )
    given = sorted(name for name, value in cluster.items() if value)
    if given:
        raise ValueError(f"init(): {given[0]} is set where a cluster is started, not where a program joins it")
    if "://" in str(address) or not isinstance(address, str):
        raise ValueError(
            f'init(address={address!r}): must be None for a new cluster on this machine, "auto" for the one that runs '
            "here, or its session directory"
        )
    return local_cluster.connect(address, namespace, log_to_driver, job.metadata, job.to_terms())


def _connected(runtime: Runtime, environment: str) -> Context:
    current.runtime = runtime
    node_id = runtime.core.node_id.hex()
    info: dict[str, Any] = {"node_id": node_id, "node_ip_address": "127.0.0.1", "address": "local", "gcs_address": ""}
    info["session_dir"] = str(getattr(runtime, "directory", ""))
    identity.attach_session(runtime, identity.Session(runtime.core.owner.namespace, environment, info))
    if not runtime.is_simulated:
        _at_exit()
    return Context(info)


def shutdown() -> None:
    """Leave the cluster; a cluster that ``init`` started ends, with everything in it. Does nothing in a worker, or when
    called again."""
    runtime = current.runtime
    if runtime is None or not runtime.core.is_driver:
        return
    try:
        blocking.end_job(runtime)
    except Exception:
        pass  # The cluster is gone already; leaving it must not fail.
    finally:
        current.runtime = None
        runtime.close()


def is_initialized() -> bool:
    """Whether this process is connected to a cluster."""
    return current.runtime is not None


def connect() -> Runtime:
    """Start a local cluster with default options, or join the one that ``init()`` would."""
    init()
    return current.require()


_registered = False


def _at_exit() -> None:
    global _registered
    if not _registered:
        _registered = True
        atexit.register(shutdown)


def _simulator() -> Any:
    """The module that attaches to a simulated cluster, if this code runs in a simulation."""
    simulator = sys.modules.get("thornback.simulator")
    if simulator is None or not simulator.active():
        return None
    from thornback.simulator import attach

    return attach


def _check_others(others: Mapping[str, Any]) -> None:
    for name in others:
        if not name.startswith("_"):
            raise TypeError(f"init() got an unexpected argument {name!r}{suggestion(name, init.__kwdefaults__ or {})}")
        warnings.warn(f"init({name}=...) has no effect; settings of the engine go to _system_config", stacklevel=3)


def _check_amounts(**amounts: Any) -> None:
    for name, amount in amounts.items():
        if amount is None:
            continue
        if not isinstance(amount, (int, float)) or isinstance(amount, bool):
            raise TypeError(f"init(): {name} must be a number >= 0, not {amount!r}")
        if not 0 <= amount < float("inf"):
            raise ValueError(f"init(): {name} must be a number >= 0, not {amount!r}")


def _check_types(resources: Any, labels: Any, namespace: Any) -> None:
    if resources is not None:
        if not isinstance(resources, Mapping):
            raise TypeError(f"init(): resources must be a dictionary from names to numbers >= 0, not {resources!r}")
        _check_amounts(**{f"resources[{name!r}]": amount for name, amount in resources.items()})
        for name, argument in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
            if name in resources:
                raise ValueError(f"init(): give {name!r} as argument {argument!r}, not in 'resources'")
    if labels is not None and not (
        isinstance(labels, Mapping) and all(isinstance(text, str) for pair in labels.items() for text in pair)
    ):
        raise TypeError(f"init(): labels must be a dictionary of strings, not {labels!r}")
    if namespace is not None and not isinstance(namespace, str):
        raise TypeError(f"init(): namespace must be a string, not {namespace!r}")
    if namespace == "":
        raise ValueError("init(): namespace must not be empty")
