"""The reference counting protocol against a plain model.

Several reference tables talk over a network that keeps messages of a pair in order and delays them at random. Processes
call each other with references, keep them, return them, put them into objects and read them from there, and die. The
model knows who could still use an object. Safety: its owner does not let it go as long as somebody can. Liveness: once
nobody can and all messages have arrived, it is let go, and no table remembers anything.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from thornback.core import ids
from thornback.core.dispatch import handlers_of
from thornback.core.ids import ObjectId, owner_of, return_id, task_id
from thornback.core.messages import Message, WatchProcesses
from thornback.core.owner.references import Reference, ReferenceTable

Pick = Callable[[Sequence[Any]], Any]
Some = Callable[[Sequence[Any]], list[Any]]

PROCESSES = 4
NODES = [number.to_bytes(8, "big") for number in (1, 1, 2, 3)]


@dataclass
class Call:
    """A task: references go there, some stay there, some come back."""

    number: int
    caller: int
    worker: int
    arguments: list[ObjectId]
    state: str = "sent"
    covered: list[ObjectId] = field(default_factory=list)
    locals: list[ObjectId] = field(default_factory=list)
    """References that the running task has in its variables."""


@dataclass
class Arguments:
    """Stands for PushTasks."""

    call: Call


@dataclass
class Reply:
    """Stands for TaskReplies."""

    call: Call
    kept: list[ObjectId]
    results: list[ObjectId]


@dataclass
class Question:
    """Stands for GetObject: what is inside?"""

    outer: ObjectId


@dataclass
class Answer:
    """Stands for ObjectContent."""

    outer: ObjectId
    inside: list[ObjectId]


@dataclass
class Notice:
    """Stands for Deaths."""

    dead: bytes


class Process:
    """A reference table with a minimal owner and executor around it."""

    def __init__(self, machine: Cluster, number: int) -> None:
        self.machine = machine
        self.number = number
        self.address = ids.worker_id(NODES[number], number + 1)
        self.alive = True
        self.counter = 0
        self.table = ReferenceTable(self.address, self, self.released, lambda reference: None)
        self.handlers = handlers_of(self.table, self.table.handovers, self)
        self.variables: dict[ObjectId, int] = {}
        """What the user code of this process has: references by number of copies."""
        self.inside: dict[ObjectId, list[ObjectId]] = {}
        """Owned objects that contain references."""
        self.reading: dict[ObjectId, int] = {}
        self.waiting: dict[int, Call] = {}
        self.freed: set[ObjectId] = set()
        self.watched: set[bytes] = set()
        """Processes of whose end it must be told."""

    # --- Transport

    def send(self, to: bytes, message: Any) -> None:
        if isinstance(message, WatchProcesses):
            self.watched.update(message.processes)
            for process in self.machine.processes:
                if process.address in message.processes and not process.alive:
                    self.machine.notify(process, self)
            return
        self.machine.post(self.number, to, message)

    # --- The owner

    def released(self, reference: Reference) -> None:
        self.freed.add(reference.object_id)
        self.machine.check_release(self, reference.object_id)
        for inner in self.inside.pop(reference.object_id, []):
            self.table.release(inner)

    def on_review_handovers(self, sender: bytes, message: Any) -> None:
        from thornback.core.messages import HandoversReviewed

        if not self.table.is_dead(message.giver):
            self.learn(message.giver)
        self.send(sender, HandoversReviewed(message.giver))

    def new(self, inside: list[ObjectId]) -> ObjectId:
        self.counter += 1
        object_id = return_id(task_id(self.address, self.counter), 0)
        for inner in inside:
            self.table.hold(inner)
        if inside:
            self.inside[object_id] = inside
        self.table.new_owned(object_id)
        self.variables[object_id] = 1
        return object_id

    def drop(self, object_id: ObjectId) -> None:
        self.variables[object_id] -= 1
        if not self.variables[object_id]:
            del self.variables[object_id]
        self.table.drop_local(object_id)

    def deserialize(self, object_id: ObjectId, cover: list[ObjectId] | ObjectId | None) -> None:
        """As Owner.references_deserialized, of one."""
        reference = self.table.lookup(object_id)
        reference.local += 1
        self.variables[object_id] = self.variables.get(object_id, 0) + 1
        if reference.owned or reference.registrations > 0:
            return
        if isinstance(cover, list):
            cover.append(object_id)
        elif cover is None:
            self.table.register(reference, lambda: None)
        else:
            outer = cover
            self.table.hold(outer)
            self.table.register(reference, lambda: self.table.release(outer))

    # --- Calls

    def call(self, worker: Process, arguments: list[ObjectId]) -> None:
        call = Call(self.machine.next_number(), self.number, worker.number, arguments)
        for object_id in arguments:
            self.table.hold(object_id)
        if self.table.is_dead(worker.address):
            self.settle(call)
            return
        self.waiting[call.number] = call
        self.machine.calls[call.number] = call
        self.send(worker.address, Arguments(call))

    def settle(self, call: Call) -> None:
        self.waiting.pop(call.number, None)
        for object_id in call.arguments:
            self.table.release(object_id)

    def begin(self, call: Call) -> None:
        call.state = "running"
        for object_id in call.arguments:
            self.deserialize(object_id, call.covered)
            call.locals.append(object_id)

    def finish(self, call: Call, keep: list[ObjectId], results: list[ObjectId]) -> None:
        """As Executor._reply_with_references."""
        call.state = "registering"
        handed = [self.table.hold(object_id).object_id for object_id in results]
        for object_id in call.locals:
            if object_id in keep:
                keep.remove(object_id)
            else:
                self.drop(object_id)
        call.locals.clear()
        caller = self.machine.processes[call.caller].address
        kept: list[ObjectId] = []
        remaining = [1]

        def registered() -> None:
            remaining[0] -= 1
            if remaining[0] == 0:
                call.state = "replied"
                self.send(caller, Reply(call, kept, results))
                for object_id in handed:
                    self.table.release(object_id)

        for object_id in dict.fromkeys(call.covered):
            reference = self.table.table.get(object_id)
            if reference is None or not reference.held or reference.owned or reference.registrations:
                continue
            if owner_of(object_id) == caller:
                reference.registrations += 1
                kept.append(object_id)
            else:
                remaining[0] += 1
                self.table.register(reference, registered)
        for object_id in results:
            remaining[0] += 1
            self.table.register_other(object_id, caller, registered)
        registered()

    def replied(self, sender: bytes, reply: Reply) -> None:
        """As Tasks.reply and accept; then the program reads the result and drops it."""
        for object_id in reply.kept:
            self.table.add_borrower(object_id, sender)
        call = self.waiting.get(reply.call.number)
        for object_id in reply.results:
            self.table.handed_over(object_id, sender)
        if call is not None:
            for object_id in reply.results:
                self.deserialize(object_id, None)
            self.settle(call)
        for object_id in reply.results:
            self.table.release(object_id)
        self.machine.calls.pop(reply.call.number, None)

    # --- Reading what is inside an object

    def ask(self, outer: ObjectId) -> None:
        self.table.hold(outer)
        if owner_of(outer) == self.address:
            self.answer(Answer(outer, self.inside.get(outer, [])))
        elif self.table.is_dead(owner_of(outer)):
            self.table.release(outer)
        else:
            self.reading[outer] = self.reading.get(outer, 0) + 1
            self.send(owner_of(outer), Question(outer))

    def answer(self, answer: Answer) -> None:
        for inner in answer.inside:
            self.deserialize(inner, answer.outer)
        self.table.release(answer.outer)

    def answered(self, answer: Answer) -> None:
        if self.reading.get(answer.outer):
            self.stop_reading(answer.outer)
            self.answer(answer)

    def stop_reading(self, outer: ObjectId) -> None:
        self.reading[outer] -= 1
        if not self.reading[outer]:
            del self.reading[outer]

    # --- Messages

    def receive(self, sender: bytes, message: Any) -> None:
        if isinstance(message, Arguments):
            if self.table.is_dead(sender):
                return
            self.begin(message.call)
        elif isinstance(message, Reply):
            self.replied(sender, message)
        elif isinstance(message, Question):
            self.send(sender, Answer(message.outer, self.inside.get(message.outer, [])))
        elif isinstance(message, Answer):
            self.answered(message)
        elif isinstance(message, Notice):
            self.learn(message.dead)
        else:
            assert isinstance(message, Message)
            self.handlers[type(message)](sender, message)

    def learn(self, dead: bytes) -> None:
        if self.table.is_dead(dead):
            return
        self.table.process_died(dead)
        for call in list(self.waiting.values()):
            if self.machine.processes[call.worker].address.startswith(dead):
                self.settle(call)
        for outer in [outer for outer in self.reading if outer.startswith(dead)]:
            while outer in self.reading:
                self.stop_reading(outer)
                self.table.release(outer)


class Cluster:
    """Some processes and the network between them."""

    def __init__(self) -> None:
        self.numbers = 0
        self.calls: dict[int, Call] = {}
        self.network: dict[tuple[int, int], deque[Any]] = {}
        self.unsafe: set[tuple[int, ObjectId]] = set()
        """(process, object): what it holds was vouched for by a process that died before the owner knew of it."""
        self.processes = [Process(self, number) for number in range(PROCESSES)]

    def next_number(self) -> int:
        self.numbers += 1
        return self.numbers

    def post(self, source: int, to: bytes, message: Any) -> None:
        target = next(process.number for process in self.processes if process.address == to)
        if self.processes[source].alive and self.processes[target].alive:
            self.network.setdefault((source, target), deque()).append(message)

    @property
    def living(self) -> list[Process]:
        return [process for process in self.processes if process.alive]

    def variables(self) -> list[tuple[Process, ObjectId]]:
        return [(process, object_id) for process in self.living for object_id in process.variables]

    # --- Safety

    def check_release(self, owner: Process, object_id: ObjectId) -> None:
        for process in self.living:
            if (process.number, object_id) in self.unsafe:
                continue
            assert object_id not in process.variables, (
                f"process {owner.number} lets {ids.short(object_id)} go, but user code of process {process.number} "
                "still has a reference to it"
            )
        for call in self.calls.values():
            caller = self.processes[call.caller]
            if caller.alive and call.number in caller.waiting and (call.caller, object_id) not in self.unsafe:
                assert object_id not in call.arguments, (
                    f"process {owner.number} lets {ids.short(object_id)} go, an argument of a call that has not ended"
                )
        for process in self.living:
            for outer, inside in process.inside.items():
                vouched = (process.number, object_id) not in self.unsafe
                assert object_id not in inside or not vouched or outer in process.freed, (
                    f"process {owner.number} lets {ids.short(object_id)} go, which is inside {ids.short(outer)}"
                )

    def taint(self) -> None:
        """A process has died: what is not registered with a living owner was vouched for by who knows whom."""
        for process in self.living:
            held = set(process.variables) | {inner for inside in process.inside.values() for inner in inside}
            held |= {object_id for call in process.waiting.values() for object_id in call.arguments}
            held |= set(process.table.table)
            for object_id in held:
                owner = next(each for each in self.processes if each.address == owner_of(object_id))
                if owner is process:
                    continue
                known = owner.table.table.get(object_id)
                mine = process.table.table.get(object_id)
                registered = known is not None and (known.borrowers or {}).get(process.address, 0) > 0
                if not owner.alive or not registered or mine is None or mine.registrations == 0:
                    self.unsafe.add((process.number, object_id))

    def spread_taint(self, giver: int, receiver: int, object_ids: list[ObjectId]) -> None:
        for object_id in object_ids:
            if (giver, object_id) in self.unsafe:
                self.unsafe.add((receiver, object_id))

    # --- Steps; ``pick`` chooses from a sequence, ``some`` up to two different ones

    def step_put(self, pick: Pick, some: Some) -> None:
        process = pick(self.living)
        process.new(some(sorted(process.variables)))

    def step_drop(self, pick: Pick, some: Some) -> None:
        held = self.variables()
        if not held:
            return
        process, object_id = pick(held)
        busy = [call for call in self.calls.values() if call.worker == process.number and object_id in call.locals]
        if process.variables[object_id] > sum(call.locals.count(object_id) for call in busy):
            process.drop(object_id)

    def step_call(self, pick: Pick, some: Some) -> None:
        held = self.variables()
        if not held:
            return
        process, first = pick(held)
        worker = pick(self.processes)
        if worker is not process:
            arguments = list(dict.fromkeys([first, *some(sorted(process.variables))]))
            self.spread_taint(process.number, worker.number, arguments)
            process.call(worker, arguments)
            if not worker.alive:
                self.notify(worker, process)

    def step_finish(self, pick: Pick, some: Some) -> None:
        running = [call for call in self.calls.values() if call.state == "running"]
        if not running:
            return
        call = pick(running)
        worker = self.processes[call.worker]
        keep, results = some(list(dict.fromkeys(call.locals))), some(sorted(worker.variables))
        self.spread_taint(call.worker, call.caller, results)
        worker.finish(call, keep, results)

    def step_read(self, pick: Pick, some: Some) -> None:
        held = self.variables()
        if not held:
            return
        process, outer = pick(held)
        owner = next(each for each in self.processes if each.address == owner_of(outer))
        if (process.number, outer) not in self.unsafe:
            self.spread_taint(owner.number, process.number, owner.inside.get(outer, []))
            process.ask(outer)

    def step_deliver(self, pick: Pick, some: Some) -> None:
        waiting = sorted(pair for pair, queue in self.network.items() if queue)
        if waiting:
            self.deliver_from(pick(waiting), pick((1, 1, 2, 5)))

    def step_die(self, pick: Pick, some: Some) -> None:
        if len(self.living) > 2:
            self.die(pick(self.living), pick((0, 1, 3)))

    def deliver_from(self, pair: tuple[int, int], count: int) -> None:
        source, target = (self.processes[number] for number in pair)
        queue = self.network[pair]
        for _ in range(min(count, len(queue))):
            message = queue.popleft()
            for object_id in _vouched_for_by_sender(message):
                if not source.alive or (source.number, object_id) in self.unsafe:
                    self.unsafe.add((target.number, object_id))
            if target.alive:
                target.receive(source.address, message)

    def die(self, process: Process, lost: int) -> None:
        """It ends; the last messages that it has sent may not arrive, and those who watch it, or have leased it, learn
        of it some time."""
        process.alive = False
        for (source, _target), queue in self.network.items():
            if source == process.number:
                for _ in range(min(lost, len(queue))):
                    queue.pop()
        for call in list(self.calls.values()):
            if call.worker == process.number:
                del self.calls[call.number]
        for other in self.living:
            leased = any(call.worker == process.number for call in other.waiting.values())
            if leased or process.address in other.watched:
                self.notify(process, other)
        self.taint()

    def notify(self, dead: Process, other: Process) -> None:
        """After all that it has sent before, ``other`` learns of the end of a process."""
        self.network.setdefault((dead.number, other.number), deque()).append(Notice(dead.address))

    # --- Liveness

    def counts_are_never_negative(self) -> None:
        for process in self.living:
            for reference in process.table.table.values():
                assert reference.local >= 0 and reference.holds >= 0 and reference.registrations >= 0, (
                    f"process {process.number}, {ids.short(reference.object_id)}: local {reference.local}, holds "
                    f"{reference.holds}, registrations {reference.registrations}"
                )

    def drain(self) -> None:
        while True:
            pairs = [pair for pair, queue in sorted(self.network.items()) if queue]
            if not pairs:
                return
            for pair in pairs:
                self.deliver_from(pair, 1)

    def everybody_lets_go(self) -> None:
        """Everybody lets everything go; nothing may be left."""
        self.drain()
        while running := [call for call in self.calls.values() if call.state == "running"]:
            for call in running:
                self.processes[call.worker].finish(call, [], [])
            self.drain()
        for process in self.living:
            for object_id, count in list(process.variables.items()):
                for _ in range(count):
                    process.drop(object_id)
        self.drain()
        for process in self.living:
            left = {ids.short(each.object_id): _story(each) for each in process.table.table.values()}
            assert not left, f"process {process.number} still knows of {left}, though nobody refers to anything"
            assert not process.table._borrowed_by and not process.table._pending_others
            assert len(process.table.handovers) == 0, "handovers are open, though all have arrived or are void"


def _vouched_for_by_sender(message: Any) -> list[ObjectId]:
    if isinstance(message, Arguments):
        return message.call.arguments
    if isinstance(message, Reply):
        return message.results
    return message.inside if isinstance(message, Answer) else []


def _story(reference: Reference) -> str:
    return (
        f"owned {reference.owned}, local {reference.local}, holds {reference.holds}, borrowers {reference.borrowers}, "
        f"registrations {reference.registrations}, covered {reference.covered is not None}"
    )


STEPS: dict[str, int] = {"put": 2, "drop": 4, "call": 3, "finish": 3, "read": 1, "deliver": 9}
"""How often each step is taken in a random walk; deaths come on top."""


class ReferenceProtocol(RuleBasedStateMachine):
    """The steps in an order that Hypothesis chooses, and shortens when something is found."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()

    @rule(data=st.data(), step=st.sampled_from([name for name, weight in STEPS.items() for _ in range(weight)]))
    def go_on(self, data: st.DataObject, step: str) -> None:
        self.take(data, step)

    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self.take(data, "die")

    def take(self, data: st.DataObject, step: str) -> None:
        def pick(options: Sequence[Any]) -> Any:
            return data.draw(st.sampled_from(options))

        def some(options: Sequence[Any]) -> list[Any]:
            return data.draw(st.lists(st.sampled_from(options), max_size=2, unique=True)) if options else []

        getattr(self.cluster, f"step_{step}")(pick, some)

    @invariant()
    def counts_are_sound(self) -> None:
        self.cluster.counts_are_never_negative()

    def teardown(self) -> None:
        self.cluster.everybody_lets_go()


TestReferenceProtocol = ReferenceProtocol.TestCase
TestReferenceProtocol.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("deaths", [0.0, 0.01])
def test_long_random_walks_keep_the_counts(deaths: float) -> None:
    """Many more steps than Hypothesis takes; a failure names the seed to walk again."""
    names, weights = list(STEPS), list(STEPS.values())
    for seed in range(150):
        numbers, cluster = random.Random(seed), Cluster()

        def some(options: Sequence[Any], numbers: random.Random = numbers) -> list[Any]:
            return numbers.sample(options, min(len(options), numbers.choice((0, 1, 1, 2))))

        try:
            for _ in range(200):
                step = "die" if numbers.random() < deaths else numbers.choices(names, weights)[0]
                getattr(cluster, f"step_{step}")(numbers.choice, some)
                cluster.counts_are_never_negative()
            cluster.everybody_lets_go()
        except AssertionError as error:
            raise AssertionError(f"in the walk with seed {seed}: {error}") from error
