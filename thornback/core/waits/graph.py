"""The graph of waits as a pure idea: what can never go on.

A subject waits for some of its needs: all of them (``get``), any one (a free worker), or a number (``wait``). This is
the *p-out-of-q* model of Knapp, *Deadlock detection in distributed databases* (ACM Computing Surveys 19(4), 1987,
section 2). Who is stuck is found by graph reduction, after Holt, *Some deadlock properties of computer systems* (ACM
Computing Surveys 4(3), 1972): whoever can go on does so, which counts for all that need it, until nobody is left that
can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from thornback.core.messages.waits import Reason, Subject

Graph: TypeAlias = Mapping[Subject, Reason]


def stuck(graph: Graph) -> dict[Subject, Reason]:
    """The subjects that wait for each other, or for such, whatever all others do; in the order of the graph.

    A need that the graph does not hold may go on, as far as anyone knows.
    """
    missing = {subject: min(reason.needed, len(reason.needs)) for subject, reason in graph.items()}
    waiting_for: dict[Subject, list[Subject]] = {}
    for subject, reason in graph.items():
        for need in reason.needs:
            if need in graph:
                waiting_for.setdefault(need, []).append(subject)
            else:
                missing[subject] -= 1
    going = [subject for subject, count in missing.items() if count <= 0]
    gone = dict.fromkeys(going)
    while going:
        for waiter in waiting_for.get(going.pop(), ()):
            missing[waiter] -= 1
            if missing[waiter] <= 0 and waiter not in gone:
                gone[waiter] = None
                going.append(waiter)
    return {subject: reason for subject, reason in graph.items() if subject not in gone}


def cycle(graph: Graph, start: Subject) -> list[Subject]:
    """A cycle of needs that is reached from ``start``, one of :func:`stuck`'s subjects; ``graph`` is its result.

    Each subject needs the next one, and the last needs the first.
    """
    places: dict[Subject, int] = {}
    path: list[Subject] = []
    here = start
    while here not in places:
        places[here] = len(path)
        path.append(here)
        here = next(need for need in graph[here].needs if need in graph)
    return path[places[here] :]


def knot(graph: Graph, member: Subject) -> dict[Subject, Reason]:
    """All that wait for ``member`` and that it waits for: its strongly connected component."""
    waiting: dict[Subject, list[Subject]] = {}
    for subject, reason in graph.items():
        for need in reason.needs:
            waiting.setdefault(need, []).append(subject)
    before = _reached(member, lambda subject: waiting.get(subject, ()))
    after = _reached(member, lambda subject: graph[subject].needs if subject in graph else ())
    return {subject: reason for subject, reason in graph.items() if subject in before and subject in after}


def _reached(start: Subject, following: Callable[[Subject], Sequence[Subject]]) -> dict[Subject, None]:
    reached = {start: None}
    open_now = [start]
    while open_now:
        for subject in following(open_now.pop()):
            if subject not in reached:
                reached[subject] = None
                open_now.append(subject)
    return reached


def still(before: Graph, after: Graph) -> dict[Subject, Reason]:
    """What waited all the time between two walks, of which the second began when the first had ended.

    A subject whose needs and start are the same in both has not gone on in between. At the moment between the walks,
    all that is returned was therefore true at once, although every process was asked at another time: a cycle in it is
    no illusion. (Two-phase detection, Ho and Ramamoorthy, *Protocols for deadlock detection in distributed database
    systems*, IEEE TSE SE-8(6), 1982, made sound by the identity of each wait.)
    """
    kept: dict[Subject, Reason] = {}
    for subject, reason in after.items():
        known = before.get(subject)
        if known is not None and type(known) is type(reason) and _identity(known) == _identity(reason):
            kept[subject] = reason
    return kept


def _identity(reason: Reason) -> tuple[object, ...]:
    return reason.needs, reason.needed, reason.since
