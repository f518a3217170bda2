"""Plans: what is in them, how they are read, and what errors say."""

from __future__ import annotations

from pathlib import Path

import pytest

from thornback.faults.generate import KINDS, random_plan
from thornback.faults.loader import PlanError, line_of, load_plan, parse_plan
from thornback.faults.plan import CrashNode, Cut, Delay, Loss, Plan

ERRORS = {
    '{"faults": [\n {"kind": "loss",\n  "rate": 2}]}': r"f\.json:3: faults\[0\]\.rate: .*<= 1",
    '{"faults": [\n {"kind": "earthquake"}]}': r"f\.json:2: faults\[0\]\.kind: .*earthquake",
    '{"faults": [\n\n {"kind": "loss", "rate": 0.1, "when": 1}]}': r"f\.json:3: faults\[0\]: .*`when`",
    '{"faults": [{"kind": "loss", "rate": 1},\n {"kind": "loss"}]}': r"f\.json:2: faults\[1\]: .*`rate`",
    '{"faults": [\n {"kind": "crash_node", "at": 1, "node":\n 0}]}': r"f\.json:3: faults\[0\]\.node: .*>= 1",
    '{"faults": [\n {"kind": "cut", "at": 5, "until": 3}]}': r"f\.json:2: faults\[0\]: until \(3\) must be later",
    '{"faults": [\n {"kind": "crash_worker", "node": 1}]}': r"f\.json:2: faults\[0\]: .*either at or after_replies",
    '{"faults": [\n {"kind": "cut", "a": []}]}': r"f\.json:2: faults\[0\]\.a: .*length >= 1",
    '{"faults": [\n {"kind": ]}': r"f\.json:2: this is not JSON",
    "[]": r"f\.json:1: Expected `object`",
    '{"fault": []}': r"f\.json:1: .*`fault`",
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


def test_a_plan_knows_whether_messages_can_be_lost_and_when_it_ends() -> None:
    assert Plan(faults=(Loss(rate=0.1, at=1, until=4),)).is_lossy
    assert not Plan(faults=(Delay(seconds=1),)).is_lossy
    assert Plan(faults=(Loss(rate=0.1, at=1, until=4), CrashNode(node=1, at=3, reboot_after=2))).end == 5
    assert Plan().end == 0


def test_lines_of_nested_places() -> None:
    text = '{\n"a": [1, {"x": "}",\n "y": [\n2,\n3]}]\n}'
    assert [line_of(text, path) for path in ([], ["a"], ["a", 1, "y"], ["a", 1, "y", 1], ["a", 7])] == [1, 2, 3, 5, 2]


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_random_plans_are_valid_and_repeatable(nodes: int) -> None:
    seen = set()
    for seed in range(200):
        plan = random_plan(seed, nodes, duration=10)
        assert plan == random_plan(seed, nodes, duration=10)
        assert parse_plan(plan.to_json().decode()) == plan
        assert 1 <= len(plan.faults) <= 6
        for fault in plan.faults:
            assert getattr(fault, "until", 0) is not None, "a storm ends"
            assert (getattr(fault, "until", None) or 0) <= 10.01
            groups = [getattr(fault, "a", None), getattr(fault, "b", None), getattr(fault, "node", None)]
            named = [node for group in groups for node in (group if isinstance(group, list) else [group])]
            assert all(node is None or node < nodes for node in named)
            seen.add(fault.__struct_config__.tag)
    assert seen == set(KINDS) if nodes > 1 else "crash_node" not in seen


def test_random_plans_of_chosen_kinds() -> None:
    tags = {fault.__struct_config__.tag for seed in range(20) for fault in random_plan(seed, 3, kinds=["cut"]).faults}
    assert tags == {"cut"}
    with pytest.raises(ValueError, match="no random fault 'cut' for 1 nodes"):
        random_plan(0, 1, kinds=["cut"])
