"""Options: what is accepted, and what the errors say."""

from __future__ import annotations

from typing import Any

import pytest

import thornback
from thornback.api import options, templates
from thornback.core.messages import DYNAMIC, STREAMING, Strategy
from thornback.util import scheduling_strategies as strategies


def f() -> None: ...


class C: ...


@pytest.mark.parametrize(
    ("target", "given", "kind", "words"),
    [
        (f, {"num_cpu": 1}, ValueError, ["num_cpu", "did you mean 'num_cpus'"]),
        (f, {"zzz": 1}, ValueError, ["zzz", "num_cpus", "max_retries"]),
        (f, {"max_restarts": 1}, ValueError, ["max_restarts", "an actor class"]),
        (C, {"max_retries": 1}, ValueError, ["max_retries", "a remote function"]),
        (f, {"num_cpus": -1}, ValueError, ["num_cpus", "-1", "a number >= 0"]),
        (f, {"num_cpus": "2"}, TypeError, ["num_cpus", "'2'", "str"]),
        (f, {"num_cpus": True}, TypeError, ["num_cpus", "True", "bool"]),
        (f, {"num_cpus": float("nan")}, ValueError, ["num_cpus", "nan"]),
        (f, {"num_gpus": 1.5}, ValueError, ["num_gpus", "1.5", "whole"]),
        (f, {"num_returns": "all"}, ValueError, ["num_returns", '"dynamic"', '"streaming"']),
        (f, {"num_returns": -1}, ValueError, ["num_returns", "-1"]),
        (f, {"max_retries": -2}, ValueError, ["max_retries", "-1 for no limit"]),
        (f, {"retry_exceptions": [int]}, ValueError, ["retry_exceptions", "exception classes"]),
        (f, {"retry_exceptions": ValueError}, TypeError, ["retry_exceptions"]),
        (f, {"resources": {"a": -1}}, ValueError, ["resources", "numbers >= 0"]),
        (f, {"resources": ["a"]}, TypeError, ["resources", "dictionary"]),
        (f, {"scheduling_strategy": "PACK"}, ValueError, ["scheduling_strategy", '"SPREAD"', "PACK"]),
        (f, {"label_selector": {"a": 1}}, ValueError, ["label_selector"]),
        (C, {"max_concurrency": 0}, ValueError, ["max_concurrency", ">= 1"]),
        (C, {"lifetime": "forever"}, ValueError, ["lifetime", '"detached"']),
        (C, {"concurrency_groups": {"io": 0}}, ValueError, ["concurrency_groups", ">= 1"]),
        (C, {"name": ""}, ValueError, ["name", "not empty"]),
        (C, {"name": 3}, TypeError, ["name", "3"]),
        (C, {"get_if_exists": True}, ValueError, ["get_if_exists", "'name'"]),
        (C, {"max_pending_calls": 0}, ValueError, ["max_pending_calls"]),
    ],
)
def test_errors_name_option_value_and_choices(target: Any, given: dict[str, Any], kind: type, words: list[str]) -> None:
    with pytest.raises(kind) as caught:
        thornback.remote(**given)(target)
    for word in words:
        assert word in str(caught.value)
    with pytest.raises(kind):
        thornback.remote(target).options(**given)


def test_options_override_those_of_the_decorator_and_none_is_the_default() -> None:
    function = thornback.remote(num_cpus=2, max_retries=5)(f)
    assert function.options(num_cpus=0, max_retries=None)._chosen == {"num_cpus": 0, "max_retries": 5}
    assert function._chosen == {"num_cpus": 2, "max_retries": 5}


@pytest.mark.parametrize(
    ("kind", "given", "units"),
    [
        ("task", {}, {"CPU": 10_000}),
        ("task", {"num_cpus": 0}, {}),
        ("task", {"num_cpus": 0.5, "num_gpus": 0.25, "memory": 7}, {"CPU": 5_000, "GPU": 2_500, "memory": 7}),
        ("task", {"resources": {"GPU": 1, "x": 2}}, {"CPU": 10_000, "GPU": 10_000, "x": 20_000}),
        ("task", {"accelerator_type": "A100"}, {"CPU": 10_000, "accelerator_type:A100": 10}),
        ("actor", {}, {}),
        ("actor", {"num_cpus": 2}, {"CPU": 20_000}),
    ],
)
def test_demand_in_units(kind: options.Kind, given: dict[str, Any], units: dict[str, int]) -> None:
    assert templates.demand(kind, options.check(kind, given)) == units


