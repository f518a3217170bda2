"""Finds tasks and actors that wait for each other for ever, and tells the driver, once.

Processes report what waits in them for long (:class:`thornback.core.waits.blocked.BlockedThreads`). The GCS then walks
from there through the graph of waits, and if something in it can never go on, walks again: only what waited all the
time counts (:func:`thornback.core.waits.graph.still`). What does not answer, since it has died or is cut off, counts as
something that may go on. Nothing of this happens while no wait lasts long.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from thornback.core.config import SECOND
from thornback.core.ids import GCS, Address
from thornback.core.messages import AskReasons, ReasonsGiven, ReportWaits, WaitCycleFound
from thornback.core.messages.waits import Blocked, Reason, Subject
from thornback.core.waits.graph import cycle, knot, still, stuck
from thornback.core.waits.sentences import cycle_text
from thornback.core.waits.walk import Walk

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

logger = logging.getLogger("thornback")

ANSWER_LIMIT = 5 * SECOND
"""How long one round of questions may take before those who have not answered are left out."""
LOOKS_PER_CHECK = 5
"""Looks per ``wait_check`` at the most, however much is reported."""
MOST_ROOTS = 1000
"""Waits that one look begins with; others are reported again."""
TOLD = 10_000
"""Waits of known cycles that are remembered, so that a cycle is told once."""


class WaitCycles:
    """One look at a time: two walks, then the verdict."""

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.clock = gcs.ports.clock
        self.transport = gcs.ports.transport
        self._pause = gcs.config.wait_check // LOOKS_PER_CHECK
        self._scheduled = False
        self._reported: dict[Subject, None] = {}
        self._walk: Walk | None = None
        self._first: dict[Subject, Reason] | None = None
        """What the first walk of the present look has found."""
        self._asked: dict[int, list[Subject]] = {}
        self._request = 0
        self._told: dict[tuple[Subject, int], None] = {}

    def on_report_waits(self, sender: Address, message: ReportWaits) -> None:
        """Something waits for long."""
        for subject in message.subjects:
            if len(self._reported) < MOST_ROOTS:
                self._reported[subject] = None
        self._look_soon()

    def _look_soon(self) -> None:
        """Look after a pause, so that what is reported at about the same time is looked at together."""
        if self._reported and self._walk is None and not self._scheduled:
            self._scheduled = True
            self.clock.call_after(self._pause, self._look)

    def _look(self) -> None:
        self._scheduled = False
        roots, self._reported = self._reported, {}
        self._first = None
        self._begin(roots)

    def _begin(self, roots: dict[Subject, None] | dict[Subject, Reason]) -> None:
        self._walk = Walk(roots)
        self._ask(self._walk)

    def _ask(self, walk: Walk) -> None:
        """Ask on; what the GCS knows itself it answers at once."""
        while True:
            questions = walk.questions()
            own = questions.pop(GCS, [])
            for address, subjects in questions.items():
                self._request += 1
                self._asked[self._request] = subjects
                self.transport.send(address, AskReasons(self._request, tuple(subjects)))
            if not own:
                break
            walk.answered(own, [self.gcs.reasons.reason_for(subject) for subject in own], self.clock.now())
        if walk.done:
            self._walked(walk)
        elif questions:
            newest = self._request
            self.clock.call_after(ANSWER_LIMIT, lambda: self._too_late(walk, newest))

    def on_reasons_given(self, sender: Address, message: ReasonsGiven) -> None:
        """A process or node has answered."""
        subjects = self._asked.pop(message.request, None)
        if subjects is not None and self._walk is not None:
            self._walk.answered(subjects, message.reasons, message.now)
            self._ask(self._walk)

    def _too_late(self, walk: Walk, newest: int) -> None:
        late = [request for request in self._asked if request <= newest]
        if self._walk is not walk or not late:
            return
        for request in late:
            walk.give_up(self._asked.pop(request))
        self._ask(walk)

    def _walked(self, walk: Walk) -> None:
        reasons = walk.reasons
        found = stuck(reasons)
        if self._first is None and found:
            self._first = found
            self._begin(found)
            return
        first, self._walk, self._first = self._first, None, None
        if first is not None and found:
            self._judge(stuck(still(first, found)), walk)
        self._look_soon()

    def _judge(self, graph: dict[Subject, Reason], walk: Walk) -> None:
        """Tell of every knot that nobody was told of, by one of its cycles."""
        while graph:
            start = next((subject for subject, reason in graph.items() if isinstance(reason, Blocked)), None)
            if start is None:
                return
            found = _oldest_first(cycle(graph, start), walk)
            together = knot(graph, found[0])
            waits = [(subject, reason.since) for subject, reason in together.items() if isinstance(reason, Blocked)]
            if waits and not any(wait in self._told for wait in waits):
                self._tell(found, walk)
            for wait in waits:
                self._told[wait] = None
            while len(self._told) > TOLD:
                del self._told[next(iter(self._told))]
            graph = _without(graph, together)

    def _tell(self, found: list[Subject], walk: Walk) -> None:
        names = {node.node_id: node.name for node in self.gcs.nodes.view.nodes.values()}
        chain = [(subject, walk.found[subject]) for subject in found]
        text = cycle_text(chain, names)
        jobs = [found.reason.job_id for _, found in chain if isinstance(found.reason, Blocked)]
        told = False
        for job_id in dict.fromkeys(jobs):
            job = self.gcs.jobs.table.get(job_id)
            if job is not None and job.ended is None:
                self.transport.send(job.driver, WaitCycleFound(text))
                told = True
        if not told:
            logger.warning("%s", text)
        if self.gcs.ports.trace.enabled:
            self.gcs.ports.trace.event("waits.cycle", found[0].identifier, len(found))


def _oldest_first(found: list[Subject], walk: Walk) -> list[Subject]:
    """The cycle, beginning with the user code that has waited longest."""
    blocked = [subject for subject in found if isinstance(walk.found[subject].reason, Blocked)]
    if not blocked:
        return found
    first = found.index(max(blocked, key=lambda subject: walk.found[subject].lasted))
    return found[first:] + found[:first]


def _without(graph: dict[Subject, Reason], gone: dict[Subject, Reason]) -> dict[Subject, Reason]:
    """What has a cycle of its own besides those that are gone."""
    rest = {subject: reason for subject, reason in graph.items() if subject not in gone}
    changed = True
    while changed:
        kept = {subject: reason for subject, reason in rest.items() if any(need in rest for need in reason.needs)}
        changed, rest = len(kept) < len(rest), kept
    return rest
