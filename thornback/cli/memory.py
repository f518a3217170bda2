"""``thornback memory``: what holds the bytes of the session that runs on this machine."""

from __future__ import annotations

from typing import Any

from thornback.cli.output import CommandError, print_json

SHOWN = 50


def memory(as_json: bool, limit: int = SHOWN) -> None:
    """Print each object with its bytes, owner, references, pins, age and call site, and the totals of each node.

    Raises:
        CommandError: no session runs.
    """
    found = read()
    if as_json:
        print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "object", "owner", "memory", "disk", "where", "references", "pins", "age", "call site", box=None, pad_edge=False
    )
    for row in found["objects"][:limit]:
        table.add_row(*_row(row))
    console = Console()
    console.print(table)
    hidden = len(found["objects"]) - limit
    if hidden > 0:
        console.print(f"and {hidden:,} smaller ones (--limit shows more)", highlight=False)
    for store in found["stores"]:
        console.print(
            f"node {store['node_id']}: {store['used']:,} of {store['capacity']:,} bytes are in use, "
            f"{store['pinned']:,} of them pinned by readers; "
            f"{store['spilled_bytes']:,} bytes in {store['spill_files']} spill files; "
            f"{store['waiting_for_room']} wait for room",
            highlight=False,
        )


def read() -> dict[str, Any]:
    """All objects and all stores."""
    import thornback
    from thornback.util import state

    try:
        thornback.init(address="auto", log_to_driver=False)
    except ConnectionError as error:
        raise CommandError(f"{error}; a session lives as long as the program that called init()") from None
    try:
        return {"objects": state.list_objects(limit=1 << 62), "stores": state.list_stores()}
    finally:
        thornback.shutdown()


def _row(row: dict[str, Any]) -> list[str]:
    references = " ".join(row["reference_kinds"]) or "none"
    return [
        row["name"],
        row["owner"],
        f"{row['memory_bytes']:,}",
        f"{row['disk_bytes']:,}",
        row["where"],
        references,
        str(row["pins"]),
        f"{row['age_s']:.0f} s",
        row["call_site"],
    ]
