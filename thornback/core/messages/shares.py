"""What jobs hold and want, so that they get fair parts of the cluster."""

from __future__ import annotations

from thornback.core.ids import JobId
from thornback.core.messages.base import Message, Record, ResourceMap


class JobUse(Record, frozen=True):
    """One job on one node."""

    job_id: JobId
    weight: float
    held: ResourceMap
    """With what was taken back for it from other jobs, and without what it was asked to give."""
    returnable: ResourceMap
    """What of it comes back when it is asked for: not actors, not bundles."""
    waiting: ResourceMap
    """Sum of the requests in the node's queue."""
    each: ResourceMap
    """One of these requests; empty if there is none."""


class JobShare(Record, frozen=True):
    """One job in the rest of the cluster, for one node."""

    job_id: JobId
    weight: float
    elsewhere: ResourceMap
    """Held on other nodes."""


class AskQuota(Message, frozen=True, tag=181):
    """Raylet to GCS: a job with a quota holds this here, and wants more; replaces what was said before."""

    job_id: JobId
    number: int
    """Grows with each message of the raylet."""
    quota: ResourceMap
    held: ResourceMap
    """By leases; what was given beyond it is given back."""
    wanted: tuple[ResourceMap, ...]
    """Demands of leases that could be granted at once."""


class QuotaGiven(Message, frozen=True, tag=182):
    """GCS to raylet: leases of the job may hold so much on your node."""

    job_id: JobId
    number: int
    """Of the AskQuota that this answers."""
    allowed: ResourceMap


class TakeBack(Message, frozen=True, tag=180):
    """GCS to raylet: a job has more than its part; ask that much of it back and keep it for another job."""

    from_job: JobId
    for_job: JobId
    amounts: ResourceMap
