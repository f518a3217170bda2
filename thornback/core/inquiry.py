"""Why something does not go on: what user threads ask, and how the answers are put together. As
:mod:`thornback.core.blocking`, outside of any turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thornback.core import blocking
from thornback.core.ids import GCS, Address, NodeId, short
from thornback.core.messages import AskReasons, ReasonsGiven
from thornback.core.messages.waits import (
    COPY,
    OBJECT,
    ActorComing,
    ActorWanted,
    ArgumentsMissing,
    Backoff,
    Blocked,
    CopyComing,
    EarlierCall,
    Finished,
    GroupComing,
    GroupWanted,
    Infeasible,
    Queued,
    QuotaUsedUp,
    Reason,
    ResourcesMissing,
    Subject,
    Unknown,
    WorkerStarting,
    WorkerWanted,
)
from thornback.core.runtime import Runtime, Waiter
from thornback.core.waits.sentences import Chain, explain
from thornback.core.waits.walk import Found, Walk

ANSWER_LIMIT = 5.0
"""Seconds that a process may take to answer; one that does not is left out."""
LOOK_AGAIN = 0.1
"""Seconds between two looks whether the process that is asked has ended."""
ATTEMPTS = 3
"""Walks that are tried when processes end meanwhile."""
ROUNDS = 100
"""Longest chain of waits that is followed."""
LOOKED_AT = 8
"""Needs of one reason that are looked at, to follow the one that has most behind it."""


def root_first(reason: Reason) -> Sequence[Subject]:
    """The needs that are worth following for a sentence: it names holders of resources, but does not follow them."""
    if isinstance(reason, ResourcesMissing):
        return ()
    return reason.needs[: LOOKED_AT if isinstance(reason, (ArgumentsMissing, Blocked)) else 1]


def collect(runtime: Runtime, roots: Sequence[Subject]) -> Walk:
    """Ask everybody who knows something of what the roots wait for; anew, if one of them ends meanwhile."""
    for _ in range(ATTEMPTS):
        walk, ended = _walk(runtime, roots)
        if not ended:
            break
    return walk


def _walk(runtime: Runtime, roots: Sequence[Subject]) -> tuple[Walk, bool]:
    """One walk, and whether a process has ended while it was asked."""
    walk = Walk(roots, root_first)
    ended = False
    for _ in range(ROUNDS):
        for address, subjects, waiter in _ask(runtime, walk.questions()):
            answer = _await(runtime, address, waiter)
            if answer is not None:
                walk.answered(subjects, answer.reasons, answer.now)
            else:
                ended = ended or _is_dead(runtime, address)
                walk.give_up(subjects)
        if walk.done:
            break
    return walk, ended


def _ask(runtime: Runtime, questions: dict[Address, list[Subject]]) -> list[tuple[Address, list[Subject], Waiter]]:
    core = runtime.core
    asked = []
    with runtime.turn:
        for address, subjects in questions.items():
            waiter = Waiter()
            if address == core.worker_id:
                waiter.complete(core.reasons.answer(AskReasons(0, tuple(subjects))))
            elif core.owner.references.is_dead(address):
                ended = Unknown(why=f"is gone: process {short(address)}, which knew of it, has ended")
                waiter.complete(ReasonsGiven(0, 0, (ended,) * len(subjects)))
            else:
                core.owner.references.peers.depend_on(address)
                waiter = core.owner.request(address, AskReasons, tuple(subjects))
            asked.append((address, subjects, waiter))
    return asked


def _await(runtime: Runtime, address: Address, waiter: Waiter) -> ReasonsGiven | None:
    """The answer of a process; None if it ends, or takes too long."""
    for _ in range(int(ANSWER_LIMIT / LOOK_AGAIN)):
        if runtime.block(waiter, LOOK_AGAIN):
            answer: ReasonsGiven = waiter.result
            return answer
        if _is_dead(runtime, address):
            break
    return None


def _is_dead(runtime: Runtime, address: Address) -> bool:
    return address != GCS and runtime.core.owner.references.is_dead(address)


def chain_of(walk: Walk, root: Subject) -> list[tuple[Subject, Found]]:
    """From a root to what is behind it all, as far as it is known; a cycle is followed once round."""
    chain: list[tuple[Subject, Found]] = []
    met: dict[Subject, None] = {}
    here: Subject | None = root
    while here is not None and here in walk.found and here not in met:
        met[here] = None
        found = walk.found[here]
        chain.append((here, found))
        known = [need for need in root_first(found.reason) if need in walk.found]
        pending = [need for need in known if not isinstance(walk.found[need].reason, (Finished, Unknown))]
        here = next(iter(pending or known), None)
    if here is not None and here in met:
        chain.append((here, Found(Unknown(name=walk.found[here].reason.name, why="is where this began: a cycle"), 0)))
    return chain


def node_names(runtime: Runtime) -> dict[NodeId, str]:
    """What people call the nodes."""
    return {node.node_id: node.name for node in blocking.view(runtime)}


def why(runtime: Runtime, root: Subject) -> str:
    """One sentence: what something waits for, and what would let it go on."""
    chain = chain_of(collect(runtime, [root]), root)
    reason = chain[-1][1].reason
    if root.kind == OBJECT and isinstance(reason, Finished) and reason.nodes and len(chain) == 1:
        here = Subject(runtime.core.node_id, COPY, root.identifier)
        copy = collect(runtime, [here]).found[here]
        if isinstance(copy.reason, CopyComing):
            chain.append((here, copy))
    return explain(chain, node_names(runtime))


def waits(runtime: Runtime) -> list[dict[str, Any]]:
    """All that waits in the cluster, as rows: how many, of which name and job, and why in one sentence."""
    nodes = blocking.view(runtime)
    alive = [node.node_id for node in nodes if node.alive]
    listed = blocking.query_at(runtime, [(node, "processes") for node in alive], ANSWER_LIMIT)
    processes = [bytes.fromhex(row["process"]) for rows in listed for row in rows]
    questions = [(address, "waits") for address in (GCS, *processes) if address != runtime.core.worker_id]
    rows = [row for found in blocking.query_at(runtime, questions, ANSWER_LIMIT) for row in found]
    roots = [Subject(bytes.fromhex(row["at"]), row["kind"], bytes.fromhex(row["identifier"])) for row in rows]
    walk = collect(runtime, roots)
    names = {node.node_id: node.name for node in nodes}
    found: dict[tuple[object, ...], dict[str, Any]] = {}
    for row, root in zip(rows, roots, strict=True):
        chain = chain_of(walk, root)
        if _waits(chain):
            last = chain[-1][1].reason
            key = (row["job_id"], row["name"], tuple(type(step.reason).__name__ for _, step in chain), last.name)
            known = found.get(key)
            if known is not None:
                known["count"] += row["count"]
                continue
            found[key] = {
                "count": row["count"],
                "name": row["name"],
                "job_id": row["job_id"],
                "reason": _kind_of(chain),
                "sentence": explain(chain, names),
            }
    return list(found.values())


def _waits(chain: Chain) -> bool:
    """Whether something waits, rather than runs, is done, or is about to start."""
    return any(reason_name(found.reason) for _, found in chain)


REASONS: dict[type[Reason], str] = {
    ArgumentsMissing: "arguments",
    Backoff: "retry",
    WorkerWanted: "worker",
    GroupWanted: "placement group",
    ActorWanted: "actor",
    EarlierCall: "earlier call",
    Blocked: "blocked",
    Queued: "busy worker",
    ResourcesMissing: "resources",
    WorkerStarting: "worker start",
    QuotaUsedUp: "quota",
    Infeasible: "infeasible",
    ActorComing: "actor",
    GroupComing: "placement group",
    CopyComing: "object",
}
"""What kinds of waits are called in tables."""


def reason_name(reason: Reason) -> str:
    """The kind of a wait; empty for what does not wait."""
    return REASONS.get(type(reason), "")


def _kind_of(chain: Chain) -> str:
    """The wait of the first of the chain: what is told first of it, or for a request of its own the reason of that."""
    kinds = [reason_name(found.reason) for _, found in chain if reason_name(found.reason)]
    own = [kind for kind in kinds if kind != "worker"]
    return (own or kinds)[0]
