"""Taking nodes out of the cluster."""

from __future__ import annotations

from thornback.api import current
from thornback.core import blocking


def drain_node(node_id: str, reason: str = "", deadline: float | None = None) -> None:
    """Have a node leave the cluster, without loss where there is time for it. Returns when the node has begun to.

    It takes no more work. Tasks that run there may end; those that still run shortly before the deadline start again on
    other nodes, which does not count as a retry. Actors that may be restarted answer the calls that they have and start
    again on other nodes, which does not count as a restart; others stay until the deadline. Bundles of placement groups
    get another place, and objects are copied to other nodes. Then the node is gone. What processes of the node own
    (values that its tasks and actors have put, and tasks that they have submitted) ends with it.

    Args:
        node_id: hex id, as in ``thornback.nodes()``.
        reason: for people.
        deadline: seconds until the node must be gone; None: it has all the time that it needs.

    Raises:
        ValueError: there is no such node, or it is the head; or the deadline is negative.
    """
    if deadline is not None and deadline < 0:
        raise ValueError(f"drain_node(): deadline must be a number of seconds >= 0, or None, not {deadline!r}")
    try:
        node = bytes.fromhex(node_id)
    except (TypeError, ValueError):
        raise ValueError(f"drain_node(): {node_id!r} is not the hex id of a node") from None
    refusal = blocking.drain_node(current.require(), node, reason, -1 if deadline is None else int(deadline * 1e9))
    if refusal:
        raise ValueError(f"drain_node(): {refusal}")
