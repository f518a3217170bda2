"""Placement groups: resources reserved together."""

from __future__ import annotations

from typing import ClassVar

from thornback.core.ids import ActorId, JobId, NodeId, TaskId
from thornback.core.messages.base import Message, Record, ResourceMap


class GroupSpec(Record, frozen=True):
    """What a placement group promises. Its id is a TaskId of the process that made it."""

    group_id: TaskId
    name: str
    """Empty for a group without name."""
    namespace: str
    strategy: str
    """PACK, SPREAD, STRICT_PACK or STRICT_SPREAD."""
    bundles: tuple[ResourceMap, ...]
    selectors: tuple[tuple[tuple[str, str, tuple[str, ...]], ...], ...]
    """Labels that the node of each bundle must have; empty, or one per bundle."""
    detached: bool
    job_id: JobId
    actor_id: ActorId = b""
    """The actor that made it and with which it ends; empty: it ends with the job."""
    fail_infeasible: bool = False
    """Remove it instead of waiting when the cluster could never hold it."""


class CreateGroup(Message, frozen=True, tag=130):
    """Anyone to GCS: make this placement group; answered with GroupUpdate, now and whenever its state changes."""

    spec: GroupSpec


class RemoveGroup(Message, frozen=True, tag=131):
    """Anyone to GCS: end the group and what runs in it."""

    latest_by: ClassVar[tuple[str, ...] | None] = ("group_id",)

    group_id: TaskId


class SubscribeGroup(Message, frozen=True, tag=132):
    """Anyone to GCS: tell me where the group's bundles are, now and when that changes."""

    latest_by: ClassVar[tuple[str, ...] | None] = ("group_id",)

    group_id: TaskId
    owner_died: bool = False
    """The asker knows that who made the group has ended: if the GCS has not heard of the group, it never will."""


class GroupUpdate(Message, frozen=True, tag=133):
    """GCS to those who asked."""

    group_id: TaskId
    version: int
    """Grows with each change."""
    state: str
    """PENDING, CREATED, RESCHEDULING or REMOVED."""
    bundles: tuple[ResourceMap, ...]
    nodes: tuple[NodeId, ...]
    """Where each bundle is; empty for one that has no place."""
    reason: str = ""


class FindGroup(Message, frozen=True, tag=134):
    """Anyone to GCS: which live group has this name? Answered with GroupFound."""

    request: int
    name: str
    namespace: str


class GroupFound(Message, frozen=True, tag=135):
    """GCS to asker."""

    request: int
    group_id: TaskId
    """Empty if there is none."""
    bundles: tuple[ResourceMap, ...]
    names: tuple[str, ...] = ()
    """Groups that there are, for the error message."""


class ReserveBundles(Message, frozen=True, tag=136):
    """GCS to raylet: set these bundles aside, all or none; answered with BundlesReserved."""

    group_id: TaskId
    attempt: int
    """Grows with each attempt at any group."""
    bundles: tuple[tuple[int, ResourceMap], ...]
    """(index, resources)"""
    committed: bool = False
    """The whole group is on this node: the reservation stands at once."""
    keep_room: bool = False
    """Answer only when they are set aside: leases are asked back for that, and what comes back is kept."""
    job_id: JobId = 0
    """Of the group."""


class BundlesReserved(Message, frozen=True, tag=137):
    """Raylet to GCS."""

    group_id: TaskId
    attempt: int
    granted: bool


class CommitBundles(Message, frozen=True, tag=138):
    """GCS to raylet: the group is complete; tasks may use its bundles."""

    group_id: TaskId
    nodes: tuple[NodeId, ...]
    """Of all bundles, by index."""


class ReleaseBundles(Message, frozen=True, tag=139):
    """GCS to raylet: give the resources of these bundles back to the node and end what runs in them."""

    group_id: TaskId
    attempt: int
    """Only bundles of this attempt; -1: all, for good."""


class PolicyRegistered(Message, frozen=True, tag=141):
    """GCS to raylets: a user's placement policy, by name."""

    name: str
    blob: bytes
    """The pickled function."""
