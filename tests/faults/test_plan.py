"""Plans: what is in them, how they are read, and what errors say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import thornback
from thornback.core.config import SECOND, Config
from thornback.faults.draw import DRAWS
from thornback.faults.generate import ALONE, INSIDE, random_plan
from thornback.faults.generate import KINDS as DRAWN
from thornback.faults.loader import PlanError, line_of, load_plan, parse_plan
from thornback.faults.plan import (
    KINDS,
    TRIGGER_EVENTS,
    AnyFault,
    CrashNode,
    CrashRack,
    Cut,
    Delay,
    FillStore,
    LastingFault,
    LinkFault,
    Loss,
    Plan,
    PreemptNode,
    Trigger,
    json_schema,
)
from thornback.faults.strategies import plans

ERRORS = {
    '{"faults": [\n {"kind": "loss",\n  "rate": 2}]}': r"f\.json:3: faults\[0\]\.rate: 2 is not possible: .*<= 1",
    '{"faults": [\n {"kind": "earthquake"}]}': r"f\.json:2: faults\[0\]\.kind: .*no kind of fault 'earthquake'",
    '{"faults": [\n\n {"kind": "loss", "rate": 0.1, "speed": 1}]}': r"f\.json:3: .*no field 'speed'; there are kind",
    '{"faults": [{"kind": "loss", "rate": 1},\n {"kind": "loss"}]}': r"f\.json:2: faults\[1\]: .*`rate`",
    '{"faults": [\n {"kind": "crash_node", "at": 1, "node":\n 0}]}': r"f\.json:3: faults\[0\]\.node: node 0 is the h",
    '{"faults": [\n {"kind": "cut", "at": 5, "until": 3}]}': r"f\.json:2: faults\[0\]: until \(3\) must be later",
    '{"faults": [\n {"kind": "crash_worker", "node": 1}]}': r"f\.json:2: faults\[0\]: crash_worker needs one of at",
    '{"faults": [\n {"kind": "cut", "a": []}]}': r"f\.json:2: faults\[0\]\.a: .*length >= 1",
    '{"faults": [\n {"kind": "pause_node", "node": 1, "at": 1}]}': r"f\.json:2: faults\[0\]: a pause needs until or",
    '{"faults": [\n {"kind": "pause_raylet", "node": 0, "at": 1}]}': r"f\.json:2: faults\[0\]: a pause needs until or",
    '{"faults": [{"kind": "loss", "rate": 1, "within": "all"}]}': r"inside of a node no message is lost, .* no within",
    '{"faults": [{"kind": "cut", "b": [1], "within": "all"}]}': r"within goes with a .*, not with b or one_way",
    '{"faults": [{"kind": "reset", "a": 0, "b": 1}]}': r"faults\[0\]: it needs at \(seconds since the start\) or after",
    '{"faults": [{"kind": "cut", "at": 1, "until": 5, "lasting": 4}]}': r"faults\[0\]: give either until .* or lasting",
    '{"faults": [{"kind": "cut", "after": {"event": "task.started"}, "until": 5}]}': r"until is a time.* give lasting",
    '{"faults": [{"kind": "cut",\n "after": {"event": "task.star"}}]}': r"json:2: faults\[0\]\.after: .*task\.started",
    '{"faults": [{"kind": "cut", "after": {"count": 2}}]}': r"faults\[0\]\.after: after needs either message",
    '{"faults": [{"kind": "lose_message", "message": "x"}]}': r"no message 'x'; of the \d+ that there are, the nearest",
    '{"faults": [{"kind": "launch_nodes", "at": 1, "arrive": 2}]}': r"arrive \(2\) must not be more than count \(1\)",
    '{"faults": [\n {"kind": ]}': r"f\.json:2: this is not JSON",
    "[]": r"f\.json:1: Expected `object`",
    '{"fault": []}': r"f\.json:1: there is no field 'fault'; did you mean faults",
    '{"faults": [{"kind": "cut", "after": {"mesage": "Deaths"}}]}': r"after: there is no field 'mesage'; did you mean",
    '{"faults": [{"kind": "cut", "at": -1}]}': r"faults\[0\]\.at: -1 is not possible: it must be >= 0",
    '{"faults": [{"kind": "cut", "at": 1e300}]}': r"faults\[0\]\.at: 1e\+300 is not possible: it must be <= 1000000000",
    '{"faults": [{"kind": "cut", "at": NaN}]}': r"f\.json: this JSON cannot be a plan: NaN is not a number",
    '{"faults": [{"kind": "cut", "at": 1, "at": 2}]}': r"f\.json: .*'at' is there twice in one object",
    '{"faults": [{"kind": "slow_node", "node": 1, "factor": 1e400}]}': r"f\.json: .* 1e400 is too large",
    "[" * 100_000: r"f\.json: this JSON cannot be a plan: maximum recursion depth",
    '{"faults": [\n{"kind": "crash_worker", "node": 0, "moment": "runing"}]}': r"2: .*moment 'runing'; did you mean",
    '{"faults": [{"kind": "crash_worker", "node": 0, "at": 1, "nth": 2}]}': r"faults\[0\]: nth goes with moment",
    '{"faults": [{"kind": "reset", "a": 1, "b": 1, "at": 1}]}': r"faults\[0\]: a and b must be two nodes",
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors_name_file_line_and_field(text: str) -> None:
    with pytest.raises(PlanError, match=ERRORS[text]):
        parse_plan(text, "f.json")


def test_a_plan_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"name": "x", "faults": [{"kind": "cut", "a": [1], "b": [2, 3], "at": 2, "until": 5}]}')
    assert load_plan(file) == Plan(name="x", faults=(Cut(a=[1], b=[2, 3], at=2, until=5),))
    with pytest.raises(PlanError, match="cannot read"):
        load_plan(tmp_path / "missing.json")


def test_a_plan_may_name_its_schema_and_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"$schema": "plan.schema.json", "name": "x"}', encoding="utf-8-sig")
    assert load_plan(file) == Plan(name="x")
    assert Draft202012Validator(json_schema()).is_valid({"$schema": "plan.schema.json", "name": "x"})


CHANGED = st.sampled_from([None, -1, 0, 0.5, 1e300, 10**30, True, "x", [], [0], {}, {"event": "task.started"}])


@settings(max_examples=150, deadline=None)
@given(plan=plans(nodes=4), data=st.data())
def test_what_the_schema_refuses_the_loader_refuses(plan: Plan, data: st.DataObject) -> None:
    validator = Draft202012Validator(json_schema())
    found = json.loads(plan.to_json())
    assert validator.is_valid(found)
    for fault in found["faults"]:
        field = data.draw(st.sampled_from([*KINDS[fault["kind"]].__struct_fields__, "kind", "other"]))
        fault[field] = data.draw(CHANGED)
    if not validator.is_valid(found):
        with pytest.raises(PlanError):
            parse_plan(json.dumps(found))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"kind": "crash_node",\n "at": 1,\n "node": 4}',
            r"f\.json:3: faults\[0\]\.node: there is no node 4 in .* 0 to 3",
        ),
        ('{"kind": "crash_rack", "at": 1, "nodes": [1, 9]}', r"faults\[0\]\.nodes: there is no node 9"),
        ('{"kind": "cut",\n "b": [0, 7]}', r"f\.json:2: faults\[0\]\.b: there is no node 7"),
        (
            '{"kind": "evict_copies", "node": 0, "after": {"message": "Deaths", "node": 5}}',
            r"faults\[0\]\.after\.node: .* 5",
        ),
    ],
)
def test_a_node_that_the_cluster_does_not_have_is_named(text: str, message: str) -> None:
    plan = f'{{"faults": [{text}]}}'
    with pytest.raises(PlanError, match=message):
        parse_plan(plan, "f.json", nodes=4)
    parse_plan(plan, "f.json", nodes=10)
    parse_plan(plan, "f.json")


def test_nodes_that_a_plan_launches_can_be_named_in_it() -> None:
    faults = '[{"kind": "launch_nodes", "at": 1, "count": 2}, {"kind": "crash_node", "node": 5, "at": 9}]'
    assert len(parse_plan(f'{{"faults": {faults}}}', nodes=4).faults) == 2


def test_the_schema_knows_every_kind_and_what_a_trigger_can_wait_for() -> None:
    schema = json_schema()
    assert {
        tag for each in schema["$defs"].values() for tag in each["properties"].get("kind", {}).get("enum", ())
    } == set(KINDS)
    trigger = schema["$defs"]["Trigger"]["properties"]
    assert "RegisterActor" in trigger["message"]["enum"] and "task.rebuilding" in trigger["event"]["enum"]


def test_the_documentation_has_every_kind_and_field() -> None:
    text = (Path(thornback.__file__).parents[1] / "docs" / "fault-plans.md").read_text()
    names = {name for kind in (*KINDS.values(), Trigger) for name in kind.__struct_fields__}
    text = text.replace("`after.", "`")
    assert sorted(name for name in (*KINDS, *names) if f"`{name}`" not in text) == []


def test_events_that_a_trigger_can_wait_for_are_events_of_the_engine() -> None:
    package = Path(thornback.__file__).parent
    source = "".join(path.read_text() for part in ("core", "simulator") for path in (package / part).rglob("*.py"))
    assert [event for event in TRIGGER_EVENTS if f'"{event}"' not in source] == []


def test_a_plan_knows_whether_messages_can_be_lost_and_when_it_ends() -> None:
    assert Plan(faults=(Loss(rate=0.1, at=1, until=4),)).is_lossy
    assert not Plan(faults=(Delay(seconds=1),)).is_lossy
    assert Plan(faults=(Loss(rate=0.1, at=1, until=4), CrashNode(node=1, at=3, reboot_after=2))).end == 5
    assert Plan(faults=(Cut(after=Trigger(event="task.started", delay=1), lasting=3),)).end == 4
    assert Plan().end == 0


def test_lines_of_nested_places() -> None:
    text = '{\n"a": [1, {"x": "}",\n "y": [\n2,\n3]}]\n}'
    assert [line_of(text, path) for path in ([], ["a"], ["a", 1, "y"], ["a", 1, "y", 1], ["a", 7])] == [1, 2, 3, 5, 2]


def drawn_as(fault: AnyFault) -> str:
    """The kind as which a fault is drawn."""
    return fault.kind if getattr(fault, "within", None) is None else f"{fault.kind}_within"


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_random_plans_are_valid_and_repeatable(nodes: int) -> None:
    seen = set()
    for seed in range(300):
        plan = random_plan(seed, nodes, duration=10)
        assert plan == random_plan(seed, nodes, duration=10)
        assert parse_plan(plan.to_json().decode(), nodes=nodes) == plan
        assert 1 <= len(plan.faults) <= 6
        for fault in plan.faults:
            if isinstance(fault, LastingFault):
                assert fault.duration is not None, f"a storm ends, but {fault} does not"
            assert fault.at is None or fault.at <= 10
            assert (getattr(fault, "until", None) or 0) <= 10.01
            seen.add(drawn_as(fault))
    assert seen == set(DRAWN if nodes > 1 else ALONE)


def test_every_kind_can_be_drawn() -> None:
    for kind in DRAWS:
        faults = [fault for seed in range(20) for fault in random_plan(seed, 4, kinds=[kind]).faults]
        assert {drawn_as(fault) for fault in faults} == {kind}
        assert len(set(map(repr, faults))) > 1, "drawn, and always the same"
    streams = {f"{kind}_within" for kind, fault in KINDS.items() if issubclass(fault, LinkFault) and fault.streams}
    assert set(DRAWS) == {*KINDS, *streams}


def test_what_happens_inside_of_nodes_leaves_the_other_faults_of_a_storm_as_they_are() -> None:
    apart = tuple(kind for kind in DRAWN if kind not in INSIDE)
    more = 0
    for seed in range(100):
        plan = random_plan(seed, 4, faults=5)
        inside = [fault for fault in plan.faults if drawn_as(fault) in INSIDE]
        assert len(inside) <= 2 and plan.faults == (*random_plan(seed, 4, faults=5, kinds=apart).faults, *inside)
        more += bool(inside)
    assert 30 < more < 70


def test_a_full_store_empties_before_a_put_gives_up() -> None:
    for seed in range(100):
        for fault in random_plan(seed, 4, duration=100, kinds=["fill_store"]).faults:
            assert isinstance(fault, FillStore) and fault.duration is not None
            assert fault.duration * SECOND < Config().allocation_wait


def test_each_random_plan_bans_some_kinds() -> None:
    kinds = [{drawn_as(fault) for fault in random_plan(seed, 5, faults=100).faults} for seed in range(30)]
    assert all(len(each) < len(DRAWN) for each in kinds)
    assert set().union(*kinds) == set(DRAWN)


def test_storms_of_a_program_may_have_kinds_of_its_own_besides_the_usual_ones() -> None:
    kinds = [
        {drawn_as(fault) for fault in random_plan(seed, 5, faults=100, also=["crash_driver"]).faults}
        for seed in range(30)
    ]
    assert set().union(*kinds) == {*DRAWN, "crash_driver"}


def test_random_plans_leave_half_of_the_nodes_alive() -> None:
    stayed_dead = 0
    for seed in range(100):
        plan = random_plan(seed, 5, faults=30, kinds=["crash_node", "crash_rack", "preempt_node"])
        dead: set[int] = set()
        for fault in plan.faults:
            if isinstance(fault, (CrashNode, PreemptNode)) and fault.reboot_after is None:
                dead.add(fault.node)
            elif isinstance(fault, CrashRack) and fault.reboot_after is None:
                dead.update(fault.nodes)
        assert len(dead) <= 2
        stayed_dead += bool(dead)
    assert stayed_dead > 50


def test_a_kind_that_needs_more_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match="no random fault 'cut' for 1 nodes"):
        random_plan(0, 1, kinds=["cut"])
