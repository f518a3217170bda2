"""Placement policies that users write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thornback.api import current
from thornback.api.strategies import NAMES

RESERVED = (*NAMES, "NODE", "LABELS")


def register_policy(name: str, policy: Callable[[dict[str, float], list[dict[str, Any]], Any], Any]) -> None:
    """Make a policy known to the cluster; tasks and actors then use it with ``scheduling_strategy=name``.

    Args:
        name: not one of the engine's own.
        policy: called with the demand, the nodes that have room for it now (``node_id``, ``name``, ``total``,
            ``available``, ``labels``, ``waiting``, ``is_local``) and a random stream; returns one of the nodes. It runs
            in the engine's node processes: it must be quick and wait for nothing.

    Raises:
        ValueError: the name is one of the engine's own, or empty.
        TypeError: ``policy`` cannot be called.
    """
    if not isinstance(name, str) or not name or name in RESERVED:
        raise ValueError(f"register_policy(): the name must be a string other than {', '.join(RESERVED)}, not {name!r}")
    if not callable(policy):
        raise TypeError(f"register_policy(): the policy must be a function, not {policy!r}")
    from thornback.core import serialization
    from thornback.core.scheduling import registry
    from thornback.core.waits.thread import wait_for

    runtime = current.require()
    blob = serialization.define_function(policy, name).blob
    with runtime.turn:
        waiter = runtime.core.owner.keys.put(f"policy:{name}", blob)
    wait_for(runtime, waiter)
    registry.register(name, policy)
