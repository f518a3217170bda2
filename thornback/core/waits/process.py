"""What a driver or worker answers when it is asked why something waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thornback.core.executor.reasons import ExecutorReasons
from thornback.core.ids import Address
from thornback.core.messages import AskReasons, ReasonsGiven, WaitCycleFound
from thornback.core.messages.waits import (
    ACTOR,
    HANDLES,
    HOLDER,
    OBJECT,
    PROCESS,
    TASK,
    Reason,
    Running,
    Subject,
    Unknown,
)
from thornback.core.owner.reasons import OwnerReasons
from thornback.core.waits.blocked import BlockedThreads

if TYPE_CHECKING:
    from thornback.core.executor import Executor
    from thornback.core.owner import Owner

PROGRAM = "the program"


class ProcessReasons:
    """The part of the graph of waits that one driver or worker knows."""

    def __init__(self, owner: Owner, executor: Executor | None, blocked: BlockedThreads) -> None:
        self.owner = owner
        self.blocked = blocked
        self.of_owner = OwnerReasons(owner)
        self.of_executor = None if executor is None else ExecutorReasons(self.of_owner, executor, blocked)

    def on_ask_reasons(self, sender: Address, message: AskReasons) -> None:
        """Somebody wants to know why something waits."""
        self.owner.ports.transport.send(sender, self.answer(message))

    def answer(self, message: AskReasons) -> ReasonsGiven:
        """The answer to a question about subjects of this process."""
        reasons: Any = tuple(self.reason_for(subject) for subject in message.subjects)
        return ReasonsGiven(message.request, self.owner.ports.clock.now(), reasons)

    def on_reasons_given(self, sender: Address, message: ReasonsGiven) -> None:
        """Answer to AskReasons."""
        self.owner.answered(message.request, message)

    def on_wait_cycle_found(self, sender: Address, message: WaitCycleFound) -> None:
        """Tasks of this program wait for each other."""
        self.owner.warn(message.text)

    def reason_for(self, subject: Subject) -> Reason:
        """What one subject of this process waits for."""
        kind, identifier = subject.kind, subject.identifier
        if kind == OBJECT:
            return self.of_owner.of_object(identifier)
        if kind == ACTOR:
            return self.of_owner.of_actor(identifier)
        if kind == HANDLES:
            return self.of_owner.of_handles(identifier)
        if self.of_executor is not None:
            if kind == TASK:
                return self.of_executor.of_task(identifier)
            if kind == HOLDER:
                return self.of_executor.of_holder()
            if kind == PROCESS:
                return self.of_executor.of_process()
        elif kind == PROCESS:
            return self._of_program()
        return Unknown(why=f"is not known: {kind!r} is nothing that a process has")

    def _of_program(self) -> Reason:
        wait = self.blocked.of_program()
        if wait is None:
            return Running(name=PROGRAM, is_driver=True)
        return self.of_owner.of_wait(self.blocked, wait, PROGRAM, 0, is_driver=True)
