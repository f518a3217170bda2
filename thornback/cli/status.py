"""``thornback status``: nodes, resources, and all that waits, of the session that runs on this machine."""

from __future__ import annotations

from typing import IO, Any

from thornback.cli.output import CommandError, print_json

GIB = 1 << 30
MOST = 50
"""Waits that the table shows."""


def status(as_json: bool) -> None:
    """Print the nodes, the resources and the waits of the session that was started last.

    Raises:
        CommandError: no session runs.
    """
    found = read()
    if as_json:
        print_json(found)
    else:
        show(found)


def read() -> dict[str, Any]:
    """What :func:`collect` finds in the session that was started last."""
    import thornback

    try:
        thornback.init(address="auto", log_to_driver=False)
    except ConnectionError as error:
        raise CommandError(f"{error}; a session lives as long as the program that called init()") from None
    try:
        return collect()
    finally:
        thornback.shutdown()


def collect() -> dict[str, Any]:
    """Nodes, resources in total, resources that nobody holds, and all that waits; of the cluster that this process is
    connected to."""
    import thornback
    from thornback.util import state

    return {
        "nodes": [
            {
                "id": node["node_id"],
                "name": node["node_name"],
                "alive": node["state"] == "ALIVE",
                "resources": node["resources_total"],
                "available": node["resources_available"],
                "labels": node["labels"],
            }
            for node in state.list_nodes()
        ],
        "resources": thornback.cluster_resources(),
        "available": thornback.available_resources(),
        "waits": state.list_waits(),
    }


def show(found: dict[str, Any], file: IO[str] | None = None) -> None:
    """Print it for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=file)
    nodes = Table("node", "name", "state", "CPU", "GPU", "memory", "other resources", box=None, pad_edge=False)
    for node in found["nodes"]:
        nodes.add_row(*_row(node))
    console.print(nodes)
    total, free = found["resources"], found["available"]
    console.print(f"{free.get('CPU', 0):g} of {total.get('CPU', 0):g} CPUs are free", highlight=False)
    waits = sorted(found["waits"], key=lambda wait: (wait["reason"], wait["job_id"], wait["name"]))
    if not waits:
        console.print("nothing waits")
        return
    table = Table("waits for", "how many", "job", "why", box=None, pad_edge=False)
    for wait in waits[:MOST]:
        table.add_row(wait["reason"], f"{wait['count']:,}", str(wait["job_id"]), wait["sentence"])
    console.print()
    console.print(table, highlight=False)
    if len(waits) > MOST:
        console.print(f"and {len(waits) - MOST} more kinds of waits (--json shows all)", highlight=False)


def _row(node: dict[str, Any]) -> list[str]:
    total = {name: amount for name, amount in node["resources"].items() if name != "object_store_memory"}
    shares = {name: _share(node, name, GIB if name == "memory" else 1) for name in total}
    cpus, gpus = (shares.pop(name, "-") for name in ("CPU", "GPU"))
    memory = f"{shares.pop('memory', '-')} GiB"
    others = " ".join(f"{name}={shares[name]}" for name in sorted(shares))
    return [node["id"], node["name"], "alive" if node["alive"] else "dead", cpus, gpus, memory, others]


def _share(node: dict[str, Any], name: str, scale: float) -> str:
    """What is in use of what there is."""
    total = node["resources"][name]
    used = total - node["available"].get(name, 0) if node["alive"] else 0
    return f"{used / scale:.4g}/{total / scale:.4g}"
