"""Sentences about waits: pure functions from reasons to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch

from thornback.core.config import SECOND
from thornback.core.ids import TASK_ID_SIZE, NodeId, node_of, short
from thornback.core.messages.waits import (
    ACTOR,
    COPY,
    GROUP,
    HOLDER,
    LEASE,
    PROCESS,
    TASK,
    ActorComing,
    ActorThere,
    ActorWanted,
    ArgumentsMissing,
    Backoff,
    Blocked,
    CopyComing,
    EarlierCall,
    Finished,
    GroupComing,
    GroupWanted,
    Holding,
    IdleActor,
    Infeasible,
    Queued,
    QuotaUsedUp,
    Reason,
    ResourcesMissing,
    Running,
    Sent,
    Subject,
    Unknown,
    WorkerStarting,
    WorkerWanted,
)
from thornback.core.resources import describe
from thornback.core.waits.walk import Found

Chain = Sequence[tuple[Subject, Found]]
"""From what waits to the root of it; each step is one that the step before it needs."""
Names = Mapping[NodeId, str]
"""Names of nodes."""
SHOWN = 4
"""Holders that a sentence names."""


class _Step:
    """One step of a chain, with what a clause about it may mention."""

    def __init__(self, subject: Subject, found: Found, next_title: str, names: Names) -> None:
        self.subject = subject
        self.next_title = next_title
        self.lasted = f" for {found.lasted / SECOND:.1f} s" if found.lasted >= SECOND // 10 else ""
        self._names = names

    def node(self, node_id: bytes) -> str:
        """The name of a node, or of the node of a process."""
        return self._names.get(node_of(node_id), short(node_of(node_id)))

    @property
    def here(self) -> str:
        """The node of the process that has answered."""
        return self.node(self.subject.at)


def explain(chain: Chain, names: Names) -> str:
    """One sentence: what the first of the chain waits for, down to the root of it."""
    text = _title(*chain[0], names)
    joint = " "
    for position, (subject, found) in enumerate(chain):
        following = _title(*chain[position + 1], names) if position + 1 < len(chain) else ""
        clause = _clause(found.reason, _Step(subject, found, following, names))
        if clause:
            text += joint + clause
        if position + 1 < len(chain):
            same = _is_same(subject, chain[position + 1][0])
            joint = joint if not clause and same else " and " if same else ", which "
    return text


def cycle_text(chain: Chain, names: Names) -> str:
    """What to tell people of a cycle: who waits for whom, where, and what helps."""
    lines = ["these wait for each other and will never go on:"]
    for position, (subject, found) in enumerate(chain):
        following = _title(*chain[(position + 1) % len(chain)], names)
        clause = _clause(found.reason, _Step(subject, found, following, names))
        if clause:
            lines.append(f"  - {_title(subject, found, names)} {clause}")
    if any(isinstance(found.reason, (ResourcesMissing, GroupComing)) for _, found in chain):
        lines.append(
            "They hold what the others need. Ask for less (num_cpus=0 for an actor that only coordinates), make first "
            "what all need, end actors and placement groups that are done, or add a node."
        )
    else:
        lines.append(
            "A task must not wait for one that waits for it: return a reference instead of waiting for its value, or "
            "let the actor take calls meanwhile (async methods, max_concurrency, concurrency groups)."
        )
    return "\n".join(lines)


def _title(subject: Subject, found: Found, names: Names) -> str:
    name, identifier = found.reason.name, subject.identifier
    if subject.kind == PROCESS:
        return name or f"process {_id(identifier, names)}"
    if subject.kind == LEASE:
        return name or "it"
    if subject.kind == HOLDER:
        return f"actor {name}" if isinstance(found.reason, IdleActor) else name
    if subject.kind == ACTOR:
        return f"actor {name} ({_id(identifier, names)})" if name else f"actor {_id(identifier, names)}"
    if subject.kind == GROUP:
        return f"placement group {name or _id(identifier, names)}"
    task = identifier[:TASK_ID_SIZE]
    return f"{name} ({_id(task, names)})" if name else f"object {_id(identifier, names)}"


def _id(identifier: bytes, names: Names) -> str:
    """As :func:`short`, with the name of the node."""
    node, _, rest = short(identifier).partition(".")
    return f"{names.get(node_of(identifier), node)}.{rest}"


def _is_same(subject: Subject, following: Subject) -> bool:
    """Whether the next step tells more of the same thing."""
    if following.kind in (LEASE, COPY):
        return True
    return following.kind == TASK and following.identifier == subject.identifier[:TASK_ID_SIZE]


@singledispatch
def _clause(reason: Reason, step: _Step) -> str:
    """What a subject does or waits for, as it follows its name; empty if the next step says it all."""
    return ""


@_clause.register
def _(reason: Unknown, step: _Step) -> str:
    return reason.why


@_clause.register
def _(reason: Finished, step: _Step) -> str:
    if step.subject.kind == GROUP:
        return f"has its place on {', '.join(dict.fromkeys(map(step.node, reason.nodes)))}"
    if reason.failed:
        return "has failed; get() raises its error"
    if not reason.nodes:
        return "is done"
    return f"is done; its {reason.size:,} bytes are on {', '.join(map(step.node, reason.nodes))}"


@_clause.register
def _(reason: ArgumentsMissing, step: _Step) -> str:
    if len(reason.needs) == reason.arguments == 1:
        return f"waits for its argument {step.next_title}"
    return f"waits for {len(reason.needs)} of its {reason.arguments} arguments, first for {step.next_title}"


@_clause.register
def _(reason: Backoff, step: _Step) -> str:
    return f"has failed and starts again by itself in a moment, as attempt {reason.attempt + 1}"


@_clause.register
def _(reason: WorkerWanted, step: _Step) -> str:
    if step.next_title and reason.needs[0].kind == LEASE:
        return ""
    behind = f" behind {reason.ahead:,} others" if reason.ahead else ""
    busy = f", until {step.next_title} has ended" if step.next_title else ""
    return f"waits for a worker{behind}{busy}"


@_clause.register
def _(reason: GroupWanted, step: _Step) -> str:
    return f"waits for the place of {step.next_title or 'its placement group'}"


@_clause.register
def _(reason: Sent, step: _Step) -> str:
    if reason.rebuilding:
        return "is made again, since its value was lost,"
    return "" if step.next_title else "is on its way to a worker"


@_clause.register
def _(reason: ActorWanted, step: _Step) -> str:
    return f"waits for {step.next_title or 'its actor'}"


@_clause.register
def _(reason: EarlierCall, step: _Step) -> str:
    return f"waits until the earlier call {step.next_title} can be sent to the same actor"


@_clause.register
def _(reason: Running, step: _Step) -> str:
    where = "" if reason.is_driver else f" on {step.here}"
    process = f" in process {reason.pid}" if reason.pid else ""
    return f"runs{where}{process}{step.lasted}"


@_clause.register
def _(reason: Blocked, step: _Step) -> str:
    where = "" if reason.is_driver else f"runs on {step.here} and "
    many = f" for {reason.total:,} values, first" if reason.total > 1 else ""
    target = f"{many} for {step.next_title}" if step.next_title else many
    origin = f" (.remote() at {reason.origin})" if reason.origin else ""
    timeout = " with a timeout" if reason.has_timeout else ""
    site = f" at {reason.site}" if reason.site else ""
    return f"{where}waits{step.lasted} in {reason.call}{timeout}{site}{target}{origin}"


@_clause.register
def _(reason: Queued, step: _Step) -> str:
    at_a_time = "one call" if reason.limit == 1 else f"{reason.limit} calls"
    return f"waits in the queue of its worker, which runs {at_a_time} at a time, behind {step.next_title or 'others'}"


@_clause.register
def _(reason: ResourcesMissing, step: _Step) -> str:
    node = step.node(reason.node)
    behind = f" behind {reason.ahead:,} like it" if reason.ahead else ""
    if all(reason.free.get(name, 0) >= amount for name, amount in reason.demand.items()):
        kept = f", where room is kept for {reason.kept_for}, which has waited longer" if reason.kept_for else ""
        return f"waits{behind} for its turn on {node}{kept}"
    free = f"{node} has {describe(reason.free)} of {describe(reason.total)} free"
    others = ""
    if reason.others:
        count = "the other node has not" if reason.others == 1 else f"of the {reason.others} other nodes none has"
        others = f", and {count} more than {describe(reason.freest_has)} ({step.node(reason.freest)})"
    held = f"; held by {_holders(reason.holdings)}" if reason.holdings else ""
    return f"waits{behind} until {describe(reason.demand)} is free: {free}{others}{held}"


def _holders(holdings: Sequence[Holding]) -> str:
    texts = [
        f"{'actor ' if each.is_actor else 'placement group ' if each.is_group else ''}{each.name} "
        f"{describe(each.resources)}" + (f" of job {each.job_id}" if each.job_id else "")
        for each in holdings[:SHOWN]
    ]
    more = len(holdings) - SHOWN
    return ", ".join(texts) + (f" and {more} more" if more > 0 else "")


@_clause.register
def _(reason: WorkerStarting, step: _Step) -> str:
    return f"has its resources on {step.node(reason.node)}, where a worker process starts{step.lasted}"


@_clause.register
def _(reason: QuotaUsedUp, step: _Step) -> str:
    return (
        f"needs {describe(reason.demand)}, and its job has used up its quota {describe(reason.quota)}; it can run when "
        "something else of the job has ended"
    )


@_clause.register
def _(reason: Infeasible, step: _Step) -> str:
    return f"can never run on the present nodes: {reason.why}"


@_clause.register
def _(reason: ActorComing, step: _Step) -> str:
    if reason.restarting:
        return f"is being made again ({reason.why})"
    return "is being made"


@_clause.register
def _(reason: ActorThere, step: _Step) -> str:
    return "is alive and waits for calls"


@_clause.register
def _(reason: GroupComing, step: _Step) -> str:
    if not reason.needs:
        return f"is about to get its place: {reason.why or 'there is room'}"
    again = "lost nodes and " if reason.state == "RESCHEDULING" else ""
    return f"{again}waits for room: {reason.why}"


@_clause.register
def _(reason: IdleActor, step: _Step) -> str:
    return "does nothing, but keeps its resources until its last handle is gone"


@_clause.register
def _(reason: CopyComing, step: _Step) -> str:
    node = step.node(step.subject.at)
    if reason.step == "pulling":
        return f"is on its way to {node}, where {reason.received:,} of {reason.size:,} bytes have come"
    if reason.step == "restoring":
        return f"is read back from the disk of {node}"
    if reason.step == "writing":
        return f"is being written on {node}"
    return (
        f"waits for room for {reason.size:,} bytes in the shared memory of {node} ({reason.capacity:,} bytes), "
        "until readers let go of other objects or these are on disk"
    )
