"""Faults of the connections between processes of one node, which never lose, double or reorder anything."""

from __future__ import annotations

from thornback.simulator.process import Process, UserProcess

BANDWIDTH = 1e9
"""Bytes per second, of which a fault leaves a part."""
_OTHER, _DRIVER_NODE, _WORKER_NODE, _OWNER_WORKER = range(4)
LINKS_WITHIN = {
    "all": frozenset((_DRIVER_NODE, _WORKER_NODE, _OWNER_WORKER)),
    "driver_node": frozenset((_DRIVER_NODE,)),
    "worker_node": frozenset((_WORKER_NODE,)),
    "owner_worker": frozenset((_OWNER_WORKER,)),
}
"""Kinds of connections by the names that plans use; rules for the inside of nodes have them in place of targets."""


def kind_of(source: Process, target: Process) -> int:
    """Which of them leads from one process to another of the same node."""
    users = [process for process in (source, target) if isinstance(process, UserProcess)]
    if len(users) == 2:
        return _OWNER_WORKER
    if not users:
        return _OTHER  # the raylet and the GCS, which in the real world are one process
    return _DRIVER_NODE if users[0].number < 0 else _WORKER_NODE
