"""What user threads do with placement groups; as :mod:`thornback.core.blocking`, outside of any turn."""

from __future__ import annotations

from collections.abc import Callable

from thornback.core import errors
from thornback.core.ids import GCS, ObjectId, TaskId, short, task_id
from thornback.core.messages import FindGroup, GroupFound, GroupSpec, GroupUpdate, RemoveGroup, ResourceMap, Value
from thornback.core.owner.groups import CREATED, REMOVED
from thornback.core.runtime import Runtime, Waiter
from thornback.core.serialization import error_value
from thornback.core.waits.blocked import GROUP_WAIT
from thornback.core.waits.thread import wait_for, wait_for_room


def new_id(runtime: Runtime) -> TaskId:
    """The id of a group that this process is about to make."""
    owner = runtime.core.owner
    with runtime.turn:
        owner.counter += 1
        return task_id(owner.worker_id, owner.counter)


def create(runtime: Runtime, spec: GroupSpec) -> None:
    """Make a placement group; one with a name is registered when this returns. Waits as :func:`create_actor` does.

    Raises:
        ValueError: a live group has that name.
    """
    wait_for_room(runtime)
    with runtime.turn:
        runtime.core.owner.groups.create(spec)
    if spec.name:
        first = _wait_until(runtime, spec.group_id, lambda update: True, None)
        if first is not None and first.state == REMOVED and "name" in first.reason:
            raise ValueError(first.reason)


def remove(runtime: Runtime, group_id: TaskId) -> None:
    """End a group and what runs in it."""
    with runtime.turn:
        runtime.core.owner.gcs.send(RemoveGroup(group_id))


def _wait_until(
    runtime: Runtime, group_id: TaskId, settled: Callable[[GroupUpdate], bool], timeout: float | None
) -> GroupUpdate | None:
    waiter = Waiter()

    def watcher(update: GroupUpdate) -> bool:
        if settled(update):
            waiter.complete(update)
        return waiter.done

    groups = runtime.core.owner.groups
    with runtime.turn:
        groups.watch(group_id, watcher)
    try:
        wait_for(runtime, waiter, timeout, (GROUP_WAIT, (group_id,), 1))
    finally:
        if not waiter.done:
            with runtime.turn:
                groups.unwatch(group_id, watcher)
    update: GroupUpdate | None = waiter.result
    return update


def _is_settled(update: GroupUpdate) -> bool:
    return update.state in (CREATED, REMOVED)


def removed_error(update: GroupUpdate) -> errors.ThornbackError:
    """What to raise for a group that has ended."""
    if "can never be placed" in update.reason:
        return errors.TaskUnschedulableError(update.reason)
    return errors.TaskPlacementGroupRemoved(f"placement group {short(update.group_id)} has ended: {update.reason}")


def wait(runtime: Runtime, group_id: TaskId, timeout: float | None) -> bool:
    """Block until the group has its place; False after ``timeout`` seconds.

    Raises:
        TaskPlacementGroupRemoved: it has ended.
        TaskUnschedulableError: it has ended since it could never be placed.
    """
    update = _wait_until(runtime, group_id, _is_settled, timeout)
    if update is not None and update.state == REMOVED:
        raise removed_error(update)
    return update is not None


def ready(runtime: Runtime, group_id: TaskId, value: Value) -> ObjectId:
    """An object, with one local reference, that becomes ``value`` when the group has its place."""
    owner = runtime.core.owner
    with runtime.turn:
        reference = owner.new_object()

        owner.groups.promised[reference.object_id] = group_id

        def watcher(update: GroupUpdate) -> bool:
            gone = owner.references.table.get(reference.object_id) is not reference
            if not gone and not _is_settled(update):
                return False
            del owner.groups.promised[reference.object_id]
            if gone:
                return True
            owner.put(reference, value if update.state == CREATED else error_value(removed_error(update)))
            return True

        owner.groups.watch(group_id, watcher)
    return reference.object_id


def find(runtime: Runtime, name: str, namespace: str) -> GroupFound:
    """The live group of that name."""
    with runtime.turn:
        waiter = runtime.core.owner.request(GCS, FindGroup, name, namespace)
    wait_for(runtime, waiter)
    found: GroupFound = waiter.result
    return found


def bundles_of(runtime: Runtime, group_id: TaskId) -> tuple[ResourceMap, ...]:
    """What the group's bundles hold, in integer units."""
    update = _wait_until(runtime, group_id, lambda update: True, None)
    return () if update is None else update.bundles
