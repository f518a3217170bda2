"""A small world of processes that hold references to each other's objects, over links that may lose messages.

Each process is a real :class:`ReferenceTable`; what the owner and the executor do around it (arguments, results, nested
objects) is written out here step by step, so that a test can interleave and break it anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from thornback.core.config import Config
from thornback.core.ids import ObjectId, WorkerId, owner_of, return_id, task_id, worker_id
from thornback.core.links import ReliableLink
from thornback.core.messages import AddBorrower, BorrowerAdded, RemoveBorrower, WatchProcesses
from thornback.core.messages.objects import HandoversReviewed, HandoverTaken, ReviewHandovers
from thornback.core.owner.references import Reference, ReferenceTable

NODE = b"\0\0\0\0\0\0\0\1"
CONFIG = Config()


@dataclass
class Call:
    """A task: references as arguments, sent from caller to worker."""

    number: int
    caller: WorkerId
    worker: WorkerId
    arguments: tuple[ObjectId, ...]


@dataclass
class Reply:
    """Its end: references in the result, and those that the worker keeps."""

    number: int
    results: tuple[ObjectId, ...]
    kept: tuple[ObjectId, ...]


@dataclass
class Contents:
    """What an object contains, sent by its owner to a reader."""

    object_id: ObjectId
    contained: tuple[ObjectId, ...]


@dataclass
class Ask:
    """A reader wants the content."""

    object_id: ObjectId


@dataclass
class Process:
    """One process of the model."""

    address: WorkerId
    world: World
    alive: bool = True
    counter: int = 0
    contents: dict[ObjectId, tuple[ObjectId, ...]] = field(default_factory=dict)
    calls: dict[int, Call] = field(default_factory=dict)
    running: dict[int, Call] = field(default_factory=dict)
    reading: dict[ObjectId, int] = field(default_factory=dict)
    watched: set[WorkerId] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.table = ReferenceTable(self.address, self, self.released, lambda _reference: None)

    def send(self, to: WorkerId, message: Any) -> None:
        if isinstance(message, WatchProcesses):
            self.watched.update(message.processes)
            return
        self.world.send(self.address, to, message)

    def released(self, reference: Reference) -> None:
        for object_id in self.contents.pop(reference.object_id, ()):
            self.table.release(object_id)

    def holds(self) -> list[ObjectId]:
        """References in user code."""
        return [object_id for object_id, reference in self.table.table.items() if reference.local > 0]

    # --- What user code does

    def put(self, contained: tuple[ObjectId, ...]) -> ObjectId:
        self.counter += 1
        object_id = return_id(task_id(self.address, self.counter), 0)
        self.table.new_owned(object_id)
        for inner in contained:
            self.table.hold(inner)
        self.contents[object_id] = contained
        return object_id

    def drop(self, object_id: ObjectId) -> None:
        self.table.drop_local(object_id)

    def call(self, worker: WorkerId, arguments: tuple[ObjectId, ...]) -> None:
        self.world.calls += 1
        call = Call(self.world.calls, self.address, worker, arguments)
        for object_id in arguments:
            self.table.hold(object_id)
        self.calls[call.number] = call
        if self.table.is_dead(worker):
            self.end_call(call)
        else:
            self.send(worker, call)

    def end_call(self, call: Call) -> None:
        del self.calls[call.number]
        for object_id in call.arguments:
            self.table.release(object_id)

    def get(self, object_id: ObjectId) -> None:
        """Read a value: for each reference inside, user code then holds one."""
        owner = owner_of(object_id)
        if owner == self.address:
            self.deserialized(object_id, self.contents.get(object_id, ()))
        elif not self.table.is_dead(owner):
            self.table.hold(object_id)
            self.reading[object_id] = self.reading.get(object_id, 0) + 1
            self.send(owner, Ask(object_id))

    def deserialized(self, cover: ObjectId, contained: tuple[ObjectId, ...]) -> None:
        for object_id in contained:
            reference = self.table.lookup(object_id)
            reference.local += 1
            if not reference.owned and reference.registrations == 0:
                self.table.hold(cover)
                self.table.register(reference, lambda: self.table.release(cover))

    def finish(self, number: int, results: tuple[ObjectId, ...], keep: bool) -> None:
        """As ``Executor._reply_with_references``."""
        call = self.running.pop(number)
        table = self.table
        for object_id in results:
            table.hold(object_id)
        if not keep:
            for object_id in call.arguments:
                self.drop(object_id)
        kept: list[ObjectId] = []
        remaining = [1]

        def registered() -> None:
            remaining[0] -= 1
            if remaining[0] == 0:
                self.send(call.caller, Reply(number, results, tuple(kept)))
                for object_id in results:
                    table.release(object_id)

        for object_id in dict.fromkeys(call.arguments):
            reference = table.table.get(object_id)
            if reference is None or not reference.held or reference.owned or reference.registrations:
                continue
            if owner_of(object_id) == call.caller:
                reference.registrations += 1
                kept.append(object_id)
            else:
                remaining[0] += 1
                table.register(reference, registered)
        for object_id in results:
            remaining[0] += 1
            table.register_other(object_id, call.caller, registered)
        registered()

    # --- What arrives

    def receive(self, sender: WorkerId, message: Any) -> None:
        table = self.table
        if isinstance(message, Call):
            if table.is_dead(sender):
                return
            for object_id in message.arguments:
                table.lookup(object_id).local += 1
            self.running[message.number] = message
        elif isinstance(message, Reply):
            self.replied(sender, message)
        elif isinstance(message, Ask):
            self.send(sender, Contents(message.object_id, self.contents.get(message.object_id, ())))
        elif isinstance(message, Contents):
            if self.reading.get(message.object_id):
                self.reading[message.object_id] -= 1
                self.deserialized(message.object_id, message.contained)
                table.release(message.object_id)
        elif isinstance(message, AddBorrower):
            table.on_add_borrower(sender, message)
        elif isinstance(message, BorrowerAdded):
            table.on_borrower_added(sender, message)
        elif isinstance(message, RemoveBorrower):
            table.on_remove_borrower(sender, message)
        elif isinstance(message, HandoverTaken):
            table.handovers.on_handover_taken(sender, message)
        elif isinstance(message, HandoversReviewed):
            table.handovers.on_handovers_reviewed(sender, message)
        elif isinstance(message, ReviewHandovers):
            self.heard_of_death(message.giver)
            self.send(sender, HandoversReviewed(message.giver))
        else:
            raise AssertionError(message)

    def replied(self, sender: WorkerId, reply: Reply) -> None:
        table = self.table
        for object_id in reply.kept:
            table.add_borrower(object_id, sender)
        call = self.calls.get(reply.number)
        for object_id in reply.results:
            reference = table.handed_over(object_id, sender)
            if call is not None:
                reference.local += 1
            table.release(object_id)
        if call is not None:
            self.end_call(call)

    def heard_of_death(self, address: WorkerId) -> None:
        if self.table.is_dead(address):
            return
        self.table.process_died(address)
        for call in [call for call in self.calls.values() if call.worker == address]:
            self.end_call(call)
        for object_id in [object_id for object_id in self.reading if owner_of(object_id) == address]:
            for _ in range(self.reading.pop(object_id)):
                self.table.release(object_id)


class Link:
    """Both directions between two processes: a :class:`ReliableLink` at each end, and the frames on their way."""

    def __init__(self) -> None:
        self.ends: dict[WorkerId, ReliableLink] = {}
        self.frames: dict[WorkerId, list[Any]] = {}
        """By receiver."""


class World:
    """All processes and what is under way between them."""

    def __init__(self, count: int) -> None:
        self.calls = 0
        self.now = 0
        addresses = [worker_id(NODE, index + 1) for index in range(count)]
        self.processes = {address: Process(address, self) for address in addresses}
        self.links: dict[tuple[WorkerId, WorkerId], Link] = {}

    def link(self, one: WorkerId, other: WorkerId) -> Link:
        key = (min(one, other), max(one, other))
        link = self.links.get(key)
        if link is None:
            link = self.links[key] = Link()
            link.ends = {address: ReliableLink(CONFIG) for address in key}
            link.frames = {address: [] for address in key}
        return link

    def send(self, sender: WorkerId, to: WorkerId, message: Any) -> None:
        if sender == to:
            self.processes[to].receive(sender, message)
            return
        link = self.link(sender, to)
        link.frames[to] += link.ends[sender].send(message, self.now)

    def deliver(self, sender: WorkerId, to: WorkerId, index: int, keep: bool = False) -> None:
        """Let one frame arrive; with ``keep`` it will arrive once more."""
        link = self.link(sender, to)
        frames = link.frames[to]
        frame = frames[index % len(frames)] if keep else frames.pop(index % len(frames))
        process = self.processes[to]
        if not process.alive:
            return
        payloads, answers = link.ends[to].receive(frame, self.now)
        link.frames[sender] += answers
        for payload in payloads:
            process.receive(sender, payload)

    def ways(self) -> list[tuple[WorkerId, WorkerId]]:
        """Pairs (sender, receiver) with frames under way."""
        found = []
        for (one, other), link in self.links.items():
            for sender, to in ((one, other), (other, one)):
                if link.frames[to] and self.processes[to].alive:
                    found.append((sender, to))
        return found

    def pass_time(self) -> None:
        """Let every deadline come."""
        self.now += 10_000_000_000
        for (one, other), link in self.links.items():
            for sender, to in ((one, other), (other, one)):
                if not (self.processes[sender].alive and self.processes[to].alive):
                    continue
                if link.ends[sender].deadline is not None:
                    link.frames[to] += link.ends[sender].on_deadline(self.now)

    def living(self) -> list[Process]:
        return [process for process in self.processes.values() if process.alive]

    def calm_down(self) -> None:
        """Everything under way arrives, and everyone hears of every death that concerns him: of those that he watches,
        and of those who run his calls."""
        for _ in range(10_000):
            ways = self.ways()
            if ways:
                self.deliver(*ways[0], 0)
                continue
            news = False
            for process in self.living():
                for other in self.processes.values():
                    concerned = other.address in process.watched or any(
                        call.worker == other.address for call in process.calls.values()
                    )
                    if concerned and not other.alive and not process.table.is_dead(other.address):
                        process.heard_of_death(other.address)
                        news = True
            self.pass_time()
            if not news and not any(
                link.ends[process.address].outstanding
                for process in self.living()
                for key, link in self.links.items()
                if process.address in key and all(self.processes[address].alive for address in key)
            ):
                self._flush_acknowledgements()
                if not self.ways():
                    return
        raise AssertionError("messages never end")

    def _flush_acknowledgements(self) -> None:
        for link in self.links.values():
            for frames in link.frames.values():
                frames[:] = [frame for frame in frames if frame.number]
