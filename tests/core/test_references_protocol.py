"""The reference-count protocol against a plain rule: what can be reached is never freed, and all else is in the end.

Between any two steps processes may crash, hear of a crash early or late, and messages may be lost, doubled, delayed and
reordered below the links.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.core.reference_model import Process, World
from thornback.core.ids import ObjectId, owner_of

PROCESSES = 4


class ReferenceProtocol(RuleBasedStateMachine):
    """Random programs of processes that pass references around."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(PROCESSES)

    def pick(self, data: st.DataObject) -> Process:
        return data.draw(st.sampled_from(self.world.living()), label="process")

    def some(self, data: st.DataObject, process: Process) -> tuple[ObjectId, ...]:
        held = process.holds()
        return tuple(data.draw(st.lists(st.sampled_from(held), max_size=2), label="refs")) if held else ()

    # --- Programs

    @rule(data=st.data())
    def put(self, data: st.DataObject) -> None:
        process = self.pick(data)
        process.put(self.some(data, process))

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        caller = self.pick(data)
        others = [process.address for process in self.world.processes.values() if process is not caller]
        arguments = self.some(data, caller)
        caller.call(data.draw(st.sampled_from(others), label="worker"), arguments)

    @rule(data=st.data(), keep=st.booleans())
    def finish(self, data: st.DataObject, keep: bool) -> None:
        process = self.pick(data)
        if process.running:
            number = data.draw(st.sampled_from(sorted(process.running)), label="task")
            process.finish(number, self.some(data, process), keep)

    @rule(data=st.data())
    def get(self, data: st.DataObject) -> None:
        process = self.pick(data)
        for object_id in self.some(data, process):
            process.get(object_id)

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        process = self.pick(data)
        held = [
            object_id
            for object_id in process.holds()
            if process.table.table[object_id].local
            > sum(call.arguments.count(object_id) for call in process.running.values())
        ]
        if held:
            process.drop(data.draw(st.sampled_from(held), label="ref"))

    # --- The network

    @precondition(lambda self: self.world.ways())
    @rule(data=st.data(), index=st.integers(0, 3), twice=st.booleans())
    def deliver(self, data: st.DataObject, index: int, twice: bool) -> None:
        sender, to = data.draw(st.sampled_from(self.world.ways()), label="way")
        self.world.deliver(sender, to, index, keep=twice)

    @precondition(lambda self: self.world.ways())
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        sender, to = data.draw(st.sampled_from(self.world.ways()), label="way")
        self.world.link(sender, to).frames[to].pop()

    @rule()
    def resend(self) -> None:
        self.world.pass_time()

    # --- Crashes

    @precondition(lambda self: len(self.world.living()) > 1)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.pick(data).alive = False

    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        process = self.pick(data)
        dead = [other.address for other in self.world.processes.values() if not other.alive]
        if dead:
            process.heard_of_death(data.draw(st.sampled_from(dead), label="dead"))

    # --- What must hold

    @invariant()
    def nothing_reachable_is_freed(self) -> None:
        for process in self.world.living():
            for object_id in process.holds():
                owner = self.world.processes[owner_of(object_id)]
                if not owner.alive or self.forgotten_caller(process, object_id):
                    continue
                assert object_id in owner.contents, (
                    f"{object_id.hex()} was freed while {process.address.hex()} holds it"
                )

    def forgotten_caller(self, process: Process, object_id: ObjectId) -> bool:
        """Whether only tasks whose caller has ended keep it: they are about to be stopped."""
        reference = process.table.table[object_id]
        orphaned = sum(
            call.arguments.count(object_id)
            for call in process.running.values()
            if not self.world.processes[call.caller].alive
        )
        return reference.registrations == 0 and orphaned > 0

    def teardown(self) -> None:
        world = self.world
        world.calm_down()
        self.nothing_reachable_is_freed()
        for process in world.living():
            for number in sorted(process.running):
                process.finish(number, (), False)
        world.calm_down()
        for process in world.living():
            for object_id in process.holds():
                for _ in range(process.table.table[object_id].local):
                    process.drop(object_id)
        world.calm_down()
        for process in world.living():
            assert not process.contents, "objects were never freed"
            assert not process.table.table, "records stay"
            assert not len(process.table.handovers)
            assert not process.table._borrowed_by and not process.table._pending_others


ReferenceProtocol.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestReferenceProtocol = ReferenceProtocol.TestCase
