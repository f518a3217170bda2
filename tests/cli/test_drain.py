"""``thornback drain``: which node is meant, what is said about it, and what cannot be."""

from __future__ import annotations

import json

import pytest

import thornback as ray
from tests.cli.test_commands import last_line, run, running
from tests.worlds.test_recovery import AWAY, cluster, eventually, start
from thornback.cli.drain import begin, show
from thornback.cli.output import CommandError


def alive() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


@pytest.mark.parametrize("by", ["id", "beginning", "name"])
def test_a_node_leaves_without_loss(by: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command's part behind the connection, in a simulated cluster: a real one has no node but its head."""
    with cluster(1):
        home = start()[0]
        name = next(node["NodeName"] for node in ray.nodes() if node["NodeID"] == home)

        @ray.remote(max_retries=0, **AWAY)
        def work(x: int) -> int:
            return x + 1

        refs = [work.remote(x) for x in range(10)]
        found = begin({"id": home, "beginning": home[:12], "name": name}[by], "maintenance", 30)
        assert found == {"node": home, "name": name, "reason": "maintenance", "deadline": 30}
        assert ray.get(refs) == list(range(1, 11))
        eventually(lambda: home not in alive(), "the node should be gone")
    show(found)
    assert "leaves in 30 s at the latest (maintenance)" in capsys.readouterr().out


def test_nodes_that_are_not_there_or_not_meant_clearly_are_named() -> None:
    with cluster(1):
        start()
        here = ray.get_runtime_context().get_node_id()
        with pytest.raises(CommandError, match=rf"there is no node 'nonsense' that is alive; alive are .*{here}"):
            begin("nonsense", "", None)
        with pytest.raises(CommandError, match=r"'0000' names 3 nodes: "):
            begin("0000", "", None)


SESSION = """
import thornback
thornback.init(num_cpus=1)
print(thornback.get_runtime_context().get_node_id(), flush=True)
input()
"""


def test_the_head_of_a_running_session_cannot_leave(own_sessions: dict[str, str]) -> None:
    with running(SESSION, own_sessions) as head:
        refused = run("drain", head, "--reason", "maintenance", "--deadline", "5", **own_sessions)
        unknown = run("drain", "nonsense", "--json", **own_sessions)
        nodes = json.loads(run("status", "--json", **own_sessions).stdout)["nodes"]
    assert refused.returncode == unknown.returncode == 1
    assert f"node {head} is the head, which holds the cluster's tables and cannot leave" in last_line(refused.stderr)
    assert "there is no node 'nonsense' that is alive; alive are " + head in last_line(unknown.stderr)
    assert [node["alive"] for node in nodes] == [True], "nothing has happened to the session"


def test_without_a_session_and_with_a_bad_deadline(own_sessions: dict[str, str]) -> None:
    nowhere = run("drain", "head", **own_sessions)
    assert nowhere.returncode == 1 and "no running thornback session" in last_line(nowhere.stderr)
    negative = run("drain", "head", "--deadline", "-1", **own_sessions)
    assert negative.returncode == 2 and "--deadline" in last_line(negative.stderr)
