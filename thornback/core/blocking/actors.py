"""Actors: made, ended, and found by name."""

from __future__ import annotations

from typing import Any

import msgspec

from thornback.core.blocking.tasks import captured, drop_temporaries, prepare_arguments
from thornback.core.context import current
from thornback.core.ids import GCS, ActorId, return_id, task_id
from thornback.core.messages import ActorSpec, GetNamedActor
from thornback.core.runtime import Runtime
from thornback.core.waits.blocked import NAMED_ACTOR
from thornback.core.waits.thread import wait_for, wait_for_room


def create_actor(
    runtime: Runtime, spec: ActorSpec, args: tuple[Any, ...], kwargs: dict[str, Any], get_if_exists: bool
) -> tuple[ActorId, bytes]:
    """Make an actor; an actor with a name is registered when this returns.

    While the GCS is away, and this process has asked it for much already, that waits for it to come back.

    Returns its id, and the handle bytes of the actor that had the name if ``get_if_exists`` found one (else b"").

    Raises:
        ValueError: a live actor has that name.
    """
    wait_for_room(runtime)
    arguments, dependencies = prepare_arguments(runtime, args, kwargs)
    owner = runtime.core.owner
    with runtime.turn:
        context = current.get()
        if context is not None and context.strategy.capture:
            spec = msgspec.structs.replace(spec, strategy=captured(spec.strategy, context.strategy))
        owner.counter += 1
        actor_id = task_id(owner.worker_id, owner.counter)
        spec = msgspec.structs.replace(spec, actor_id=actor_id, arguments=arguments)
        creation = owner.actors.create(spec, dependencies, get_if_exists)
        drop_temporaries(runtime, args, kwargs, dependencies)
    if not spec.name:
        return actor_id, b""
    wait_for(runtime, creation.registered, None, (NAMED_ACTOR, (actor_id,), 1))
    answer = creation.registered.result
    if answer is None or not answer.existing:
        return actor_id, b""
    owner.dropped.append(return_id(actor_id, 0))
    if not get_if_exists:
        raise ValueError(
            f"the name {spec.name!r} is taken by a live actor in namespace {spec.namespace!r}; use another name, or "
            "get_if_exists=True to get that actor"
        )
    return answer.existing, answer.handle


def kill_actor(runtime: Runtime, actor_id: ActorId, no_restart: bool) -> None:
    """End an actor at once."""
    with runtime.turn:
        runtime.core.owner.actors.kill(actor_id, no_restart)


def get_named_actor(runtime: Runtime, name: str, namespace: str) -> tuple[ActorId, bytes]:
    """Id and handle bytes of a live actor.

    Raises:
        ValueError: there is none of that name.
    """
    with runtime.turn:
        waiter = runtime.core.owner.request(GCS, GetNamedActor, name, namespace)
    wait_for(runtime, waiter)
    if not waiter.result.actor_id:
        raise ValueError(f"there is no actor named {name!r} in namespace {namespace!r}")
    return waiter.result.actor_id, waiter.result.handle
