"""What jobs hold and want on one node, as it is reported to the GCS."""

from __future__ import annotations

from thornback.core.ids import JobId
from thornback.core.messages import JobUse
from thornback.core.raylet.grants import RayletGrants
from thornback.core.raylet.reclaiming import may_return
from thornback.core.resources import Resources, add, subtract
from thornback.core.scheduling.fair_queue import FairQueue


def job_use(grants: RayletGrants, queue: FairQueue) -> tuple[JobUse, ...]:
    """One entry per job. What was asked back from one job for another counts as held by the other."""
    held = {job_id: dict(amounts) for job_id, amounts in grants.shares.here().items()}
    returnable: dict[JobId, Resources] = {}
    for job_id, promise in grants.promises.table.items():
        add(held.setdefault(job_id, {}), promise.amounts)
    for grant in grants.table.values():
        if grant.promised_to:
            subtract(held[grant.request.job_id], grant.held)
            add(held.setdefault(grant.promised_to, {}), grant.held)
        elif may_return(grant, grants):
            add(returnable.setdefault(grant.request.job_id, {}), grant.held)
    waiting: dict[JobId, Resources] = {}
    each: dict[JobId, Resources] = {}
    for shape, count, first in queue.shapes():
        request = first.request
        if not shape.strategy.group and not grants.shares.is_used_up(
            request.terms.quota, request.job_id, request.resources
        ):
            add(waiting.setdefault(shape.job_id, {}), {name: amount * count for name, amount in shape.resources})
            each.setdefault(shape.job_id, request.resources)
    weights = grants.shares.weights
    return tuple(
        JobUse(
            job_id,
            weights.get(job_id, 1.0),
            held.get(job_id, {}),
            returnable.get(job_id, {}),
            waiting.get(job_id, {}),
            each.get(job_id, {}),
        )
        for job_id in {**held, **waiting}
    )
