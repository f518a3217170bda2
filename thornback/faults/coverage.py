"""Which kinds of messages met which faults, in which phase of their way; and what was never tried."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from thornback.core.ids import NODE_ID_SIZE, Address, node_of
from thornback.core.messages import MESSAGES, Message
from thornback.faults.plan import KINDS, AnyFault, Plan

if TYPE_CHECKING:
    from thornback.simulator.process import Process
    from thornback.simulator.world import World

SENT = "sent"
IN_FLIGHT = "in flight"
ARRIVING = "arriving"
HANDLED = "handled"
PHASES = (SENT, IN_FLIGHT, ARRIVING, HANDLED)
"""Sent: the fault hit its sender while it was under way. In flight: the link had the fault when it was sent. Arriving:
the fault hit its receiver while it was under way. Handled: the fault hit its receiver at most :data:`JUST_NOW` after it
was handled."""
HAPPENED = "happened"
"""Instead of a phase, with no message: how often a fault has happened, whatever it met."""
JUST_NOW = 1_000_000
"""Nanoseconds."""

Cell = tuple[str, str, str]
"""Kind of message, phase, kind of fault."""

LINK_EFFECTS = {
    "cut": "cut",
    "loss": "loss",
    "duplicate": "duplicate",
    "reorder": "reorder",
    "delay": "delay",
    "jitter": "delay",
}
"""Fields of the rules of links, with the kinds of faults that set them."""


class Coverage:
    """Counts; an observer for :func:`thornback.faults.run.run_once`.

    Attributes:
        cells: how often each kind of message met each kind of fault in each phase.
    """

    def __init__(self, plan: Plan) -> None:
        self.cells: dict[Cell, int] = {}
        self._faults: dict[bytes, AnyFault] = {repr(fault).encode(): fault for fault in plan.faults}
        self._under_way: dict[tuple[int, Address, Address], tuple[str, ...]] = {}
        self._handled: deque[tuple[int, Address, str]] = deque()
        self._world: World | None = None

    def __call__(self, world: World) -> None:
        """Watch that simulation."""
        self._world = world
        world.network.post_listeners.append(self._posted)
        world.trace.listeners.append(self._event)
        world.trace.message_listeners.append(self._message)

    def _count(self, message: str, phase: str, fault: str) -> None:
        cell = (message, phase, fault)
        self.cells[cell] = self.cells.get(cell, 0) + 1

    # --- The way of messages

    def _posted(self, source: Process, to: Address, messages: list[Message]) -> None:
        assert self._world is not None
        kinds = tuple(type(message).__name__ for message in messages)
        self._under_way[self._world.engine.current, source.address, to] = kinds
        network = self._world.network
        target = network.directory.get(to)
        if target is None:
            return
        rule = network.rule_between(source, target)
        effects = {fault for field, fault in LINK_EFFECTS.items() if getattr(rule, field)}
        if rule.bandwidth != 1.0:
            effects.add("bandwidth")
        for losing in network.losing if target.node is not source.node else ():
            if losing.left and losing.message in kinds and losing.sender in (None, source.node.index):
                effects.add("lose_message")
        for fault in sorted(effects):
            for kind in kinds:
                self._count(kind, IN_FLIGHT, fault)

    def _message(self, time: int, sender: Address, to: Address, message: Message, cause: int) -> None:
        self._under_way.pop((cause, sender, to), None)
        handled = self._handled
        handled.append((time, to, type(message).__name__))
        while handled[0][0] < time - JUST_NOW:
            handled.popleft()

    # --- Faults

    def _event(self, time: int, kind: str, subject: bytes, detail: Any) -> None:
        if kind == "process.end":
            self._under_way = {key: kinds for key, kinds in self._under_way.items() if subject not in key}
        elif kind == "fault":
            self._count("", HAPPENED, str(detail))
            self._hit(time, str(detail), self._targets(subject))

    def _targets(self, subject: bytes) -> tuple[bytes, ...]:
        """Ids of the nodes, or of the process, that a fault hits; none for faults of links."""
        assert self._world is not None
        fault = self._faults.get(subject)
        if fault is None:
            return (subject,) if len(subject) >= NODE_ID_SIZE and subject[:1] == b"\0" else ()
        if hasattr(fault, "one_way"):
            return ()
        nodes = self._world.nodes
        return tuple(nodes[index].node_id for _, named in fault.named_nodes() for index in named if index < len(nodes))

    def _hit(self, time: int, fault: str, targets: Iterable[bytes]) -> None:
        for target in targets:
            for (_, sender, to), kinds in self._under_way.items():
                for kind in kinds:
                    if _concerns(target, sender):
                        self._count(kind, SENT, fault)
                    if _concerns(target, to):
                        self._count(kind, ARRIVING, fault)
            for when, to, kind in self._handled:
                if when >= time - JUST_NOW and _concerns(target, to):
                    self._count(kind, HANDLED, fault)

    def flat(self) -> dict[str, int]:
        """The cells, with names such as ``PushTasks|sent|crash_node``."""
        return {"|".join(cell): count for cell, count in sorted(self.cells.items())}


def _concerns(target: bytes, address: Address) -> bool:
    return address == target or (len(target) == NODE_ID_SIZE and node_of(address) == target)


def merge(total: dict[str, int], found: Mapping[str, int]) -> None:
    """Add the counts of one run to those of others."""
    for cell, count in found.items():
        total[cell] = total.get(cell, 0) + count


def report(total: Mapping[str, int]) -> dict[str, Any]:
    """What was hit and what never, for JSON: counts by kind of message and phase, and lists of what is missing."""
    cells = [tuple(name.split("|")) for name in total]
    hit: dict[str, dict[str, dict[str, int]]] = {}
    happened: dict[str, int] = {}
    for (message, phase, fault), count in zip(cells, total.values(), strict=True):
        if phase == HAPPENED:
            happened[fault] = count
            continue
        hit.setdefault(message, {}).setdefault(phase, {})[fault] = count
    names = sorted(message.__name__ for message in MESSAGES)
    return {
        "hit": hit,
        "messages_never_hit": [name for name in names if name not in hit],
        "phases_never_hit": {
            name: [phase for phase in PHASES if phase not in hit[name]]
            for name in names
            if name in hit and len(hit[name]) < len(PHASES)
        },
        "faults": happened,
        "faults_never_met": sorted(set(KINDS) - {fault for _, phase, fault in cells if phase != HAPPENED}),
        "faults_never_happened": sorted(set(KINDS) - set(happened)),
    }


def as_text(found: Mapping[str, Any]) -> list[str]:
    """The report as lines of a table."""
    hit = found["hit"]
    lines = [f"{'message':<22} " + "".join(f"{phase:>12}" for phase in PHASES) + "   faults met"]
    for message in sorted(hit):
        phases = hit[message]
        counts = "".join(f"{sum(phases.get(phase, {}).values()) or '-':>12}" for phase in PHASES)
        faults = sorted({fault for by_fault in phases.values() for fault in by_fault})
        lines.append(f"{message:<22} {counts}   {', '.join(faults)}")
    lines.append(f"messages that met no fault: {', '.join(found['messages_never_hit']) or 'none'}")
    met_none = [
        f"{fault} ({found['faults'][fault]})" for fault in found["faults_never_met"] if fault in found["faults"]
    ]
    lines.append(f"faults that happened (so often) and met no message: {', '.join(met_none) or 'none'}")
    lines.append(f"faults that never happened: {', '.join(found['faults_never_happened']) or 'none'}")
    return lines
