"""Answers to callers: sent together, and not before the caller is registered for every reference in them."""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.executor.execution import Execution, Outcome
from thornback.core.ids import Address, ObjectId, owner_of
from thornback.core.messages import Content, TaskReplies, TaskReply
from thornback.core.owner import Owner
from thornback.core.ports import Transport


class Replies:
    """Replies of one worker that have not left.

    Args:
        added: called when nothing keeps a reply back any more.
    """

    def __init__(self, owner: Owner, transport: Transport, added: Callable[[Execution], None]) -> None:
        self._added = added
        self._owner = owner
        self._transport = transport
        self._waiting: dict[tuple[Address, bytes], list[TaskReply]] = {}
        """By caller, and lease or actor."""
        self.pending = 0
        """Replies that wait for the registration of references."""
        self._handed: list[ObjectId] = []
        """References in results, held until the replies have left: a removal must not overtake them."""

    def add(self, execution: Execution, outcome: Outcome) -> None:
        """A task has ended; its reply leaves with the turn, or once all references that it touches are registered."""
        if execution.covered or execution.handed:
            self._owner.settle()
            self._register(execution, outcome)
        else:
            self._add(execution, outcome, ())

    def _register(self, execution: Execution, outcome: Outcome) -> None:
        references = self._owner.references
        kept: list[ObjectId] = []
        remaining = [1]
        self.pending += 1

        def registered() -> None:
            remaining[0] -= 1
            if remaining[0] == 0:
                self.pending -= 1
                self._add(execution, outcome, tuple(kept))
                self.let_go(execution.handed)

        for object_id in dict.fromkeys(execution.covered):
            reference = references.table.get(object_id)
            if reference is None or not reference.held or reference.owned or reference.registrations:
                continue
            if owner_of(object_id) == execution.caller:
                reference.registrations += 1
                kept.append(object_id)
            else:
                remaining[0] += 1
                references.register(reference, registered)
        for content in outcome.results:
            if content.contained:
                remaining[0] += 1
                self.hand_over(execution.caller, content, registered)
        registered()

    def hand_over(self, caller: Address, content: Content, then: Callable[[], None]) -> None:
        """Register the caller for all references in a result, then call ``then``."""
        remaining = [1]

        def one_done() -> None:
            remaining[0] -= 1
            if remaining[0] == 0:
                then()

        for object_id in content.contained:
            remaining[0] += 1
            self._owner.references.register_other(object_id, caller, one_done)
        one_done()

    def let_go(self, handed: list[ObjectId]) -> None:
        """What was returned is with its receiver as soon as the messages of this turn have left."""
        self._handed += handed

    def _add(self, execution: Execution, outcome: Outcome, kept: tuple[ObjectId, ...]) -> None:
        reply = TaskReply(
            execution.task_id,
            execution.attempt,
            tuple(outcome.results),
            outcome.error,
            outcome.retryable,
            outcome.cancelled,
            outcome.items,
            kept,
            outcome.run_time,
        )
        key = (execution.caller, execution.source)
        replies = self._waiting.get(key)
        if replies is None:
            self._waiting[key] = [reply]
        else:
            replies.append(reply)
        self._added(execution)

    def end_turn(self, ending: bool) -> None:
        """Send what has come together.

        Args:
            ending: this process takes no more tasks.
        """
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            for (caller, source), replies in waiting.items():
                self._transport.send(caller, TaskReplies(source, tuple(replies), ending))
        if self._handed:
            handed, self._handed = self._handed, []
            for object_id in handed:
                self._owner.references.release(object_id)
