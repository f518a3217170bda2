"""Exploring: planted bugs are found, sound programs are not blamed, and a run is the same each time."""

from __future__ import annotations

import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import thornback as ray
from thornback.core.executor.executor import Executor
from thornback.core.owner.references import ReferenceTable
from thornback.core.scheduling.pools import ResourcePool
from thornback.faults import invariant, program
from thornback.faults.explore import explore
from thornback.faults.generate import random_plan
from thornback.faults.plan import CrashWorker, Plan
from thornback.faults.program import ProgramError, find_program
from thornback.faults.run import Setup, run_once
from thornback.simulator.cluster import machines

SMALL = Setup(nodes=3, node={"cpus": 2})


def squares() -> None:
    """Tasks and an actor whose results are checked."""
    ray.init()

    @ray.remote(max_retries=-1)
    def square(x: int) -> int:
        time.sleep(0.2)
        return x * x

    @ray.remote(max_restarts=-1, max_task_retries=-1)
    class Adder:
        def add(self, x: int) -> int:
            return x + 1

    adder = Adder.remote()
    refs = [square.remote(x) for x in range(20)] + [adder.add.remote(x) for x in range(20)]
    assert ray.get(refs) == [x * x for x in range(20)] + [x + 1 for x in range(20)]


def nested() -> None:
    """A reference inside a list goes to a task that keeps it for a while."""
    ray.init()

    @ray.remote
    def late(refs: list[Any]) -> int:
        time.sleep(1)
        return len(ray.get(refs[0]))

    waiting = late.remote([ray.put(b"x" * 1000)])
    assert ray.get(waiting) == 1000


def test_a_sound_program_breaks_no_promise_in_storms() -> None:
    found = explore(squares, range(10), setup=SMALL)
    assert found.runs == 10
    assert found.faults > 10, "storms have faults"
    assert [outcome.violations for outcome in found.failures] == []


def test_machines_take_descriptions_in_turn_that_go_over_what_the_program_wants() -> None:
    wanted = [{"cpus": 2, "labels": {"zone": "a"}}, {"cpus": 1, "gpus": 1}]
    assert machines(3, wanted, {}) == [wanted[0], wanted[1], wanted[0]]
    assert machines(3, wanted, {"cpus": 8})[1] == {"cpus": 8, "gpus": 1}
    assert [each["cpus"] for each in machines(4, wanted, [{}, {}, {"cpus": 5}])] == [2, 1, 5, 1]
    with pytest.raises(ValueError, match="at least one"):
        machines(2, wanted, [])


def test_a_run_on_a_cluster_of_nodes_that_differ() -> None:
    found: list[dict[str, float]] = []

    def program() -> None:
        ray.init()
        found.extend(node["Resources"] for node in sorted(ray.nodes(), key=lambda node: str(node["NodeName"])))

    assert run_once(program, 1, None, Setup(nodes=3, node=[{"cpus": 1}, {"cpus": 2, "gpus": 1}])).ok
    assert [(each["CPU"], each.get("GPU", 0)) for each in found] == [(1, 0), (2, 1), (1, 0)]


def test_two_runs_are_the_same() -> None:
    first, second = (run_once(squares, 7, random_plan(7, 3), SMALL) for _ in range(2))
    assert first.trace_hash == second.trace_hash
    assert first.trace_hash != run_once(squares, 8, random_plan(7, 3), SMALL).trace_hash


def test_a_planted_double_grant_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResourcePool, "fits", lambda self, demand: True)
    outcome = run_once(squares, 1, None, SMALL)
    assert "capacity" in {violation.invariant for violation in outcome.violations}


def test_a_planted_early_free_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReferenceTable, "add_borrower", lambda self, object_id, borrower, count=1: None)
    monkeypatch.setattr(ReferenceTable, "hold", ReferenceTable.lookup)
    outcome = run_once(nested, 1, None, SMALL)
    assert "freed while referenced" in {violation.invariant for violation in outcome.violations}


def test_a_planted_lost_wake_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Executor, "end_turn", lambda self: None)
    outcome = run_once(squares, 1, None, SMALL)
    assert outcome.violations[0].invariant == "everything returns"
    assert "is stuck at" in outcome.violations[0].text


def test_an_error_inside_the_engine_is_told_from_one_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, sender: bytes, message: Any) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(Executor, "on_push_tasks", broken)
    assert run_once(squares, 1, None, SMALL).violations[0].invariant == "the engine"

    def wrong() -> None:
        assert 1 == 2, "the sum is wrong"

    violation = run_once(wrong, 1, None, SMALL).violations[0]
    assert violation.invariant == "the program"
    assert violation.where.startswith("AssertionError at test_explore.py:")
    assert "the sum is wrong" in violation.text


def test_failures_are_grouped_by_invariant_and_place(tmp_path: Path) -> None:
    program = tmp_path / "odd.py"
    program.write_text(
        "import thornback as ray, random\n"
        "ray.init()\n"
        "if random.random() < 0.5:\n"
        "    raise ValueError('heads')\n"
        "assert random.random() < 0.5, 'tails'\n"
    )
    found = explore(program, range(30), faults="none", setup=SMALL)
    groups = {(group.invariant, group.where): len(group.outcomes) for group in found.groups()}
    assert set(groups) == {("the program", "ValueError at odd.py:4"), ("the program", "AssertionError at odd.py:5")}
    assert sum(groups.values()) == len(found.failures) < 30
    assert found.only_program_failed


