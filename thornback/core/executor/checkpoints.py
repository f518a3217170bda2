"""An actor saves its state every so many calls, starts again from it, and applies no call twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thornback.core import errors
from thornback.core.executor.execution import Execution, Outcome
from thornback.core.ids import Address
from thornback.core.messages import (
    AppliedCall,
    Checkpoint,
    CheckpointNoted,
    CheckpointSaved,
    CheckpointTaken,
    SaveCheckpoint,
    Stored,
    TaskCall,
    TaskReply,
    Value,
)
from thornback.core.serialization import dumps, error_value, loads_value

if TYPE_CHECKING:
    from thornback.core.executor.executor import Executor


class Checkpoints:
    """The caller's side, and how the two make each call count once: :mod:`thornback.core.owner.replay`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._transport = executor.transport
        self.every = 0
        """Calls between two checkpoints; 0: there are none."""
        self._number = 0
        self._from: Checkpoint | None = None
        """What this incarnation started from."""
        self._included: dict[Address, int] = {}
        """By caller: up to which place its calls were in that."""
        self._applied: dict[Address, int] = {}
        """By caller: up to which place its calls are in the present state."""
        self._replies: dict[Address, dict[int, TaskReply]] = {}
        """What calls were answered whose callers have not said that they know, by caller and place."""
        self._since = 0
        """Calls since the last checkpoint."""
        self._saving = False
        self._durable: dict[int, dict[Address, int]] = {}
        """What is in the checkpoints that are not durable yet, by their numbers."""

    # --- Start

    def begin(self, every: int, checkpoint: Checkpoint | None) -> None:
        """This worker becomes an actor; it is constructed, and then restored, in a moment."""
        self.every = every
        self._from = checkpoint
        if checkpoint is None:
            return
        is_dead = self._executor.owner.references.is_dead
        self._included = {caller: place for caller, place in checkpoint.applied if not is_dead(caller)}
        for caller in self._included:
            self._executor.owner.references.peers.depend_on(caller)
        self._applied = dict(self._included)
        for call in checkpoint.replies:
            if call.caller in self._included:
                self._replies.setdefault(call.caller, {})[call.place] = self._still_there(call.reply)

    def _still_there(self, reply: TaskReply) -> TaskReply:
        """A reply from an earlier incarnation; large results may have gone with its node."""
        here = self._executor.owner.node_id
        for content in reply.results:
            if isinstance(content, Stored) and here not in content.nodes:
                return _gone(reply, "its node has died")
        return reply

    def restore(self, instance: Any) -> None:
        """Bring a newly constructed actor to the state that was saved. Called in a user thread."""
        if self._from is not None:
            instance.restore_checkpoint(loads_value(self._from.state))

    def started(self) -> None:
        """The actor is there; tell callers what was in its checkpoint, if the last incarnation could not."""
        for caller in self._included:
            self._tell(caller, self._included[caller])

    # --- Calls

    def answered(self, caller: Address, call: TaskCall) -> TaskReply | None:
        """The reply of a call that is in the checkpoint, for a caller that sends it again; None: it must run."""
        if call.sequence > self._included.get(caller, 0):
            return None
        known = self._replies.get(caller, {}).get(call.sequence)
        if known is None:
            return TaskReply(call.task_id, call.attempt, (), None)
        return TaskReply(call.task_id, call.attempt, known.results, known.error, run_time=known.run_time)

    def ended(self, execution: Execution, outcome: Outcome) -> None:
        """A call has run."""
        caller, place = execution.caller, execution.sequence
        self._applied[caller] = max(place, self._applied.get(caller, 0))
        reply = TaskReply(execution.task_id, execution.attempt, tuple(outcome.results), outcome.error)
        if any(content.contained for content in outcome.results):
            reply = _gone(reply, "the references in it were lost with the actor's process")
        self._replies.setdefault(caller, {})[place] = reply
        self._since += 1
        if self._since >= self.every:
            self._take()

    def _take(self) -> None:
        if self.every and self._since and not self._saving and not self._executor.ending:
            self._saving = True
            self._executor.actor.take_checkpoint()

    # --- Saving

    def collect(self, state: Any, outcome: Outcome) -> None:
        """What ``save_checkpoint`` returned. Called in a user thread.

        Raises:
            ValueError: it is too large, or contains references.
            SerializationError: it cannot be pickled.
        """
        serialized = dumps(state)
        limit = self._executor.owner.config.checkpoint_limit
        if serialized.size > limit:
            raise ValueError(
                f"the checkpoint has {serialized.size:,} bytes, more than checkpoint_limit, which is {limit:,}"
            )
        if serialized.contained:
            raise ValueError(
                "a checkpoint cannot contain object references or actor handles, which end with the process that holds "
                "them; save what is needed to make them again"
            )
        outcome.results.append(serialized.to_value())

    def saved(self, outcome: Outcome) -> None:
        """``save_checkpoint`` has ended."""
        spec = self._executor.actor.spec
        assert spec is not None
        self._saving = False
        if outcome.error is not None:
            message = SaveCheckpoint(spec.actor_id, self._executor.actor.incarnation, None, outcome.error)
            self._executor.owner.gcs.send(message)
            return
        state = outcome.results[0]
        assert isinstance(state, Value)
        self._number += 1
        self._since = 0
        self._durable[self._number] = dict(self._applied)
        replies = tuple(
            AppliedCall(caller, place, reply)
            for caller, known in self._replies.items()
            for place, reply in known.items()
        )
        checkpoint = Checkpoint(
            self._executor.actor.incarnation, self._number, state, tuple(self._applied.items()), replies
        )
        self._executor.owner.gcs.send(SaveCheckpoint(spec.actor_id, self._executor.actor.incarnation, checkpoint))

    def on_checkpoint_saved(self, sender: Address, message: CheckpointSaved) -> None:
        """The checkpoint is durable: callers need not keep the calls in it."""
        applied = self._durable.get(message.number, {})
        self._durable = {number: rest for number, rest in self._durable.items() if number > message.number}
        for caller, place in applied.items():
            if caller in self._applied:
                self._tell(caller, place)

    def _tell(self, caller: Address, place: int) -> None:
        spec = self._executor.actor.spec
        assert spec is not None
        self._transport.send(caller, CheckpointTaken(spec.actor_id, place))

    def on_checkpoint_noted(self, sender: Address, message: CheckpointNoted) -> None:
        """The caller has these replies."""
        known = self._replies.get(sender, {})
        for place in [place for place in known if place <= message.place]:
            del known[place]

    def process_died(self, address: Address) -> None:
        """A caller has ended, and with it what it kept: its calls must be in a checkpoint soon."""
        gone = [caller for caller in self._applied if caller.startswith(address)]
        for caller in gone:
            del self._applied[caller]
            self._included.pop(caller, None)
            self._replies.pop(caller, None)
        if gone:
            self._take()


def _gone(reply: TaskReply, why: str) -> TaskReply:
    error = errors.ObjectLostError(f"the call has counted, but its result is lost: {why}")
    return TaskReply(reply.task_id, reply.attempt, (), error_value(error))
