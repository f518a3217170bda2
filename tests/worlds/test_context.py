"""What a program can ask about itself and the cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import thornback as ray


def test_ids_say_which_code_runs_where(world: Any) -> None:
    def ids() -> Any:
        context = ray.get_runtime_context()
        return {
            "job": context.get_job_id(),
            "node": context.get_node_id(),
            "worker": context.get_worker_id(),
            "task": context.get_task_id(),
            "actor": context.get_actor_id(),
        }

    class Actor:
        def ids(self) -> Any:
            return ids()

    driver, task = ids(), ray.get(ray.remote(ids).remote())
    actor = ray.remote(Actor).remote()
    first, second = ray.get([actor.ids.remote(), actor.ids.remote()])
    assert driver["job"] == task["job"] == first["job"]
    assert driver["task"] is None and driver["actor"] is None and task["actor"] is None
    assert first["actor"] == second["actor"] and first["task"] != second["task"]
    assert len({driver["worker"], task["worker"], first["worker"]}) == 3
    assert driver["node"] in {node["NodeID"] for node in ray.nodes()}


def test_an_actor_knows_its_name_and_handle(world: Any) -> None:
    class Named:
        def me(self) -> Any:
            return ray.get_runtime_context().get_actor_name()

        def value(self) -> int:
            return 5

        def own_handle(self) -> Any:
            return [ray.get_runtime_context().current_actor]

    named = ray.remote(Named).options(name="a name").remote()
    assert ray.get(named.me.remote()) == "a name"
    (same,) = ray.get(named.own_handle.remote())
    assert same == named and ray.get(same.value.remote()) == 5


def test_nodes_lists_the_nodes(world: Any) -> None:
    (node,) = ray.nodes()
    assert node["Alive"] and node["Resources"]["CPU"] == 4
    assert node["NodeID"] == ray.get_runtime_context().get_node_id()


@pytest.mark.cluster(init={"labels": {"zone": "east"}})
def test_labels_of_a_node_are_shown(world: Any) -> None:
    assert ray.nodes()[0]["Labels"]["zone"] == "east"

    @ray.remote
    def here() -> Any:
        return ray.get_runtime_context().get_node_labels()

    assert ray.get(here.remote())["zone"] == "east"


def test_available_resources_follow_what_is_held(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    class Holder:
        def ping(self) -> int:
            return 1

    assert ray.cluster_resources()["CPU"] == 4
    world.eventually(lambda: ray.available_resources().get("CPU") == 4, "nothing runs")
    holder = Holder.options(num_cpus=2.5).remote()
    ray.get(holder.ping.remote())
    world.eventually(lambda: ray.available_resources().get("CPU") == 1.5, "an actor holds 2.5 CPUs")
    ray.kill(holder)
    world.eventually(lambda: ray.available_resources().get("CPU") == 4, "it is gone")
    gate.send.remote()


def test_the_timeline_shows_what_has_run(world: Any, tmp_path: Path) -> None:
    import time

    @ray.remote
    def observed() -> None:
        time.sleep(0.05)

    ray.get([observed.remote() for _ in range(3)])
    events = world.eventually(
        lambda: [event for event in ray.timeline() or [] if event["name"] == "observed"][2:] and ray.timeline(),
        "three executions appear in the timeline",
    )
    event = next(event for event in events if event["name"] == "observed")
    assert event["ph"] == "X" and event["dur"] >= 45_000, "durations are in microseconds"
    ray.timeline(str(tmp_path / "timeline.json"))
    written = json.loads((tmp_path / "timeline.json").read_text())
    assert [event for event in written if event["name"] == "observed"]


def test_a_task_has_a_name(world: Any) -> None:
    @ray.remote
    def plain() -> Any:
        return ray.get_runtime_context().get_task_name()

    assert ray.get(plain.remote()) == "plain"
    assert ray.get(plain.options(name="special").remote()) == "special"


def test_the_program_is_initialized(world: Any) -> None:
    assert ray.is_initialized()

    @ray.remote
    def inside() -> bool:
        return ray.is_initialized()

    assert ray.get(inside.remote())


def test_the_namespace_is_the_same_in_tasks(world: Any) -> None:
    @ray.remote
    def namespace() -> str:
        return str(ray.get_runtime_context().namespace)

    assert ray.get(namespace.remote()) == ray.get_runtime_context().namespace


def test_init_returns_facts_about_the_session(world: Any) -> None:
    context = ray.init(ignore_reinit_error=True)
    assert context["node_id"] == ray.get_runtime_context().get_node_id()


def test_calls_outside_of_actors_are_refused(world: Any) -> None:
    with pytest.raises(TypeError, match="actor"):
        ray.actor.exit_actor()
