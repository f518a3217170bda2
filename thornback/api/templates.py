"""From checked options to what the engine sends: resources, task templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from thornback.api.options import Kind, value_of
from thornback.api.strategies import to_strategy
from thornback.core import resources
from thornback.core.config import Config
from thornback.core.messages import DYNAMIC, STREAMING, Strategy, TaskTemplate, encode
from thornback.util.scheduling_strategies import PlacementGroupSchedulingStrategy

_DEFAULTS = Config()
_NAMED_RESOURCES = {
    resources.CPU: "num_cpus",
    resources.GPU: "num_gpus",
    resources.MEMORY: "memory",
    resources.OBJECT_STORE_MEMORY: "object_store_memory",
}


def demand(kind: Kind, chosen: Mapping[str, Any]) -> resources.Resources:
    """The resources that a task or actor holds while it runs, in integer units.

    Raises:
        ValueError: a resource is named twice, or its amount is too fine.
    """
    amounts: dict[str, float] = dict(chosen.get("resources", ()))
    for resource, option in _NAMED_RESOURCES.items():
        amount = chosen.get(option)
        if amount is None:
            continue
        if resource in amounts:
            raise ValueError(f"give {resource!r} either as option {option!r} or in 'resources', not in both")
        amounts[resource] = amount
    if kind == "task":
        amounts.setdefault(resources.CPU, 1)
    if "accelerator_type" in chosen:
        amounts[f"accelerator_type:{chosen['accelerator_type']}"] = 0.001
    return resources.to_units(amounts)


def placement_demand(chosen: Mapping[str, Any], held: resources.Resources) -> resources.Resources:
    """What must be free where an actor is placed: one CPU for an actor that does not say how many it holds."""
    if "num_cpus" in chosen or resources.CPU in held:
        return held
    return resources.to_units({resources.CPU: 1}) | held


def strategy(chosen: Mapping[str, Any]) -> Strategy:
    """Where a task or actor may run.

    Raises:
        ValueError: see :func:`thornback.api.strategies.to_strategy`.
    """
    wanted = chosen.get("scheduling_strategy")
    group = chosen.get("placement_group")
    if group is not None and group != "default":
        if wanted is not None:
            raise ValueError("give either 'placement_group' or 'scheduling_strategy', not both")
        wanted = PlacementGroupSchedulingStrategy(
            group,
            chosen.get("placement_group_bundle_index", -1),
            chosen.get("placement_group_capture_child_tasks", False),
        )
    return to_strategy(wanted, chosen.get("label_selector"))


def runtime_env_json(runtime_env: Mapping[str, Any] | None) -> str:
    """A runtime environment in the form in which it travels; "" for none.

    Raises:
        ValueError: a value in it is not made of strings, numbers, lists and dictionaries.
    """
    if not runtime_env:
        return ""
    import json

    try:
        return json.dumps(dict(runtime_env), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"'runtime_env' must be made of strings, numbers, lists and dictionaries: {error}") from None


def num_returns_code(wanted: int | str | None, is_generator: bool) -> int:
    """The engine's number for the option ``num_returns``; a generator streams unless it is told otherwise."""
    if wanted is None:
        return STREAMING if is_generator else 1
    if isinstance(wanted, str):
        return STREAMING if wanted == "streaming" else DYNAMIC
    return wanted


def retry_exceptions_code(wanted: Any) -> bytes | bool:
    """The engine's form of the option ``retry_exceptions``."""
    if isinstance(wanted, bool):
        return wanted
    from thornback.core import serialization

    return serialization.dumps(tuple(wanted)).data


def backpressure_code(wanted: int | None) -> int:
    """The engine's form of the limit of unconsumed items."""
    return _DEFAULTS.generator_backpressure if wanted is None else wanted


def task_template(
    chosen: Mapping[str, Any], name: str, function_id: bytes, is_generator: bool, job_id: int, runtime_env: str
) -> TaskTemplate:
    """What all calls of a remote function with these options share.

    Args:
        chosen: checked task options.
        name: of the function.
        runtime_env: JSON that applies unless the options say otherwise.
    """
    max_retries = chosen.get("max_retries")
    held = demand("task", chosen)
    default_calls = 1 if resources.GPU in held else value_of("task", chosen, "max_calls")
    template = TaskTemplate(
        key=b"",
        function_id=function_id,
        name=chosen.get("name", name),
        num_returns=num_returns_code(chosen.get("num_returns"), is_generator),
        max_retries=_DEFAULTS.max_retries if max_retries is None else max_retries,
        retry_exceptions=retry_exceptions_code(value_of("task", chosen, "retry_exceptions")),
        resources=held,
        strategy=strategy(chosen),
        max_calls=chosen.get("max_calls", default_calls),
        backpressure=backpressure_code(chosen.get("_generator_backpressure_num_objects")),
        job_id=job_id,
        runtime_env=runtime_env_json(chosen.get("runtime_env")) or runtime_env,
        fail_infeasible=value_of("task", chosen, "fail_if_infeasible"),
        priority=value_of("task", chosen, "priority"),
        speculative=value_of("task", chosen, "speculative"),
    )
    return with_key(template)


def with_key(template: TaskTemplate) -> TaskTemplate:
    """The template with its key: the content hash of its other fields."""
    from hashlib import blake2b

    return msgspec.structs.replace(template, key=blake2b(encode(template), digest_size=16).digest())
