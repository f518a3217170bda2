"""``thornback status``: nodes and resources of the session that runs on this machine."""

from __future__ import annotations

from typing import Any

from thornback.cli.output import CommandError, print_json

GIB = 1 << 30


def status(as_json: bool) -> None:
    """Print the nodes and resources of the session that was started last.

    Raises:
        CommandError: no session runs.
    """
    found = read()
    if as_json:
        print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("node", "name", "state", "CPU", "GPU", "memory", "other resources", box=None, pad_edge=False)
    for node in found["nodes"]:
        table.add_row(*_row(node))
    console = Console()
    console.print(table)
    total, free = found["resources"], found["available"]
    console.print(f"{free.get('CPU', 0):g} of {total.get('CPU', 0):g} CPUs are free", highlight=False)


def read() -> dict[str, Any]:
    """Nodes, resources in total, and resources that nobody holds."""
    import thornback

    try:
        thornback.init(address="auto", log_to_driver=False)
    except ConnectionError as error:
        raise CommandError(f"{error}; a session lives as long as the program that called init()") from None
    try:
        return {
            "nodes": [
                {
                    "id": node["NodeID"],
                    "name": node["NodeName"],
                    "alive": node["Alive"],
                    "resources": node["Resources"],
                    "labels": node["Labels"],
                }
                for node in thornback.nodes()
            ],
            "resources": thornback.cluster_resources(),
            "available": thornback.available_resources(),
        }
    finally:
        thornback.shutdown()


def _row(node: dict[str, Any]) -> list[str]:
    resources = dict(node["resources"])
    cpus, gpus = (f"{resources.pop(name, 0):g}" for name in ("CPU", "GPU"))
    memory = f"{resources.pop('memory', 0) / GIB:.1f} GiB"
    resources.pop("object_store_memory", None)
    others = " ".join(f"{name}={amount:g}" for name, amount in sorted(resources.items()))
    return [node["id"], node["name"], "alive" if node["alive"] else "dead", cpus, gpus, memory, others]
