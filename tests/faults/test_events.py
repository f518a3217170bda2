"""The catalogue of events agrees with what the engine notes, and with the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import thornback
from thornback.faults.events import KINDS
from thornback.faults.explore import STORM, explore
from thornback.faults.invariants.custom import Event
from thornback.faults.run import Setup
from thornback.simulator.world import World

PACKAGE = Path(thornback.__file__).parent


def test_the_catalogue_has_what_the_engine_notes_and_nothing_else() -> None:
    sources = [path.read_text() for part in ("core", "simulator") for path in (PACKAGE / part).rglob("*.py")]
    noted = {name for source in sources for name in re.findall(r"\.event\(\s*\"([a-z_.]+)\"", source)}
    assert noted == set(KINDS)


def test_the_documentation_lists_the_catalogue() -> None:
    text = (PACKAGE.parent / "docs" / "events.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    expected = []
    for name, kind in KINDS.items():
        fields = ", ".join(f"`{field}`" for field in kind.fields)
        expected.append(f"| `{name}`{'' if kind.trigger else ' *'} | {kind.subject} | {fields} | {kind.meaning} |")
    assert rows == expected


def test_events_hold_what_the_catalogue_says() -> None:
    seen: set[str] = set()

    def look(world: World) -> None:
        def event(time: int, kind: str, subject: bytes, detail: Any) -> None:
            seen.add(kind)
            assert isinstance(subject, bytes)
            assert (detail is None) == (not KINDS[kind].fields), (kind, detail)
            assert tuple(Event(time / 1e9, kind, subject, detail).fields) == KINDS[kind].fields

        world.trace.listeners.append(event)

    for workload in ("mixed", "gangs", "pressure", "ledger", "deep_lineage"):
        found = explore(f"workload:{workload}", range(3), STORM, Setup(nodes=4), observers=[look])
        assert not found.failures
    assert len(seen) >= 35, "storms show most of them"
