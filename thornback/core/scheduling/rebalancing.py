"""Which nodes should take leases back from which jobs, so that jobs that wait get their part: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from thornback.core.ids import JobId, NodeId
from thornback.core.resources import Resources, fits, subtract
from thornback.core.scheduling.shares import dominant_share

TOLERANCE = 1e-9


class JobNeed(NamedTuple):
    """One job in the whole cluster."""

    weight: float
    held: Resources
    waiting: Resources
    each: Resources
    """One of the requests that wait; empty for none."""


class NodeUse(NamedTuple):
    """One node."""

    free: Resources
    held: Mapping[JobId, Resources]
    """That comes back when it is asked for."""


class Move(NamedTuple):
    """One job gives, another gets."""

    node: NodeId
    from_job: JobId
    for_job: JobId
    amounts: Resources


def fair_shares(jobs: Mapping[JobId, JobNeed], total: Mapping[str, int]) -> dict[JobId, float]:
    """The dominant share that each job should have: all shares grow in proportion to the weights until a job has what
    it wants or a resource that it needs is used up (progressive filling; Ghodsi et al., NSDI 2011, section 4)."""
    wants = {job: _sum(need.held, need.waiting) for job, need in jobs.items()}
    peak = {job: dominant_share(want, total) for job, want in wants.items()}
    shares = dict.fromkeys(jobs, 0.0)
    growing = [job for job in jobs if peak[job] > 0]
    used = dict.fromkeys(total, 0.0)
    while growing:
        rate = {name: sum(wants[job].get(name, 0) / peak[job] * jobs[job].weight for job in growing) for name in total}
        level = min((peak[job] - shares[job]) / jobs[job].weight for job in growing)
        for name, speed in rate.items():
            if speed > 0:
                level = min(level, (total[name] - used[name]) / speed)
        level = max(level, 0.0)
        for job in growing:
            shares[job] += level * jobs[job].weight
        for name, speed in rate.items():
            used[name] += level * speed
        full = [name for name in total if rate[name] > 0 and used[name] >= total[name] * (1 - TOLERANCE)]
        growing = [
            job
            for job in growing
            if shares[job] < peak[job] * (1 - TOLERANCE) and not any(wants[job].get(name) for name in full)
        ]
    return shares


def plan(jobs: Mapping[JobId, JobNeed], nodes: Mapping[NodeId, NodeUse], total: Mapping[str, int]) -> list[Move]:
    """What to take back now. Nothing is moved for less than half of what it is about, so that jobs that differ by less
    than one request from their shares are left alone."""
    fair = fair_shares(jobs, total)
    shares = {job: dominant_share(need.held, total) for job, need in jobs.items()}
    free = {node: dict(use.free) for node, use in nodes.items()}
    held = {node: {job: dict(amounts) for job, amounts in use.held.items()} for node, use in nodes.items()}
    moves: list[Move] = []
    for taker in sorted(jobs, key=lambda job: (shares[job] / jobs[job].weight, job)):
        each = jobs[taker].each
        step = dominant_share(each, total)
        if not step:
            continue
        waiting = min(jobs[taker].waiting.get(name, 0) // amount for name, amount in each.items() if amount)
        count = min(waiting, int((fair[taker] - shares[taker]) / step + 0.5))
        for _ in range(count):
            if _use_free(free, each):
                continue
            givers = [job for job in jobs if job != taker and shares[job] > fair[job]]
            if not givers:
                break
            giver = max(givers, key=lambda job: ((shares[job] - fair[job]) / jobs[job].weight, -job))
            node = _best_node(free, held, giver, each)
            if node is None:
                break
            needed = {name: amount - free[node].get(name, 0) for name, amount in each.items()}
            needed = {name: amount for name, amount in needed.items() if amount > 0}
            if (shares[giver] - fair[giver]) * 2 < dominant_share(needed, total):
                break
            for name, amount in each.items():
                free[node][name] = free[node].get(name, 0) + needed.get(name, 0) - amount
            subtract(held[node][giver], needed)
            shares[giver] -= dominant_share(needed, total)
            moves.append(Move(node, giver, taker, needed))
    return _together(moves)


def _sum(first: Mapping[str, int], second: Mapping[str, int]) -> Resources:
    return {name: first.get(name, 0) + second.get(name, 0) for name in {**first, **second}}


def _use_free(free: Mapping[NodeId, Resources], each: Resources) -> bool:
    for amounts in free.values():
        if fits(each, amounts):
            subtract(amounts, each)
            return True
    return False


def _best_node(
    free: Mapping[NodeId, Resources], held: Mapping[NodeId, Mapping[JobId, Resources]], giver: JobId, each: Resources
) -> NodeId | None:
    """Where the giver has most, and enough."""
    best: NodeId | None = None
    most = 0
    name = next(iter(each))
    for node, jobs in held.items():
        mine = jobs.get(giver)
        if mine is None or mine.get(name, 0) <= most:
            continue
        if all(mine.get(each_name, 0) + free[node].get(each_name, 0) >= amount for each_name, amount in each.items()):
            best, most = node, mine.get(name, 0)
    return best


def _together(moves: Sequence[Move]) -> list[Move]:
    """One move per node and pair of jobs."""
    sums: dict[tuple[NodeId, JobId, JobId], Resources] = {}
    for move in moves:
        key = move[:3]
        sums[key] = _sum(sums.get(key, {}), move.amounts)
    return [Move(*key, amounts) for key, amounts in sums.items()]
