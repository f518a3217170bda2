"""Why something does not go on."""

from __future__ import annotations

from typing import Any

from thornback.api import current
from thornback.api.actor_handle import ActorHandle
from thornback.api.generators import ObjectRefGenerator
from thornback.api.object_ref import ObjectRef
from thornback.util.placement_group import PlacementGroup


def why_pending(ref: ObjectRef[Any] | ObjectRefGenerator[Any] | ActorHandle[Any] | PlacementGroup) -> str:
    """One sentence that says what a task, an actor or a placement group waits for, and what would let it go on.

    The sentence follows the wait down to its root: a task that waits for an argument waits for what the task that
    makes the argument waits for. It works in every process that has the reference, and for references of any process.

    Args:
        ref: a result of a task or actor call, a generator, the handle of an actor, or a placement group.

    Raises:
        TypeError: it is none of these.
    """
    from thornback.core import inquiry
    from thornback.core.ids import GCS, owner_of
    from thornback.core.messages.waits import ACTOR, GROUP, OBJECT, Subject

    runtime = current.require()
    if isinstance(ref, ObjectRef):
        return inquiry.why(runtime, Subject(owner_of(ref.binary()), OBJECT, ref.binary()))
    if isinstance(ref, ObjectRefGenerator):
        return inquiry.why(runtime, Subject(owner_of(ref.task_id()), OBJECT, ref.task_id()))
    if isinstance(ref, ActorHandle):
        return inquiry.why(runtime, Subject(GCS, ACTOR, ref._actor_id))
    if isinstance(ref, PlacementGroup):
        return inquiry.why(runtime, Subject(GCS, GROUP, ref.id.binary()))
    raise TypeError(
        "why_pending() takes an ObjectRef, an ObjectRefGenerator, an actor handle or a PlacementGroup, "
        f"not {ref!r} ({type(ref).__name__})"
    )


def list_waits() -> list[dict[str, Any]]:
    """All that waits in the cluster: one row per kind of wait, with ``count``, ``name`` (function, method, class or
    group), ``job_id``, ``reason`` (one or two words) and ``sentence`` (as :func:`why_pending` says it)."""
    from thornback.core import inquiry

    return inquiry.waits(current.require())
