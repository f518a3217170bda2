"""The queue of requests that wait on one node: fair between jobs, by priority within a job, first come first served.

A pure object: it knows neither nodes nor workers. Whoever serves it says what each job has already, and tries requests
one by one in the order that the queue gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple, TypeAlias

import msgspec

from thornback.core.ids import Address, JobId, LeaseId
from thornback.core.messages import RequestLease, Strategy

Rank: TypeAlias = tuple[int, int, int]


class Shape(NamedTuple):
    """What requests have in common that can stand for each other."""

    resources: tuple[tuple[str, int], ...]
    strategy: Strategy
    runtime_env: str
    job_id: JobId
    holder: Address
    priority: int


def shape_of(request: RequestLease) -> Shape:
    """The shape of a request."""
    resources = tuple(sorted(request.resources.items()))
    return Shape(resources, request.strategy, request.runtime_env, request.job_id, request.holder, request.priority)


class Waiting:
    """One request in the queue.

    Attributes:
        number: grows with each request that is added.
        since: when it was added, in nanoseconds.
    """

    __slots__ = ("number", "request", "since")

    def __init__(self, request: RequestLease, number: int, since: int) -> None:
        self.request = request
        self.number = number
        self.since = since


class FairQueue:
    """Requests that wait, by shape, oldest first.

    Between jobs, the one with the smallest weighted dominant share goes first (dominant resource fairness, Ghodsi et
    al., NSDI 2011, section 4.1, algorithm 1). Within a job the highest priority goes first; among equals the children
    of tasks that wait for them, the newest before, so that few tasks wait at a time; then the oldest request.
    """

    def __init__(self) -> None:
        self._shapes: dict[Shape, dict[LeaseId, Waiting]] = {}
        self._shape_of: dict[LeaseId, Shape] = {}
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._shape_of)

    def __contains__(self, lease_id: object) -> bool:
        return lease_id in self._shape_of

    def __iter__(self) -> Iterator[Waiting]:
        """All that wait, shape by shape; the queue may change meanwhile."""
        for queue in list(self._shapes.values()):
            yield from list(queue.values())

    def add(self, request: RequestLease, now: int) -> None:
        """Queue a request. One that is here already only takes on a higher priority."""
        known = self.get(request.lease_id)
        if known is not None:
            if request.priority <= known.request.priority:
                return
            self.remove(request.lease_id)
            request = msgspec.structs.replace(known.request, priority=request.priority)
            now = known.since
        self._numbers += 1
        shape = shape_of(request)
        self._shapes.setdefault(shape, {})[request.lease_id] = Waiting(request, self._numbers, now)
        self._shape_of[request.lease_id] = shape

    def get(self, lease_id: LeaseId) -> Waiting | None:
        """The request, if it waits here."""
        shape = self._shape_of.get(lease_id)
        return None if shape is None else self._shapes[shape][lease_id]

    def remove(self, lease_id: LeaseId) -> None:
        """The request waits no more; does nothing if it did not."""
        shape = self._shape_of.pop(lease_id, None)
        if shape is None:
            return
        queue = self._shapes[shape]
        del queue[lease_id]
        if not queue:
            del self._shapes[shape]

    def remove_of(self, holder: Address) -> None:
        """Drop all requests of a process, or of all processes of a node."""
        for waiting in self:
            if waiting.request.holder.startswith(holder):
                self.remove(waiting.request.lease_id)

    def has_shape(self, shape: Shape) -> bool:
        """Whether an equal request waits."""
        return shape in self._shapes

    def count_like(self, lease_id: LeaseId) -> int:
        """How many requests wait of the same shape as this one, with it."""
        shape = self._shape_of.get(lease_id)
        return 0 if shape is None else len(self._shapes[shape])

    def shapes(self) -> list[tuple[Shape, int, Waiting]]:
        """Each shape with how many wait and the oldest of them."""
        return [(shape, len(queue), next(iter(queue.values()))) for shape, queue in self._shapes.items()]

    def serve(
        self,
        share: Callable[[JobId], float],
        is_child: Callable[[Address], bool],
        attempt: Callable[[Waiting], bool],
    ) -> None:
        """Try requests in order until none is left that could be served.

        Args:
            share: weighted dominant share of a job, as it is at that moment.
            is_child: whether the holder is a task that waits.
            attempt: serves the request, or returns False: then no equal request is tried any more.
        """
        lanes: dict[JobId, list[tuple[Rank, Shape]]] = {}
        for shape, _, first in self.shapes():
            lanes.setdefault(first.request.job_id, []).append((_rank(first, is_child), shape))
        for lane in lanes.values():
            heapify(lane)
        while lanes:
            job = min(lanes, key=lambda each: (share(each), lanes[each][0][0][2]))
            lane = lanes[job]
            _, shape = heappop(lane)
            waiting = next(iter(self._shapes[shape].values()))
            if attempt(waiting):
                self.remove(waiting.request.lease_id)
                if shape in self._shapes:
                    following = next(iter(self._shapes[shape].values()))
                    heappush(lane, (_rank(following, is_child), shape))
            if not lane:
                del lanes[job]


def _rank(waiting: Waiting, is_child: Callable[[Address], bool]) -> Rank:
    request = waiting.request
    if is_child(request.holder):
        return -request.priority, -1, -waiting.number
    return -request.priority, 0, waiting.number
