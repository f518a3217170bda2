"""A raylet's scheduling against a plain model: whatever is asked, granted, returned and dies, in any order.

The real component objects run on ports that only record; what the world would do (start workers, let time pass) is
drawn by Hypothesis.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from thornback.core import ids
from thornback.core.config import MILLISECOND, Config
from thornback.core.ids import GCS
from thornback.core.messages import (
    AcquireCpu,
    AskQuota,
    BarrierPassed,
    BundlesReserved,
    CancelLease,
    CommitBarrier,
    CommitBundles,
    Death,
    Deaths,
    JobTerms,
    LeaseGranted,
    LeaseLost,
    LeaseSpilled,
    Message,
    QuotaGiven,
    RegisterWorker,
    ReleaseBundles,
    ReleaseCpu,
    RequestLease,
    ReserveBundles,
    ReturnLease,
    Strategy,
)
from thornback.core.node import NodeCore
from thornback.core.ports import NoTrace, Ports
from thornback.core.resources import CPU, GPU, UNIT, Resources, add, fits, total

NODE = bytes(ids.NODE_ID_SIZE - 1) + b"\x01"
OTHER = bytes(ids.NODE_ID_SIZE - 1) + b"\x02"
TOTAL: Resources = {CPU: 6 * UNIT, GPU: 2 * UNIT, "license": UNIT}
QUOTA = {CPU: 3 * UNIT}
QUOTA_JOB = 3
DEMANDS: list[Resources] = [
    {CPU: UNIT},
    {CPU: 2 * UNIT},
    {CPU: 6 * UNIT},
    {CPU: UNIT // 2},
    {CPU: UNIT, GPU: UNIT},
    {GPU: UNIT // 2},
    {CPU: UNIT, GPU: 2 * UNIT},
    {"license": UNIT},
]


class World:
    """Ports that record, and a clock that stands until it is moved."""

    capacity = 1 << 20

    def __init__(self) -> None:
        self.time = 0
        self.timers: list[tuple[int, int, Callable[[], None]]] = []
        self.sent: list[tuple[bytes, Message]] = []
        self.starting: list[bytes] = []
        self.killed: dict[bytes, None] = {}
        self._count = 0

    def now(self) -> int:
        return self.time

    def call_after(self, delay: int, call: Callable[[], None]) -> Any:
        self._count += 1
        timer = (self.time + delay, self._count, call)
        self.timers.append(timer)
        return _Timer(self, timer)

    def stream(self, purpose: str) -> random.Random:
        return random.Random(purpose)

    def send(self, to: bytes, message: Message) -> None:
        self.sent.append((to, message))

    def load(self) -> list[Any]:
        return []

    def start(self, worker: Any) -> None:
        self.starting.append(worker.worker_id)

    def kill(self, worker_id: bytes) -> None:
        self.killed[worker_id] = None

    def started_through(self, worker_id: bytes) -> None:
        return None

    def forget(self, worker_id: bytes) -> None:
        pass


class _Timer:
    def __init__(self, world: World, timer: Any) -> None:
        self.world = world
        self.timer = timer

    def cancel(self) -> None:
        if self.timer in self.world.timers:
            self.world.timers.remove(self.timer)


class RayletMachine(RuleBasedStateMachine):
    """One node of six CPUs, two GPUs and one license; jobs 1 and 2 are free, job 3 may hold three CPUs."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.processes = 4
        self.holders = [ids.worker_id(OTHER, number) for number in range(1, 5)]
        world: Any = self.world
        config = Config(prestart_workers=False)
        ports = Ports(world, world, world, NoTrace())
        self.node = NodeCore(NODE, "node", ports, world, world, config, TOTAL, {})
        self.raylet = self.node.raylet
        self.raylet.start()
        self.raylet.view_version = 1
        self.raylet.leases.view_seen = True
        self.requests: dict[bytes, RequestLease] = {}
        self.granted: dict[bytes, tuple[bytes, tuple[int, ...]]] = {}
        """Worker and GPUs of each lease, as its holder knows them."""
        self.blocked: dict[bytes, None] = {}
        self.groups: dict[bytes, tuple[int, list[Resources], bool]] = {}
        """Attempt, bundles, and whether they were confirmed, of groups that are set aside here."""
        self.asked: dict[bytes, tuple[int, list[Resources]]] = {}
        self.attempts = 0
        self.count = 0
        self.quota_given: Resources = {}
        self.settle()

    # --- The world goes on

    def receive(self, sender: bytes, message: Message) -> None:
        self.node.receive(NODE, sender, message)
        self.settle()

    def settle(self) -> None:
        """End the turn; do what the world does at once; take note of what was said."""
        for _ in range(100):
            self.node.end_turn()
            if not (self.world.sent or self.world.starting or self.world.killed):
                return
            sent, self.world.sent = self.world.sent, []
            for to, message in sent:
                self.note(to, message)
            starting, self.world.starting = self.world.starting, []
            for worker in starting:
                self.node.receive(NODE, worker, RegisterWorker(1))
            killed, self.world.killed = self.world.killed, {}
            for worker in killed:
                self.node.worker_exited(worker, "killed")
        raise AssertionError("the node does not come to rest")

    def note(self, to: bytes, message: Message) -> None:
        if isinstance(message, LeaseGranted):
            assert message.lease_id in self.requests, "a lease is granted that nobody waits for"
            assert message.lease_id not in self.granted, "a lease is granted twice"
            assert to == self.requests[message.lease_id].holder
            self.granted[message.lease_id] = (message.worker_id, message.gpu_ids)
        elif isinstance(message, LeaseLost):
            self.forget(message.lease_id)
        elif isinstance(message, CommitBarrier):
            self.node.receive(NODE, GCS, BarrierPassed(message.number))
        elif isinstance(message, LeaseSpilled):
            raise AssertionError("there is no other node to go to")
        elif isinstance(message, BundlesReserved):
            attempt, bundles = self.asked.pop(message.group_id, (0, []))
            if message.granted and attempt == message.attempt:
                self.groups[message.group_id] = (attempt, bundles, False)
        elif isinstance(message, AskQuota):
            assert not any(message.held.get(name, 0) > most for name, most in QUOTA.items()), "the quota is exceeded"
            more: Resources = {}
            for demand in message.wanted:
                if fits(total((message.held, more, demand)), QUOTA):
                    add(more, demand)
            self.quota_given = dict(message.held)
            if more:
                self.quota_given = total((message.held, more))
                self.node.receive(NODE, GCS, QuotaGiven(message.job_id, message.number, self.quota_given))

    def forget(self, lease_id: bytes) -> None:
        self.requests.pop(lease_id, None)
        self.granted.pop(lease_id, None)
        self.blocked.pop(lease_id, None)

    # --- What can happen

    @rule(
        who=st.integers(0, 3),
        demand=st.sampled_from(DEMANDS),
        job=st.integers(1, 3),
        priority=st.integers(0, 2),
        actor=st.sampled_from([False, False, False, True]),
        known=st.sampled_from([-1, 5 * MILLISECOND, 5000 * MILLISECOND]),
    )
    def ask(self, who: int, demand: Resources, job: int, priority: int, actor: bool, known: int) -> None:
        self.count += 1
        holder = self.holders[who]
        lease_id = ids.task_id(holder, self.count)
        terms = JobTerms(quota=QUOTA) if job == QUOTA_JOB else JobTerms()
        request = RequestLease(
            lease_id, holder, demand, Strategy(), job, "", "f", 1, lease_id if actor else b"",
            priority=priority, run_time=known, terms=terms,
        )  # fmt: skip
        self.requests[lease_id] = request
        self.receive(holder, request)

    @precondition(lambda self: any(confirmed for _, _, confirmed in self.groups.values()))
    @rule(who=st.integers(0, 3), data=st.data())
    def ask_in_group(self, who: int, data: st.DataObject) -> None:
        group_id = data.draw(st.sampled_from([key for key, group in self.groups.items() if group[2]]))
        bundles = self.groups[group_id][1]
        bundle = data.draw(st.integers(0, len(bundles) - 1))
        self.count += 1
        holder = self.holders[who]
        lease_id = ids.task_id(holder, self.count)
        request = RequestLease(lease_id, holder, bundles[bundle], Strategy(group=group_id, bundle=bundle), 1, "", "f")
        self.requests[lease_id] = request
        self.receive(holder, request)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        """The same message comes twice, or late."""
        request = self.requests[data.draw(st.sampled_from(sorted(self.requests)))]
        self.receive(request.holder, request)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        lease_id = data.draw(st.sampled_from(sorted(self.requests)))
        request = self.requests[lease_id]
        if lease_id not in self.granted:
            del self.requests[lease_id]
        self.receive(request.holder, CancelLease(lease_id))

    @precondition(lambda self: self.granted)
    @rule(data=st.data(), ends=st.booleans())
    def give_back(self, data: st.DataObject, ends: bool) -> None:
        lease_id = data.draw(st.sampled_from(sorted(self.granted)))
        holder = self.requests[lease_id].holder
        self.forget(lease_id)
        self.receive(holder, ReturnLease(lease_id, ends))
        self.receive(holder, ReturnLease(lease_id, ends))

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        worker, _ = self.granted[data.draw(st.sampled_from(sorted(self.granted)))]
        self.node.worker_exited(worker, "it crashed")
        self.settle()

    @rule(who=st.integers(0, 3))
    def holder_dies(self, who: int) -> None:
        holder = self.holders[who]
        for lease_id in [key for key, request in self.requests.items() if request.holder == holder]:
            self.forget(lease_id)
        self.processes += 1
        self.holders[who] = ids.worker_id(OTHER, self.processes)
        self.receive(GCS, Deaths((Death(holder, "it crashed"),)))

    @precondition(lambda self: set(self.granted) - set(self.blocked))
    @rule(data=st.data())
    def block(self, data: st.DataObject) -> None:
        lease_id = data.draw(st.sampled_from(sorted(set(self.granted) - set(self.blocked))))
        self.blocked[lease_id] = None
        self.receive(self.granted[lease_id][0], ReleaseCpu())

    @precondition(lambda self: self.blocked)
    @rule(data=st.data())
    def unblock(self, data: st.DataObject) -> None:
        lease_id = data.draw(st.sampled_from(sorted(self.blocked)))
        del self.blocked[lease_id]
        self.receive(self.granted[lease_id][0], AcquireCpu())

    @rule(
        bundles=st.lists(st.sampled_from([d for d in DEMANDS if d != {CPU: 6 * UNIT}]), min_size=1, max_size=3),
        keeps=st.booleans(),
    )
    def reserve(self, bundles: list[Resources], keeps: bool) -> None:
        if self.asked:
            return
        self.count += 1
        self.attempts += 1
        group_id = ids.task_id(self.holders[0], self.count)
        self.asked[group_id] = (self.attempts, bundles)
        message = ReserveBundles(group_id, self.attempts, tuple(enumerate(bundles)), keep_room=keeps, job_id=1)
        self.receive(GCS, message)

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        group_id = data.draw(st.sampled_from(sorted(self.groups)))
        attempt, bundles, _ = self.groups[group_id]
        self.groups[group_id] = (attempt, bundles, True)
        self.receive(GCS, CommitBundles(group_id, (NODE,) * len(bundles)))

    @precondition(lambda self: self.groups or self.asked)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        group_id = data.draw(st.sampled_from(sorted({**self.groups, **self.asked})))
        self.groups.pop(group_id, None)
        self.asked.pop(group_id, None)
        for lease_id, request in list(self.requests.items()):
            if request.strategy.group == group_id and lease_id not in self.granted:
                self.forget(lease_id)
                self.node.receive(NODE, request.holder, CancelLease(lease_id))
        self.receive(GCS, ReleaseBundles(group_id, -1))

    @rule(duration=st.sampled_from([1, 11, 120, 700, 3000]))
    def time_passes(self, duration: int) -> None:
        end = self.world.time + duration * MILLISECOND
        for _ in range(10_000):
            due = min((timer for timer in self.world.timers if timer[0] <= end), default=None)
            if due is None:
                break
            self.world.timers.remove(due)
            self.world.time = max(self.world.time, due[0])
            due[2]()
            self.settle()
        self.world.time = end

    # --- What must always hold

    @invariant()
    def never_over_capacity(self) -> None:
        used: Resources = {}
        gpus: dict[int, int] = {}
        for lease_id, grant in self.raylet.grants.table.items():
            if grant.pool is self.raylet.grants.free:
                add(used, grant.held)
                for gpu, units in grant.gpus.items():
                    gpus[gpu] = gpus.get(gpu, 0) + units
            if lease_id in self.granted:
                assert self.granted[lease_id][1] == tuple(sorted(grant.gpus)), "the holder uses other GPUs"
        for group in self.raylet.bundles.groups.values():
            for bundle in group.bundles.values():
                add(used, bundle.pool.total)
                for gpu, units in bundle.gpus.items():
                    gpus[gpu] = gpus.get(gpu, 0) + units
                inside: Resources = {}
                for grant in self.raylet.grants.table.values():
                    if grant.pool is bundle.pool:
                        add(inside, grant.held)
                assert fits(inside, bundle.pool.total), f"a bundle of {bundle.pool.total} is used for {inside}"
                left = total((inside, bundle.pool.available))
                assert left == bundle.pool.total, f"a bundle of {bundle.pool.total} has {left}"
        assert fits(used, TOTAL), f"{used} is in use of {TOTAL}"
        assert all(units <= UNIT for units in gpus.values()), f"GPUs are used beyond what they are: {gpus}"
        free = self.raylet.grants.free.available
        assert total((used, free)) == {**TOTAL, **{k: v for k, v in free.items() if k not in TOTAL}}, "something leaks"

    @invariant()
    def promises_are_kept(self) -> None:
        aside = self.raylet.bundles.groups
        assert set(aside) == set(self.groups), f"set aside are {sorted(aside)}, promised were {sorted(self.groups)}"
        for group_id, (_, bundles, _) in self.groups.items():
            held = [bundle.pool.total for bundle in aside[group_id].bundles.values()]
            assert held == bundles, f"of {bundles} the node has set {held} aside"

    @invariant()
    def quotas_are_kept(self) -> None:
        held: Resources = {}
        for grant in self.raylet.grants.table.values():
            if grant.request.job_id == QUOTA_JOB:
                add(held, grant.held)
        assert held.get(CPU, 0) <= QUOTA[CPU], f"job 3 holds {held} of {QUOTA}"

    @invariant()
    def nothing_feasible_waits_without_a_reason(self) -> None:
        """With room here, something waits only behind a reservation, or for its quota."""
        leases = self.raylet.leases
        for waiting in leases.queue:
            request = waiting.request
            if request.strategy.group or not self.raylet.grants.free.fits(request.resources):
                continue
            held: Resources = {}
            for grant in self.raylet.grants.table.values():
                if grant.request.job_id == request.job_id:
                    add(held, grant.held)
            if request.terms.quota and held.get(CPU, 0) + request.resources.get(CPU, 0) > QUOTA[CPU]:
                continue
            current = leases.reservations.current
            assert current is not None, (
                f"{request.resources} waits for nothing with {self.raylet.grants.free.available}"
            )
            assert current.key != request.lease_id, "its own reservation is complete, and it still waits"

    @invariant()
    def requests_are_not_lost(self) -> None:
        known = {*self.raylet.grants.table, *(waiting.request.lease_id for waiting in self.raylet.leases.queue)}
        known |= set(self.raylet.leases.infeasible)
        lost = set(self.requests) - known
        assert not lost, f"requests {sorted(lost)} are neither granted nor waiting"

    def teardown(self) -> None:
        """When everything has been given back, everything is free."""
        for lease_id, request in list(self.requests.items()):
            self.requests.pop(lease_id)
            self.granted.pop(lease_id, None)
            self.node.receive(NODE, request.holder, CancelLease(lease_id))
            self.node.receive(NODE, request.holder, ReturnLease(lease_id))
        for group_id in {**self.groups, **self.asked}:
            self.node.receive(NODE, GCS, ReleaseBundles(group_id, -1))
        self.groups.clear()
        self.settle()
        assert not self.raylet.grants.table and not len(self.raylet.leases.queue)
        assert {k: v for k, v in self.raylet.grants.free.available.items() if k in TOTAL} == TOTAL
        assert not self.raylet.grants.shares.here() and not any(self.raylet.grants.lasting.values())


RayletMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestRaylet = RayletMachine.TestCase


def test_a_worker_that_waits_again_before_it_has_its_cpu_back_takes_that_once() -> None:
    state = RayletMachine()
    state.begin()
    state.ask(0, {CPU: 2 * UNIT}, 1, 0, False, -1)
    [(lease, (worker, _))] = state.granted.items()
    state.receive(worker, ReleaseCpu())
    state.ask(1, {CPU: 6 * UNIT}, 2, 0, False, -1)
    state.receive(worker, AcquireCpu())
    state.receive(worker, ReleaseCpu())
    [other] = state.granted.keys() - {lease}
    state.receive(state.requests[other].holder, ReturnLease(other))
    free = state.raylet.grants.free.available
    assert free[CPU] == 6 * UNIT, "a task that waits has no CPU"
    state.receive(worker, AcquireCpu())
    assert free[CPU] == 4 * UNIT
    state.forget(other)
    state.teardown()


@pytest.mark.soak
def test_many_more_sequences() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        RayletMachine, settings=settings(max_examples=3000, stateful_step_count=80, deadline=None)
    )