def test_a_resource_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="num_gpus"):
        templates.demand("task", {"num_gpus": 1, "resources": {"GPU": 1}})


def test_an_actor_that_holds_nothing_is_placed_by_one_cpu() -> None:
    assert templates.placement_demand({}, {}) == {"CPU": 10_000}
    assert templates.placement_demand({"num_cpus": 0}, {}) == {}
    assert templates.placement_demand({"num_gpus": 1}, {"GPU": 10_000}) == {"CPU": 10_000, "GPU": 10_000}


@pytest.mark.parametrize(
    ("wanted", "is_generator", "code"),
    [
        (None, False, 1),
        (None, True, STREAMING),
        (3, True, 3),
        ("dynamic", True, DYNAMIC),
        ("streaming", False, STREAMING),
    ],
)
def test_num_returns(wanted: int | str | None, is_generator: bool, code: int) -> None:
    assert templates.num_returns_code(wanted, is_generator) == code


def test_strategies() -> None:
    node = "00000000000000aa"
    affinity = strategies.NodeAffinitySchedulingStrategy(node, soft=True)
    labels = strategies.NodeLabelSchedulingStrategy(
        {"zone": strategies.In("a", "b"), "old": strategies.DoesNotExist()}, soft={"fast": strategies.Exists()}
    )
    assert templates.strategy({}) == Strategy()
    assert templates.strategy({"scheduling_strategy": "SPREAD"}) == Strategy("SPREAD")
    assert templates.strategy({"scheduling_strategy": affinity}) == Strategy("NODE", bytes.fromhex(node), True)
    assert templates.strategy({"scheduling_strategy": labels}) == Strategy(
        "LABELS",
        hard=(("zone", "In", ("a", "b")), ("old", "DoesNotExist", ())),
        preferred=(("fast", "Exists", ()),),
    )


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("a", ("zone", "In", ("a",))),
        ("!a", ("zone", "NotIn", ("a",))),
        ("in(a, b)", ("zone", "In", ("a", "b"))),
        ("!in(a,b)", ("zone", "NotIn", ("a", "b"))),
    ],
)
def test_label_selectors(text: str, condition: tuple[str, str, tuple[str, ...]]) -> None:
    assert templates.strategy({"label_selector": {"zone": text}}) == Strategy("LABELS", hard=(condition,))


def test_bad_strategies() -> None:
    with pytest.raises(ValueError, match=r"'n1'.*nodes"):
        templates.strategy({"scheduling_strategy": strategies.NodeAffinitySchedulingStrategy("n1", soft=False)})
    with pytest.raises(ValueError, match=r"'zone'.*In\("):
        templates.strategy({"scheduling_strategy": strategies.NodeLabelSchedulingStrategy({"zone": "a"})})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="label_selector"):
        templates.strategy({"scheduling_strategy": "SPREAD", "label_selector": {"a": "b"}})
    with pytest.raises(ValueError, match="label_selector"):
        templates.strategy({"label_selector": {"a": "in(,)"}})
    with pytest.raises(ValueError, match="strings"):
        strategies.In(1)  # type: ignore[arg-type]


def test_runtime_env_must_be_plain_data() -> None:
    assert templates.runtime_env_json({"env_vars": {"A": "1"}}) == '{"env_vars": {"A": "1"}}'
    with pytest.raises(ValueError, match="runtime_env"):
        templates.runtime_env_json({"a": object()})


def test_equal_templates_have_equal_keys() -> None:
    first = templates.task_template({"num_cpus": 2}, "f", b"1" * 16, False, 1, "")
    assert first == templates.task_template({"num_cpus": 2}, "f", b"1" * 16, False, 1, "")
    assert first.key != templates.task_template({"num_cpus": 3}, "f", b"1" * 16, False, 1, "").key
    assert len(first.key) == 16
