"""Fair shares and the moves towards them, whatever jobs hold and want."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from thornback.core.resources import UNIT, add, subtract
from thornback.core.scheduling.rebalancing import JobNeed, NodeUse, fair_shares, plan
from thornback.core.scheduling.shares import dominant_share

TOTAL = {"CPU": 100 * UNIT, "memory": 1000}


def need(held: int = 0, waiting: int = 0, weight: float = 1.0, cpus: int = 1) -> JobNeed:
    """A job that holds and wants CPUs."""
    each = {"CPU": cpus * UNIT} if waiting else {}
    return JobNeed(weight, {"CPU": held * UNIT}, {"CPU": waiting * UNIT}, each)


def test_a_job_alone_gets_what_it_wants() -> None:
    assert fair_shares({1: need(0, 500, weight=0.01)}, TOTAL) == {1: 1.0}
    assert fair_shares({1: need(0, 30)}, TOTAL) == {1: 0.3}


def test_weights_count_only_while_both_want_more() -> None:
    shares = fair_shares({1: need(100, 100), 2: need(0, 100, weight=3.0)}, TOTAL)
    assert shares[1] == 0.25 and shares[2] == 0.75
    modest = fair_shares({1: need(100, 100), 2: need(0, 10, weight=3.0)}, TOTAL)
    assert round(modest[1], 9) == 0.9 and round(modest[2], 9) == 0.1, "what one does not want is the other's"


def test_jobs_that_need_different_resources_do_not_hold_each_other_up() -> None:
    memory = JobNeed(1.0, {}, {"memory": 2000}, {"memory": 1})
    assert fair_shares({1: need(0, 500), 2: memory}, TOTAL) == {1: 1.0, 2: 1.0}


AMOUNTS = st.fixed_dictionaries({"CPU": st.integers(0, 50).map(lambda n: n * UNIT), "memory": st.integers(0, 500)})


@st.composite
def job_needs(draw: st.DrawFn) -> JobNeed:
    return JobNeed(draw(st.sampled_from([0.5, 1.0, 2.0, 7.0])), draw(AMOUNTS), draw(AMOUNTS), {})


@given(st.dictionaries(st.integers(1, 5), job_needs()))
@settings(deadline=None)
def test_shares_are_feasible_and_nobody_could_have_more_without_taking_it_from_a_poorer_one(
    jobs: dict[int, JobNeed],
) -> None:
    shares = fair_shares(jobs, TOTAL)
    used = dict.fromkeys(TOTAL, 0.0)
    wants = {}
    for job, each in jobs.items():
        want = {name: each.held[name] + each.waiting[name] for name in TOTAL}
        peak = wants[job] = dominant_share(want, TOTAL)
        assert 0 <= shares[job] <= peak + 1e-6
        for name in TOTAL:
            used[name] += want[name] * (shares[job] / peak if peak else 0)
    assert all(used[name] <= TOTAL[name] * (1 + 1e-6) for name in TOTAL), f"{used} of {TOTAL}"
    for job, share in shares.items():
        if share >= wants[job] - 1e-6:
            continue
        mine = share / jobs[job].weight
        need_of = {name for name in TOTAL if jobs[job].held[name] + jobs[job].waiting[name]}
        short = [name for name in need_of if used[name] >= TOTAL[name] * (1 - 1e-6)]
        assert short, f"job {job} has {share} of {wants[job]}, and nothing that it needs is used up"
        poorest_on = [
            name
            for name in short
            if all(
                amount / jobs[other].weight <= mine + 1e-6
                for other, amount in shares.items()
                if jobs[other].held[name] + jobs[other].waiting[name]
            )
        ]
        assert poorest_on, f"of {short}, which job {job} lacks, it has less than others everywhere: {shares}"


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=20),
    st.integers(0, 60),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_moves_bring_the_jobs_nearer_to_their_shares_and_take_only_what_is_there(
    use: list[tuple[int, int]], waiting: int, weight: float, cpus: int
) -> None:
    """Nodes of 4 CPUs, of which job 1 holds some; job 2 wants more."""
    total = {"CPU": 4 * UNIT * len(use)}
    nodes = {}
    for number, (one, wanted) in enumerate(use):
        two = min(wanted, 4 - one)
        held = {1: {"CPU": one * UNIT}, 2: {"CPU": two * UNIT}}
        nodes[bytes([number])] = NodeUse({"CPU": (4 - one - two) * UNIT}, held)
    sums = {job: sum(node.held[job]["CPU"] for node in nodes.values()) // UNIT for job in (1, 2)}
    jobs = {1: need(sums[1]), 2: need(sums[2], waiting * cpus, weight, cpus)}
    moves = plan(jobs, nodes, total)
    taken: dict[bytes, dict[str, int]] = {}
    for move in moves:
        assert (move.from_job, move.for_job) == (1, 2)
        add(taken.setdefault(move.node, {}), move.amounts)
    for node, amounts in taken.items():
        left = dict(nodes[node].held[1])
        subtract(left, amounts)
        assert left["CPU"] >= 0, f"node {node!r} is to give {amounts} of {nodes[node].held[1]}"
    moved = sum(amounts["CPU"] for amounts in taken.values()) / total["CPU"]
    fair = fair_shares(jobs, total)
    surplus = dominant_share(jobs[1].held, total) - fair[1]
    assert moved <= max(surplus, 0) + cpus * UNIT / total["CPU"] / 2 + 1e-6, "job 1 does not fall far below its share"
