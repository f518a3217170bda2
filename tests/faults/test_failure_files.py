"""A failure becomes a file: it replays bit for bit, shrinks to what matters, and becomes a timeline."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import thornback as ray
from thornback.faults import plan as p
from thornback.faults.coverage import as_text, report
from thornback.faults.explore import explore
from thornback.faults.failure import Failure, FailureError, examine, load_failure
from thornback.faults.plan import Plan
from thornback.faults.program import find_program
from thornback.faults.replay import replay, suspects
from thornback.faults.run import Setup, run_once
from thornback.faults.shrink import NotAgain, Shrinker, shrink, simpler_faults
from thornback.faults.timeline import Timeline, to_html

COUNTER = """
import time
import thornback as ray


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Counter:
    def __init__(self):
        self.value = 0

    def add(self):
        time.sleep(0.1)
        self.value += 1
        return self.value


counter = Counter.remote()
for expected in range(1, 21):
    assert ray.get(counter.add.remote()) == expected, "the counter has forgotten"
"""
STORM = Plan(
    faults=(
        p.SlowNode(node=1, factor=3.0, at=0.2, until=4.0),
        p.CrashWorker(node=0, at=1.2345),
        p.Loss(rate=0.1, at=0.5, until=2.0),
        p.Delay(seconds=0.01, at=0.1, until=3.0),
        p.CrashNode(node=2, at=0.7),
        p.FailedStart(node=1, count=2, at=0.3),
    )
)
SETUP = Setup(nodes=3, node={"cpus": 2})


@pytest.fixture
def failure(tmp_path: Path) -> Failure:
    """The counter forgets what it has counted when its worker is killed."""
    program = tmp_path / "counter.py"
    program.write_text(COUNTER)
    outcome = run_once(program, 1, STORM, SETUP)
    assert [violation.invariant for violation in outcome.violations] == ["the program"]
    return examine(outcome)


def test_a_file_holds_the_whole_failure(failure: Failure, tmp_path: Path) -> None:
    path = tmp_path / "failure.json"
    failure.save(path)
    assert load_failure(path) == failure
    assert failure.replays
    assert any("FAULT: crash_worker" in line for line in failure.story), failure.story
    assert any("RESTARTING" in line for line in failure.story), failure.story


def test_a_replay_is_the_same_run_also_without_the_programs_file(failure: Failure) -> None:
    Path(failure.program).unlink()
    found = replay(failure)
    assert found.same and found.fails
    assert found.outcome.trace_hash == failure.trace_hash


def test_another_version_is_refused_unless_told(failure: Failure) -> None:
    old = msgspec.structs.replace(failure, thornback="0.0.1")
    with pytest.raises(FailureError, match=r"found with Thornback 0\.0\.1, and this is"):
        replay(old)
    assert replay(old, any_version=True).same, "nothing that matters has changed"
    other = msgspec.structs.replace(failure, engine="0123")
    with pytest.raises(FailureError, match="another source of Thornback"):
        replay(other)


def test_a_replay_that_leaves_the_recorded_run_names_the_first_event(failure: Failure) -> None:
    changed = msgspec.structs.replace(failure, seed=2)
    found = replay(changed)
    assert not found.same
    assert found.divergence is not None
    assert found.divergence.event, "the first event that differs is named"
    assert found.divergence.record < len(failure.records)


def test_a_program_that_is_not_deterministic_is_told_so_with_the_place(tmp_path: Path) -> None:
    program = tmp_path / "erratic.py"
    program.write_text(
        "import time\n"
        "import thornback as ray\n"
        "ray.init()\n"
        f"number = int(open({str(tmp_path / 'number')!r}).read())\n"
        f"open({str(tmp_path / 'number')!r}, 'w').write(str(number + 1))\n"
        "time.sleep(0.001 * number)\n"
        "ray.get(ray.remote(abs).remote(-1))\n"
        "raise ValueError('always')\n"
    )
    (tmp_path / "number").write_text("1")
    found = examine(run_once(program, 1, None, SETUP))
    assert not found.replays, "the second run was another one"
    divergence = replay(found).divergence
    assert divergence is not None
    assert divergence.cause.startswith("the program itself is not deterministic: two replays differ from each other")
    assert "line 4: files are not simulated" in divergence.cause


def test_a_program_that_depends_on_its_process_is_told_so(tmp_path: Path) -> None:
    program = tmp_path / "hashes.py"
    program.write_text(
        "import time\nimport thornback as ray\nray.init()\n"
        "time.sleep(0.001 * (hash('some text') % 1000))\n"
        "ray.get(ray.remote(abs).remote(-1))\nraise ValueError('always')\n"
    )
    here = examine(run_once(program, 1, None, SETUP))
    there = explore(program, [1], "none", SETUP, jobs=2).failures[0]
    assert there.trace_hash != here.trace_hash
    divergence = replay(msgspec.structs.replace(here, trace_hash=there.trace_hash)).divergence
    assert divergence is not None
    assert divergence.cause.startswith("the program depends on the order of a set of strings, or on hash()")
    assert "line 4: hash() of a string or object differs from process to process" in divergence.cause


def test_a_module_of_the_program_that_has_changed_is_named(tmp_path: Path) -> None:
    (tmp_path / "pauses.py").write_text("PAUSE = 0.1\n")
    program = tmp_path / "pausing.py"
    program.write_text("import time, thornback\nfrom pauses import PAUSE\ntime.sleep(PAUSE)\nraise ValueError\n")
    found = examine(run_once(program, 1, None, SETUP))
    assert list(found.modules) == ["pauses.py"]
    (tmp_path / "pauses.py").write_text("PAUSE = 0.2  # longer\n")
    divergence = replay(found).divergence
    assert divergence is not None
    assert divergence.cause == "what the program imports has changed since: pauses.py"


def test_suspects_are_named_by_line() -> None:
    assert suspects("x = 1\nfor y in {'a', 'b'}:\n    print(id(y))\n") == [
        "line 2: the order of a set of strings differs from process to process",
        "line 3: id() is an address",
    ]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"faults": []}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(FailureError, match=r"other\.json: this is not a saved failure"):
        load_failure(path)
    with pytest.raises(FailureError, match="cannot read it"):
        load_failure(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2, "new": 1}, "the file has format 2; this version reads format 1"),
        ({"journal": "not base64"}, "this is not a saved failure"),
        ({"plan": {"faults": [{"kind": "crash_node", "node": 9, "at": 1}]}}, r"faults\[0\]\.node: there is no node 9"),
    ],
)
def test_files_of_other_formats_or_with_damage_are_refused(
    failure: Failure, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps({**json.loads(msgspec.json.encode(failure)), **changes}))
    with pytest.raises(FailureError, match=rf"damaged\.json: .*{message}"):
        load_failure(path)


def test_a_failure_shrinks_to_the_one_fault_that_matters(failure: Failure) -> None:
    found = shrink(failure)
    [fault] = found.failure.plan.faults
    assert isinstance(fault, p.CrashWorker)
    assert found.failure.setup.nodes == 1
    assert found.complete
    assert found.faults_before == 6
    assert 3 <= found.runs <= 40
    assert found.failure.note == f"shrunk from 6 faults on 3 nodes in {found.runs} runs"
    assert replay(found.failure).same


def test_a_failure_on_nodes_that_differ_keeps_those_that_matter(tmp_path: Path) -> None:
    program = tmp_path / "trains.py"
    program.write_text(
        "import thornback as ray, time\n"
        "train = ray.remote(num_gpus=1, max_retries=0)(time.sleep)\n"
        "ray.get(train.remote(1))\n"
    )
    setup = Setup(nodes=5, node=[{"cpus": 1}, {"cpus": 1}, {"cpus": 1, "gpus": 1}])
    plan = Plan(faults=(p.CrashWorker(node=2, at=0.5), p.CrashWorker(node=0, at=0.2)))
    path = tmp_path / "failure.json"
    examine(run_once(program, 3, plan, setup)).save(path)
    assert load_failure(path).setup == setup
    small = shrink(load_failure(path)).failure
    assert small.setup == Setup(nodes=3, node=setup.node), "the third has the GPU"
    assert [fault.kind for fault in small.plan.faults] == ["crash_worker"] and replay(small).same


def test_shrinking_stops_at_its_limit_with_what_it_has(failure: Failure) -> None:
    found = shrink(failure, max_runs=3)
    assert found.runs <= 3
    assert not found.complete


def test_a_failure_that_does_not_happen_again_is_not_shrunk(failure: Failure) -> None:
    calm = msgspec.structs.replace(failure, plan=Plan())
    with pytest.raises(NotAgain, match="does not happen again"):
        shrink(calm)


def test_ctrl_c_while_shrinking_leaves_the_smallest_plan_until_then() -> None:
    faults = tuple(p.CrashWorker(node=0, at=float(index)) for index in range(8))

    def fails(plan: Plan, setup: Setup) -> bool:
        if len(plan.faults) == 2:
            raise KeyboardInterrupt
        return faults[0] in plan.faults

    shrinker = Shrinker(fails)
    assert not shrinker.shrink(Plan(faults=faults), Setup(nodes=1))
    assert shrinker.plan.faults == faults[:4]


@pytest.mark.parametrize("seed", range(30))
def test_delta_debugging_leaves_exactly_the_faults_that_are_needed(seed: int) -> None:
    rng = random.Random(seed)
    faults = tuple(p.CrashWorker(node=0, at=float(index)) for index in range(rng.randrange(1, 25)))
    needed = rng.sample(faults, rng.randrange(1, min(len(faults), 4) + 1))
    shrinker = Shrinker(lambda plan, setup: {each.at for each in needed} <= {_at(each) for each in plan.faults})
    assert shrinker.shrink(Plan(faults=faults), Setup(nodes=1))
    assert {_at(each) for each in shrinker.plan.faults} == {each.at for each in needed}


def _at(fault: Any) -> Any:
    return fault.at


def test_simpler_faults_are_valid_and_differ() -> None:
    fault = p.Cut(a=[0, 2], b=[1, 3], one_way=True, at=1.234, until=5.678)
    simpler = list(simpler_faults(fault))
    assert p.Cut(a=[0, 2], b=[1, 3], at=1.234, until=5.678) in simpler
    assert p.Cut(a=[2], b=[1, 3], one_way=True, at=1.234, until=5.678) in simpler
    assert fault not in simpler


def test_a_timeline_has_tasks_faults_and_arrows_between_nodes(failure: Failure) -> None:
    timeline = Timeline()
    run_once(failure.find(), failure.seed, failure.plan, failure.setup, [timeline])
    trace = timeline.trace([failure.violation])
    entries = trace["traceEvents"]
    assert any(entry["name"] == "broken: the program" and entry["s"] == "g" for entry in entries)
    assert json.loads(json.dumps(trace)) == trace
    for entry in entries:
        assert {"ph", "name", "pid"} <= entry.keys()
        assert entry["ph"] in ("X", "M", "i", "s", "f")
        assert entry["ph"] != "X" or entry["dur"] >= 0
    assert {entry["args"]["name"] for entry in entries if entry["name"] == "process_name"} == {
        "node-0",
        "node-1",
        "node-2",
    }
    assert any(entry["ph"] == "X" and "Counter.add" in entry["name"] for entry in entries)
    assert any(entry["name"] == "fault: crash_worker" for entry in entries)
    starts = {entry["id"]: entry for entry in entries if entry["ph"] == "s"}
    ends = {entry["id"]: entry for entry in entries if entry["ph"] == "f"}
    assert starts and starts.keys() == ends.keys(), "each arrow has both of its ends"
    for number, start in starts.items():
        assert start["ts"] <= ends[number]["ts"]
        assert start["pid"] != ends[number]["pid"], "arrows go from node to node"


def busy(threads: int = 3) -> None:
    """Calls that run at the same time in one process, and one that never ends."""
    ray.init()

    class Worker:
        def work(self, seconds: float) -> None:
            time.sleep(seconds)

    actor = ray.remote(max_concurrency=threads)(Worker).remote()
    endless = ray.remote(Worker).remote().work.remote(1000)
    ray.get([actor.work.remote(0.1 * number) for number in range(1, 7)])
    ray.wait([endless], timeout=0.5)


def test_a_timeline_is_a_valid_chrome_trace(failure: Failure) -> None:
    """As the Trace Event Format has it: slices of a thread nest, and flows bind to slices around their ends."""
    for program, seed, plan in ((failure.find(), failure.seed, failure.plan), (find_program(busy), 1, Plan())):
        timeline = Timeline()
        run_once(program, seed, plan, failure.setup, [timeline])
        check_chrome_trace(timeline.trace()["traceEvents"])


REQUIRED = {"X": {"ts", "dur", "tid"}, "i": {"ts", "tid", "s"}, "s": {"ts", "tid", "id", "cat"}, "M": {"args"}}


def check_chrome_trace(entries: list[dict[str, Any]]) -> None:
    slices: dict[tuple[int, int], list[tuple[int, int]]] = {}
    previous = 0
    for entry in entries:
        missing = REQUIRED["s" if entry["ph"] == "f" else entry["ph"]] - entry.keys()
        assert not missing, f"{entry} lacks {missing}"
        if entry["ph"] == "M":
            continue
        begin = round(entry["ts"] * 1000)
        assert abs(entry["ts"] * 1000 - begin) < 1e-3, "times are microseconds, with nanoseconds behind the point"
        assert begin >= previous, "entries are in the order of their times"
        previous = begin
        assert entry["ph"] != "i" or entry["s"] in ("g", "p", "t")
        if entry["ph"] == "X":
            end = begin + round(entry["dur"] * 1000)
            outer = slices.setdefault((entry["pid"], entry["tid"]), [])
            enclosing = next((each for each in reversed(outer) if each[1] > begin), None)
            assert enclosing is None or end <= enclosing[1], f"{entry} overlaps the end of another slice of its thread"
            outer.append((begin, end))
    for entry in entries:
        if entry["ph"] in "sf":
            at = round(entry["ts"] * 1000)
            on_thread = slices.get((entry["pid"], entry["tid"]), ())
            assert any(begin <= at < end for begin, end in on_thread), f"{entry} is bound to no slice"
            assert entry["ph"] == "s" or entry["bp"] == "e"


def test_calls_that_run_at_the_same_time_are_on_lanes_of_their_own() -> None:
    timeline = Timeline()
    run_once(busy, 1, None, Setup(nodes=1), [timeline])
    entries = timeline.trace()["traceEvents"]
    calls = [entry for entry in entries if entry["ph"] == "X" and "work" in entry["name"]]
    assert len({entry["tid"] for entry in calls if entry["args"]["outcome"] == "ok"}) == 3
    names = {entry["args"]["name"].split(" ")[-1] for entry in entries if entry["name"] == "thread_name"}
    assert {"#2", "#3"} <= names and "#4" not in names
    [endless] = [entry for entry in calls if entry["args"]["outcome"] != "ok"]
    assert endless["dur"] > 5e5, "what has not ended is shown until it is cut off"


def test_a_page_shows_itself_without_a_network(failure: Failure) -> None:
    timeline = Timeline()
    run_once(failure.find(), failure.seed, failure.plan, failure.setup, [timeline])
    page = to_html(timeline.trace(), "a </script> title")
    assert "http" not in page and "src=" not in page
    assert page.count("</script>") == 1, "nothing in the data ends the script"
    assert "Counter.add" in page
    assert "send PushActorTasks" not in page, "the page draws arrows by their ends, and needs no slices for them"


def test_coverage_says_which_messages_met_which_faults_and_which_never_did(failure: Failure) -> None:
    trigger = p.Trigger(message="PushActorTasks", count=2)
    lost = p.LoseMessage(message="Heartbeat", at=1)
    plan = Plan(faults=(*STORM.faults, p.CrashWorker(node=0, after=trigger), lost))
    found = report(run_once(failure.find(), failure.seed, plan, failure.setup, coverage=True).coverage)
    assert "delay" in found["hit"]["Heartbeat"]["in flight"]
    assert found["hit"]["Heartbeat"]["in flight"]["lose_message"] == 1
    assert found["hit"]["PushActorTasks"]["handled"] == {"crash_worker": 1}
    assert "crash_worker" not in found["faults_never_met"]
    assert found["faults"]["crash_node"] == 1
    assert "pause_node" in found["faults_never_met"]
    assert "pause_node" in found["faults_never_happened"] and "slow_node" not in found["faults_never_happened"]
    assert "CreateGroup" in found["messages_never_hit"]
    assert any(line.startswith("Heartbeat") for line in as_text(found))


def test_coverage_counts_faults_of_the_links_inside_of_nodes() -> None:
    plan = Plan(faults=(p.Bandwidth(within="worker_node", factor=0.1),))
    found = run_once("workload:nested", 3, plan, SETUP, coverage=True).coverage
    assert found["RegisterWorker|in flight|bandwidth"] and "TaskReplies|in flight|bandwidth" not in found


def test_the_story_of_a_task_is_told_across_nodes() -> None:
    from thornback.faults.story import Story
    from thornback.faults.workloads import WORKLOADS

    assert "nested" in WORKLOADS
    seen: list[bytes] = []

    def first_task(world: Any) -> None:
        world.trace.listeners.append(
            lambda time, kind, subject, detail: seen.append(subject) if kind == "task.started" else None
        )

    plain = run_once("workload:nested", 3, None, SETUP, [first_task])
    story = Story(seen[5])
    again = run_once("workload:nested", 3, None, SETUP, [story])
    assert again.trace_hash == plain.trace_hash, "listening changes nothing"
    text = "\n".join(story.lines())
    for words in ("is submitted:", "PushTasks (run these.)", "starts in", "ends in", "has succeeded for its owner"):
        assert words in text, f"the story says that it {words}\n{text}"
    assert "sent in event" in text
