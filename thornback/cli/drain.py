"""``thornback drain``: have a node of the session that runs on this machine leave the cluster."""

from __future__ import annotations

from typing import Any

from thornback.cli.output import CommandError, print_json


def drain(node: str, reason: str, deadline: float | None, as_json: bool) -> None:
    """Ask the GCS, in the session that was started last, to have a node leave, and say what was begun.

    Raises:
        CommandError: no session runs, there is no such node, or it cannot leave.
    """
    import thornback

    try:
        thornback.init(address="auto", log_to_driver=False)
    except ConnectionError as error:
        raise CommandError(f"{error}; a session lives as long as the program that called init()") from None
    try:
        found = begin(node, reason, deadline)
    finally:
        thornback.shutdown()
    if as_json:
        print_json(found)
    else:
        show(found)


def begin(node: str, reason: str, deadline: float | None) -> dict[str, Any]:
    """Have a node leave the cluster that this process is connected to.

    Args:
        node: its id, the beginning of its id, or its name.
        deadline: seconds until it must be gone; None: it has all the time that it needs.

    Returns:
        ``node`` (its whole id), ``name``, ``reason`` and ``deadline``.

    Raises:
        CommandError: there is no such node, or it cannot leave.
    """
    from thornback.api import current
    from thornback.core import blocking

    chosen = _choose(node)
    timeout = -1 if deadline is None else int(deadline * 1e9)
    refusal = blocking.drain_node(current.require(), bytes.fromhex(chosen["node_id"]), reason, timeout)
    if refusal:
        raise CommandError(refusal)
    return {"node": chosen["node_id"], "name": chosen["node_name"], "reason": reason, "deadline": deadline}


def _choose(text: str) -> dict[str, Any]:
    """The live node that has this id or name, or the only one whose id begins so."""
    from thornback.util import state

    alive = [node for node in state.list_nodes() if node["state"] == "ALIVE"]
    exact = [node for node in alive if text in (node["node_id"], node["node_name"])]
    found = exact or [node for node in alive if text and node["node_id"].startswith(text)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{node['node_id']} ({node['node_name']})" for node in found or alive)
    if found:
        raise CommandError(f"{text!r} names {len(found)} nodes: {known}")
    raise CommandError(f"there is no node {text!r} that is alive; alive are {known}")


def show(found: dict[str, Any]) -> None:
    """Print it for people."""
    deadline = found["deadline"]
    when = "when nothing is left on it" if deadline is None else f"in {deadline:g} s at the latest"
    why = f" ({found['reason']})" if found["reason"] else ""
    print(f"node {found['node']} takes no more work and leaves {when}{why}", flush=True)
