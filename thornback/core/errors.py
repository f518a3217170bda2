"""Every exception that users can meet. Re-exported, with Ray's names as aliases, by :mod:`thornback.exceptions`.

All of them survive pickling, because they travel as the value of a failed task.
"""

from __future__ import annotations

from typing import Any


class ThornbackError(Exception):
    """Base of all errors that the engine raises about running work."""


class TaskError(ThornbackError):
    """A task or actor method raised. ``get`` raises an instance that is also of the cause's own type.

    Attributes:
        name: the function or method.
        cause: the exception it raised (None if that cannot be pickled).
        traceback_text: the remote traceback, as text.
        where: process and node, for people.
    """

    def __init__(self, name: str, cause: BaseException | None, traceback_text: str, where: str = "") -> None:
        super().__init__(name, cause, traceback_text, where)
        self.name = name
        self.cause = cause
        self.traceback_text = traceback_text
        self.where = where

    def __reduce__(self) -> tuple[Any, ...]:
        return (TaskError, (self.name, self.cause, self.traceback_text, self.where))

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        return f"{self.name}{where} raised:\n{self.traceback_text.rstrip()}"

    def as_instance_of_cause(self) -> TaskError:
        """An equal error that is also an instance of the cause's type, where Python allows such a class."""
        cause = self.cause
        if cause is None or (isinstance(cause, ThornbackError) and type(cause) is TaskError):
            return self
        cause_type = type(cause)
        if issubclass(TaskError, cause_type) or not isinstance(cause, Exception):
            return self
        try:
            combined = _combined_type(cause_type)
            error = combined.__new__(combined)
            error.__dict__.update(getattr(cause, "__dict__", {}))
            for name in _SLOTS:
                if hasattr(cause, name):
                    setattr(error, name, getattr(cause, name))
            error.args = (self.name, cause, self.traceback_text, self.where)
            error.name, error.cause = self.name, cause
            error.traceback_text, error.where = self.traceback_text, self.where
        except TypeError:
            return self
        return error


_SLOTS = ("errno", "strerror", "filename", "filename2", "encoding", "object", "start", "end", "reason", "code", "value")
"""Attributes of built-in exceptions that are not in their ``__dict__``."""
_combined_types: dict[type, type[TaskError]] = {}


def _combined_type(cause_type: type) -> type[TaskError]:
    combined = _combined_types.get(cause_type)
    if combined is None:

        def reduce(self: TaskError) -> tuple[Any, ...]:
            return (_rebuild_combined, (self.name, self.cause, self.traceback_text, self.where))

        combined = type(
            f"TaskError({cause_type.__name__})",
            (TaskError, cause_type),
            {"__reduce__": reduce, "__str__": TaskError.__str__, "__module__": TaskError.__module__},
        )
        _combined_types[cause_type] = combined
    return combined


def _rebuild_combined(name: str, cause: BaseException | None, traceback_text: str, where: str) -> TaskError:
    return TaskError(name, cause, traceback_text, where).as_instance_of_cause()


class GetTimeoutError(ThornbackError, TimeoutError):
    """``get`` did not have all values in time."""


class TaskCancelledError(ThornbackError):
    """The task was cancelled with ``cancel``."""


class WorkerCrashedError(ThornbackError):
    """The worker that ran the task ended unexpectedly, and no retries were left."""


class NodeDiedError(WorkerCrashedError):
    """The node that ran the task died, and no retries were left."""


class OutOfMemoryError(WorkerCrashedError):
    """The worker that ran the task was ended to save the node's memory, and no retries were left."""


class OutOfDiskError(ThornbackError):
    """There is no room left to spill objects to."""


class ActorError(ThornbackError):
    """An actor cannot serve a call.

    Attributes:
        actor_id: hex id of the actor.
    """

    def __init__(self, message: str = "the actor ended unexpectedly", actor_id: str = "") -> None:
        super().__init__(message, actor_id)
        self.actor_id = actor_id

    def __str__(self) -> str:
        return str(self.args[0])


class ActorDiedError(ActorError):
    """The actor has ended and will not come back."""


class ActorUnavailableError(ActorError):
    """The actor is being restarted or cannot be reached; the call may or may not have run. A later call may succeed."""


class ObjectLostError(ThornbackError):
    """All copies of an object are gone and it cannot be rebuilt.

    Attributes:
        object_id: hex id of the object.
    """

    def __init__(self, message: str = "the object is lost", object_id: str = "") -> None:
        super().__init__(message, object_id)
        self.object_id = object_id

    def __str__(self) -> str:
        return str(self.args[0])


class OwnerDiedError(ObjectLostError):
    """The process that owned the object has ended, and the object with it."""


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost and its task cannot run again."""


class ObjectFreedError(ObjectLostError):
    """The object was freed by hand."""


class ObjectStoreFullError(ThornbackError):
    """The object fits neither into the node's shared memory nor on its disk."""


class RuntimeEnvSetupError(ThornbackError):
    """A runtime environment could not be made."""


class PendingCallsLimitExceeded(ThornbackError):
    """An actor with ``max_pending_calls`` has that many calls waiting."""


class TaskUnschedulableError(ThornbackError):
    """No node can ever run the task."""


class ActorUnschedulableError(ActorError):
    """No node can ever run the actor."""


class TaskPlacementGroupRemoved(ThornbackError):
    """The task's placement group was removed."""


class ActorPlacementGroupRemoved(ActorError):
    """The actor's placement group was removed."""


class AsyncioActorExit(ThornbackError):
    """Raised in an asyncio actor's method by ``exit_actor``."""


class ActorExit(BaseException):
    """Raised by ``exit_actor`` to unwind the method that called it."""


class SerializationError(ThornbackError, TypeError):
    """A value cannot be pickled; says which part of it."""


class DeserializationError(ThornbackError):
    """A value cannot be unpickled here; says the type and the reason."""


class SessionEndedError(ThornbackError):
    """The cluster (or its node process on this machine) has gone away."""