def test_jobs_run_in_processes_and_give_the_same_hashes(tmp_path: Path) -> None:
    program = tmp_path / "sum.py"
    program.write_text(
        "import thornback as ray, time\n"
        "@ray.remote(max_retries=-1)\n"
        "def one(x):\n"
        "    time.sleep(0.1)\n"
        "    return 1\n"
        "assert sum(ray.get([one.remote(x) for x in range(30)])) == 30\n"
    )
    here: dict[int, str] = {}
    there: dict[int, str] = {}
    explore(program, range(6), setup=SMALL, each=lambda outcome: here.update({outcome.seed: outcome.trace_hash}))
    explore(
        program, range(6), setup=SMALL, jobs=2, each=lambda outcome: there.update({outcome.seed: outcome.trace_hash})
    )
    assert here == there


def test_a_run_that_kills_its_process_or_never_ends_is_one_failure(tmp_path: Path) -> None:
    program = tmp_path / "rude.py"
    program.write_text("import os, thornback\nthornback.init()\nos.abort()\n")
    found = explore(program, range(2), setup=SMALL, jobs=1 + 1)
    assert [group.where for group in found.groups()] == ["its process has ended"]
    program.write_text("while True: pass\n")
    found = explore(program, range(1), setup=SMALL, jobs=1, run_limit=2)
    assert [group.where for group in found.groups()] == ["it takes too long"]


def test_ctrl_c_while_a_task_runs_ends_the_exploration_and_not_the_task() -> None:
    def asking() -> None:
        @ray.remote(max_retries=0)
        def ask() -> None:
            signal.raise_signal(signal.SIGINT)

        ray.get(ask.remote())

    found = explore(asking, range(3), "none", SMALL)
    assert found.interrupted
    assert found.runs == 0, "a run that was interrupted does not count"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_twice_ends_a_run_that_never_ends() -> None:
    def endless() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        while True:
            pass

    assert explore(endless, range(3), "none", SMALL).interrupted


def test_a_program_that_is_edited_meanwhile_is_explored_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "edited.py"
    path.write_text("import thornback\nthornback.init()\nopen(__file__, 'w').write('raise ValueError')\n")
    found = explore(path, range(3), "none", SMALL, jobs=1)
    assert (found.runs, found.failures) == (3, [])


def test_a_program_is_compiled_as_it_would_be_alone(tmp_path: Path) -> None:
    path = tmp_path / "typed.py"
    path.write_text("def f(x: int): pass\nassert f.__annotations__ == {'x': int}\n")
    assert run_once(path, setup=SMALL).ok


def test_modules_beside_a_program_are_imported_anew_and_installed_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / ".venv"
    installed.mkdir()
    (installed / "of_a_venv.py").write_text("")
    (tmp_path / "beside_it.py").write_text("")
    path = tmp_path / "prog.py"
    path.write_text("import beside_it, of_a_venv\n")
    monkeypatch.setattr(program, "_INSTALLED", (f"{installed}/",))
    monkeypatch.syspath_prepend(str(installed))
    found = find_program(path)
    found.run()
    assert list(found.modules) == ["beside_it.py"]
    assert "beside_it" not in sys.modules
    assert sys.modules.pop("of_a_venv")


def test_a_program_that_fails_without_faults_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hopeless.py"
    path.write_text("raise ValueError('always')\n")
    found = explore(path, range(1), setup=SMALL)
    assert [outcome.program for outcome in found.calm_failures] == [str(path)]


def test_users_declare_invariants_of_their_own() -> None:
    def program() -> None:
        @invariant("no task of ours is retried", on="task.retried")
        def none(event: Any) -> str:
            return f"{event.kind} at {event.time}"

        @invariant("always at rest", at_end=True)
        def at_rest(world: Any) -> None:
            if world.now > 0:
                raise AssertionError("it is later than that")

        squares()

    crash = Plan(faults=(CrashWorker(node=0, at=0.6),))
    outcome = run_once(program, 1, crash, Setup(nodes=1, node={"cpus": 4}, bound=1))
    assert [(violation.invariant, violation.text) for violation in outcome.violations][-1] == (
        "always at rest",
        "it is later than that, 1 s after the last fault",
    )
    assert outcome.violations[0].invariant == "no task of ours is retried"
    with pytest.raises(ValueError, match="on= names events"):
        invariant("never asked")
    with pytest.raises(ValueError, match=r"no event 'task\.strated'; did you mean task\.started"):
        invariant("misspelt", on="task.strated")


def test_an_error_in_an_invariant_of_a_user_is_not_blamed_on_the_engine() -> None:
    def program() -> None:
        @invariant("mistaken", on="task.started")
        def mistaken(event: Any) -> Any:
            return event.nothing

        assert ray.get(ray.remote(abs).remote(-1)) == 1

    [violation] = run_once(program, setup=SMALL).violations
    assert violation.invariant == "mistaken"
    assert "the check itself has failed: AttributeError at test_explore.py:" in violation.text


def test_invariants_of_users_can_look_at_every_event_of_the_engine() -> None:
    package = Path(ray.__file__).parent
    for part in ("core", "simulator"):
        for path in (package / part).rglob("*.py"):
            for kind in re.findall(r'\.event\(\s*"([a-z_.]+)"', path.read_text()):
                invariant("of any kind", on=kind)


def test_a_program_that_does_not_exist_is_refused_with_the_choices() -> None:
    with pytest.raises(
        ProgramError, match=r"there is no workload:nothing; a program is a file, or one of workload:all"
    ):
        explore("workload:nothing")
    with pytest.raises(ProgramError, match=r"there is no program nothing\.py"):
        explore("nothing.py")


def test_a_program_that_is_no_python_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("x = 1\ndef f(:\n")
    with pytest.raises(ProgramError, match=r"wrong\.py:2: invalid syntax"):
        explore(path)
