"""A run as a picture: tasks on the lanes of their workers, messages as arrows between nodes, faults as marks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import TYPE_CHECKING, Any

from thornback.core.ids import GCS, Address, is_node, short
from thornback.core.messages import Message
from thornback.faults.invariants import Violation
from thornback.faults.story import in_text

if TYPE_CHECKING:
    from thornback.simulator.process import Process
    from thornback.simulator.world import World

MOST_ARROWS = 50_000
INSTANT = 0.001
"""Microseconds."""
PLACEHOLDER = "/*THE TRACE*/null"
"""In ``timeline.html``, where the trace goes."""
_MARKS = ("node.dead", "node.fenced", "object.lost", "task.retried", "task.rebuilding", "actor.state", "group.state")

Entry = dict[str, Any]


class Timeline:
    """Collects a run; an observer for :func:`thornback.faults.run.run_once`.

    The result is in the Trace Event Format, which Chrome and Perfetto open: a process per node, a thread per process of
    the node, times in microseconds of virtual time. Slices of a thread must nest: calls that run at the same time in a
    process are on threads of their own, and the ends of arrows are slices of a nanosecond.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lanes: dict[tuple[Address, int], tuple[int, int]] = {}
        self._lanes_of: dict[int, int] = {}
        """How many a node has."""
        self._names_of_lanes: list[tuple[tuple[int, int], str]] = []
        self._names: dict[bytes, str] = {}
        self._running: dict[tuple[bytes, Address], tuple[int, str, int]] = {}
        """When it began, its name, and its place among those that run at the same time in its process."""
        self._sent: dict[tuple[int, Address, Address], int] = {}
        self._arrows = 0
        self.left_out = 0
        """Messages after the first :data:`MOST_ARROWS`."""
        self._world: World | None = None

    def __call__(self, world: World) -> None:
        """Watch that simulation."""
        self._world = world
        world.trace.listeners.append(self._event)
        world.trace.message_listeners.append(self._message)
        world.network.post_listeners.append(self._posted)

    # --- Lanes

    def _lane(self, address: Address, place: int = 0) -> tuple[int, int]:
        """Process and thread number of a process of the simulation; (1, 1) is the GCS."""
        lane = self._lanes.get((address, place))
        if lane is None:
            node = 1 if address == GCS else int.from_bytes(address[:4], "big")
            number = 1 if address == GCS else 2 + self._lanes_of.get(node, 0)
            self._lanes_of[node] = number - 1
            lane = self._lanes[address, place] = (node, number)
            name = "GCS" if address == GCS else f"raylet {short(address)}" if is_node(address) else short(address)
            self._names_of_lanes.append((lane, f"{name} #{place + 1}" if place else name))
        return lane

    def _free_place(self, worker: Address) -> int:
        """The first place that nothing has which runs in the process now."""
        taken = {place for (_, where), (_, _, place) in self._running.items() if where == worker}
        return next(place for place in range(len(taken) + 1) if place not in taken)

    def _add(self, phase: str, name: str, time: int, lane: tuple[int, int], **more: Any) -> None:
        self._entries.append({"ph": phase, "name": name, "ts": time / 1000, "pid": lane[0], "tid": lane[1], **more})

    # --- What happens

    def _event(self, time: int, kind: str, subject: bytes, detail: Any) -> None:
        if kind == "task.submitted":
            self._names[subject] = detail[0]
        elif kind == "task.started":
            attempt, what, _caller, _source, worker, _lane = detail
            name = self._names.get(subject, what)
            again = f" (attempt {attempt})" if attempt else ""
            self._running[subject, worker] = time, f"{name}{again}", self._free_place(worker)
        elif kind == "task.ended":
            self._ended(time, (subject, detail[2]), detail[1])
        elif kind == "process.start":
            self._add("i", f"{detail} starts", time, self._lane(subject), s="t", cat="process")
        elif kind == "process.end":
            for key in [key for key in self._running if key[1] == subject]:
                self._ended(time, key, f"lost: {detail}")
            self._add("i", f"ends: {detail}", time, self._lane(subject), s="t", cat="process")
        elif kind == "fault":
            lane = self._lanes.get((subject, 0), (1, 1))
            self._add("i", f"fault: {detail}", time, lane, s="g", cat="fault", args={"fault": in_text(subject)})
        elif kind in _MARKS:
            lane = self._lane(subject if is_node(subject) else subject[:12])
            text = detail[0] if isinstance(detail, tuple) else ""
            self._add("i", f"{kind} {text}".rstrip(), time, lane, s="t", cat="mark", args={"subject": short(subject)})

    def _ended(self, time: int, key: tuple[bytes, Address], outcome: str) -> None:
        started = self._running.pop(key, None)
        if started is not None:
            begin, name, place = started
            args = {"task": short(key[0]), "outcome": outcome}
            self._add("X", name, begin, self._lane(key[1], place), dur=(time - begin) / 1000, cat="task", args=args)

    def _posted(self, source: Process, to: Address, messages: list[Message]) -> None:
        assert self._world is not None
        self._sent[self._world.engine.current, source.address, to] = self._world.engine._now

    def _message(self, time: int, sender: Address, to: Address, message: Message, cause: int) -> None:
        name = type(message).__name__
        sent = self._sent.pop((cause, sender, to), None)
        source, target = self._lane(sender), self._lane(to)
        if sent is None or source[0] == target[0]:
            return
        if self._arrows >= MOST_ARROWS:
            self.left_out += 1
            return
        self._arrows += 1
        common = {"cat": "message", "id": self._arrows}
        self._add("X", f"send {name}", sent, source, dur=INSTANT, cat="message", args={"to": short(to)})
        self._add("s", name, sent, source, **common)
        self._add("X", name, time, target, dur=INSTANT, cat="message", args={"from": short(sender)})
        self._add("f", name, time, target, bp="e", **common)

    # --- Results

    def trace(self, violations: Iterable[Violation] = ()) -> dict[str, Any]:
        """The whole run, with marks where promises were broken."""
        assert self._world is not None
        for broken in violations:
            name, args = f"broken: {broken.invariant}", {"where": broken.where}
            self._add("i", name, round(broken.at * 1e9), (1, 1), s="g", cat="fault", args=args)
        for key in list(self._running):
            self._ended(self._world.engine._now, key, "still running")
        entries = sorted(self._entries, key=lambda entry: (entry["ts"], -entry.get("dur", 0.0)))
        return {"traceEvents": [*self._labels(), *entries], "displayTimeUnit": "ms"}

    def _labels(self) -> Iterator[Entry]:
        assert self._world is not None
        for node in self._world.nodes:
            yield {"ph": "M", "name": "process_name", "pid": node.index + 1, "args": {"name": node.name}}
            yield {"ph": "M", "name": "process_sort_index", "pid": node.index + 1, "args": {"sort_index": node.index}}
        self._lane(GCS)
        for (node_number, number), name in sorted(self._names_of_lanes):
            yield {"ph": "M", "name": "thread_name", "pid": node_number, "tid": number, "args": {"name": name}}


def to_json(trace: dict[str, Any]) -> str:
    """For Chrome (about:tracing) and Perfetto (ui.perfetto.dev)."""
    return json.dumps(trace, separators=(",", ":"))


def to_html(trace: dict[str, Any], title: str) -> str:
    """A page that shows the trace by itself, without a network."""
    page = resources.files("thornback.faults").joinpath("timeline.html").read_text(encoding="utf-8")
    drawn = [entry for entry in trace["traceEvents"] if entry["ph"] != "X" or entry["cat"] != "message"]
    safe = to_json({"traceEvents": drawn}).replace("</", "<\\/")
    name = title.replace("&", "&amp;").replace("<", "&lt;")
    return page.replace("THE TITLE", name).replace(PLACEHOLDER, safe)
