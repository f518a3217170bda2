"""The queue of waiting requests: order between jobs and within them, whatever comes and goes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from thornback.core.messages import RequestLease, Strategy
from thornback.core.resources import UNIT
from thornback.core.scheduling.fair_queue import FairQueue, Waiting
from thornback.core.scheduling.shares import Shares, dominant_share


def request(number: int, job: int = 1, priority: int = 0, cpus: int = 1, holder: bytes = b"") -> RequestLease:
    """A request for CPUs by a holder of the job."""
    who = holder or b"holder-%d" % job
    amounts = {"CPU": cpus * UNIT}
    return RequestLease(number.to_bytes(4, "big"), who, amounts, Strategy(), job, "", "task", priority=priority)


def served(queue: FairQueue, total: int = 1000, most: int = 1000) -> list[RequestLease]:
    """All requests in the order in which they are served, as each gets what it asks for."""
    shares = Shares({"CPU": total * UNIT})
    order: list[RequestLease] = []

    def attempt(waiting: Waiting) -> bool:
        if len(order) >= most:
            return False
        order.append(waiting.request)
        shares.take(waiting.request.job_id, waiting.request.resources)
        return True

    queue.serve(shares.of, lambda holder: holder.startswith(b"blocked"), attempt)
    return order


@st.composite
def many_requests(draw: st.DrawFn) -> list[RequestLease]:
    count = draw(st.integers(0, 25))
    return [
        request(number, draw(st.integers(1, 3)), draw(st.integers(-2, 2)), draw(st.integers(1, 3)))
        for number in range(count)
    ]


@given(many_requests())
@settings(deadline=None)
def test_within_a_job_higher_priorities_go_first_and_equals_in_order_of_arrival(requests: list[RequestLease]) -> None:
    queue = FairQueue()
    for now, each in enumerate(requests):
        queue.add(each, now)
    order = served(queue)
    assert sorted(each.lease_id for each in order) == [each.lease_id for each in requests], "each is served once"
    assert not queue and not list(queue)
    for job in (1, 2, 3):
        mine = [(-each.priority, each.lease_id) for each in order if each.job_id == job]
        assert mine == sorted(mine), f"requests of job {job} were served as {mine}"


@given(many_requests())
@settings(deadline=None)
def test_whoever_has_least_of_those_that_wait_is_served_next(requests: list[RequestLease]) -> None:
    queue = FairQueue()
    for now, each in enumerate(requests):
        queue.add(each, now)
    left = list(requests)
    held: dict[int, int] = {}
    for each in served(queue):
        least = min(held.get(other.job_id, 0) for other in left)
        assert held.get(each.job_id, 0) == least, f"job {each.job_id} was served before one with less: {held}"
        held[each.job_id] = held.get(each.job_id, 0) + each.resources["CPU"]
        left.remove(each)


@given(many_requests(), st.lists(st.integers(0, 30)), st.integers(0, 30))
@settings(deadline=None)
def test_what_was_removed_or_not_served_stays_as_it_is(
    requests: list[RequestLease], gone: list[int], most: int
) -> None:
    queue = FairQueue()
    for now, each in enumerate(requests):
        queue.add(each, now)
    for number in gone:
        queue.remove(number.to_bytes(4, "big"))
    expected = {each.lease_id for each in requests} - {number.to_bytes(4, "big") for number in gone}
    expected -= {each.lease_id for each in served(queue, most=most)}
    assert {waiting.request.lease_id for waiting in queue} == expected and len(queue) == len(expected)
    for lease_id in expected:
        waiting = queue.get(lease_id)
        assert waiting is not None and waiting.since == int.from_bytes(lease_id, "big")
    queue.remove_of(b"holder-")
    assert len(queue) == 0 and not queue.shapes()


def test_children_of_tasks_that_wait_go_first_the_newest_before() -> None:
    queue = FairQueue()
    queue.add(request(1), 0)
    queue.add(request(2, holder=b"blocked-1"), 0)
    queue.add(request(3, holder=b"blocked-2"), 0)
    queue.add(request(4, priority=1), 0)
    assert [each.lease_id[-1] for each in served(queue)] == [4, 3, 2, 1]


def test_a_request_that_comes_again_takes_on_the_higher_priority_and_nothing_else() -> None:
    queue = FairQueue()
    queue.add(request(1), 10)
    queue.add(request(2), 20)
    queue.add(request(2, priority=5), 30)
    queue.add(request(2, priority=3), 40)
    assert len(queue) == 2
    waiting = queue.get((2).to_bytes(4, "big"))
    assert waiting is not None and waiting.since == 20 and waiting.request.priority == 5
    assert [each.lease_id[-1] for each in served(queue)] == [2, 1]


def test_a_shape_that_does_not_fit_does_not_hold_up_others() -> None:
    queue = FairQueue()
    for number, cpus in enumerate([8, 1, 8, 1, 1]):
        queue.add(request(number, cpus=cpus), 0)
    tried: list[int] = []

    def attempt(waiting: Waiting) -> bool:
        tried.append(waiting.request.lease_id[-1])
        return waiting.request.resources["CPU"] == UNIT

    queue.serve(lambda job: 0.0, lambda holder: False, attempt)
    assert tried == [0, 1, 3, 4], "the second request of 8 CPUs cannot fit where the first did not"
    assert [waiting.request.lease_id[-1] for waiting in queue] == [0, 2]


def test_the_dominant_share_is_the_one_of_the_scarcest_resource_by_weight() -> None:
    total = {"CPU": 9 * UNIT, "memory": 18}
    assert dominant_share({"CPU": 3 * UNIT, "memory": 12}, total) == 12 / 18
    assert dominant_share({}, total) == 0.0
    shares = Shares(total)
    shares.weights[1] = 2.0
    shares.take(1, {"CPU": 3 * UNIT})
    shares.set_elsewhere({1: {"memory": 12}, 2: {"CPU": UNIT}}, total)
    assert shares.of(1) == 12 / 18 / 2
    assert shares.of(2, {"CPU": UNIT}) == 2 / 9
    shares.give(1, {"CPU": 3 * UNIT})
    assert shares.held(1) == {"memory": 12} and not shares.here()


def test_the_shares_of_the_paper_come_out() -> None:
    """Ghodsi et al., figure 3: of 9 CPUs and 18 GB, A runs three tasks of (1 CPU, 4 GB), B two of (3 CPUs, 1 GB)."""
    total = {"CPU": 9, "memory": 18}
    free = dict(total)
    shares = Shares(total)
    queue = FairQueue()
    demands = {1: {"CPU": 1, "memory": 4}, 2: {"CPU": 3, "memory": 1}}
    for number in range(40):
        job = 1 + number % 2
        queue.add(RequestLease(bytes([number]), bytes([job]), demands[job], Strategy(), job, "", "task"), 0)
    ran = {1: 0, 2: 0}

    def attempt(waiting: Waiting) -> bool:
        demand = waiting.request.resources
        if any(free[name] < amount for name, amount in demand.items()):
            return False
        for name, amount in demand.items():
            free[name] -= amount
        shares.take(waiting.request.job_id, demand)
        ran[waiting.request.job_id] += 1
        return True

    queue.serve(shares.of, lambda holder: False, attempt)
    assert ran == {1: 3, 2: 2}
    assert shares.of(1) == shares.of(2) == 2 / 3
