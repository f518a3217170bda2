"""The owner: one per process, the hub of the parts in this package."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec

from thornback.core.config import Config
from thornback.core.gcs_client import GcsClient
from thornback.core.ids import (
    TASK_ID_SIZE,
    Address,
    JobId,
    ObjectId,
    WorkerId,
    index_of,
    is_node,
    node_of,
    return_id,
    short,
    task_id,
)
from thornback.core.messages import (
    ActorSpec,
    Content,
    Dependency,
    DrainAnswered,
    GroupFound,
    HandoversReviewed,
    JobStarted,
    JobTerms,
    Message,
    NamedActor,
    QueryState,
    ReviewHandovers,
    StateRows,
    TaskTemplate,
    ViewDelta,
)
from thornback.core.owner import ledger
from thornback.core.owner.actors import Actors
from thornback.core.owner.blocks import Blocks
from thornback.core.owner.cancellation import Cancellation
from thornback.core.owner.groups import Groups
from thornback.core.owner.keys import Keys
from thornback.core.owner.leases import Leases
from thornback.core.owner.maker import Maker
from thornback.core.owner.objects import Objects
from thornback.core.owner.reasons import OwnerReasons
from thornback.core.owner.references import Reference, ReferenceTable
from thornback.core.owner.sites import CallSites
from thornback.core.owner.speculation import Speculation
from thornback.core.owner.streams import Streams
from thornback.core.owner.tasks import Tasks
from thornback.core.owner.writing import Writing
from thornback.core.ports import ObjectMemory, Ports
from thornback.core.runtime import Waiter
from thornback.core.serialization import covering

logger = logging.getLogger("thornback")


class Owner:
    """What one process has submitted, owns and borrows.

    Attributes:
        parts: the components of this process that take messages, besides the owner itself.
        dropped: ids of references, and of generators (their task ids), that were collected; appended from any thread,
            settled in :meth:`end_turn`.
    """

    def __init__(self, worker_id: WorkerId, ports: Ports, memory: ObjectMemory, config: Config, job_id: JobId) -> None:
        self.worker_id = worker_id
        self.node_id = node_of(worker_id)
        self.ports = ports
        self.config = config
        self.job_id = job_id
        self.namespace = ""
        self.terms = JobTerms()
        self.counter = 0
        """Makes the ids of tasks, puts and leases of this process."""
        self.dropped: deque[ObjectId] = deque()
        self.arrived: deque[tuple[Sequence[ObjectId], ObjectId | list[ObjectId] | None]] = deque()
        """References that were made from bytes, with what keeps them alive; as ``dropped``, and settled before."""
        self.references = ReferenceTable(worker_id, ports.transport, self._released, self._forgotten)
        self.objects = Objects(
            self.references,
            ports,
            lambda reference: self.tasks.lineage.recover(reference),
            lambda object_id: self.tasks.is_running(object_id),
        )
        self.blocks = Blocks(self.objects, ports, memory, config)
        self.gcs = GcsClient(ports, config)
        self.gcs.returned = self._gcs_returned
        self.writing = Writing(self.node_id, ports.transport)
        self.streams = Streams(self)
        self.actors = Actors(self)
        self.groups = Groups(self)
        self.maker = Maker(self)
        self.keys = Keys(self)
        self.leases = Leases(self, config)
        self.speculation = Speculation(self)
        self.tasks = Tasks(self, config)
        self.cancellation = Cancellation(self)
        self.parts = (
            self.gcs,
            self.references,
            self.references.handovers,
            self.objects,
            self.blocks,
            self.writing,
            self.streams,
            self.actors,
            self.actors.log,
            self.groups,
            self.maker,
            self.keys,
            *self.leases.parts,
            self.tasks,
            self.cancellation,
        )
        self.captured: dict[bytes, TaskTemplate] = {}
        """Templates of functions that tasks in placement groups call, within their groups."""
        self.sites = CallSites()
        self._requests: dict[int, Waiter] = {}
        self._views: list[Waiter] = []
        self._job = Waiter()
        self._warned: dict[str, None] = {}

    # --- Turns

    @property
    def urgent(self) -> bool:
        """Whether something queued here could start at once on an idle worker."""
        return self.leases.urgent or self.actors.urgent

    @property
    def is_needed(self) -> bool:
        """Whether others would lose something with this process: objects that they use, tasks or actors."""
        return (
            self.tasks.unfinished > 0
            or any(not creation.spec.detached for creation in self.actors.creations.values())
            or any(reference.owned and reference.borrowers for reference in self.references.table.values())
        )

    def end_turn(self) -> None:
        """Settle collected references, then send what is ready to go."""
        if self.dropped or self.arrived or self.blocks.views_ended:
            self.settle()
        if self.actors.dirty:
            self.actors.end_turn()
        if self.leases.dirty:
            self.leases.end_turn()

    def settle(self) -> None:
        """Settle references and views that were collected, in the order of their ids."""
        dropped, arrived = self.dropped, self.arrived
        while dropped or arrived:
            gone = [dropped.popleft() for _ in range(len(dropped))]
            if arrived:
                gone = self._references_arrived(gone)
            for identifier in sorted(self.references.dropped_last(gone)):
                if len(identifier) == TASK_ID_SIZE:
                    self.streams.close(identifier)
                else:
                    self.references.settle_id(identifier)
        self.blocks.end_turn()

    def _released(self, reference: Reference) -> None:
        if self.blocks.table:
            self.blocks.forgotten(reference.object_id)
        self.objects.value_released(reference)
        if self.actors.creations:
            actor_id = reference.object_id[:TASK_ID_SIZE]
            if actor_id in self.actors.creations and index_of(reference.object_id) == 0:
                self.actors.handle_released(actor_id)

    def _forgotten(self, reference: Reference) -> None:
        if self.blocks.table:
            self.blocks.forgotten(reference.object_id)
        if reference.owned:
            self.tasks.lineage.return_forgotten(reference)
        if self.actors.clients and reference.object_id[:TASK_ID_SIZE] in self.actors.clients:
            self.actors.handle_forgotten(reference.object_id[:TASK_ID_SIZE])

    def process_died(self, address: Address, reason: str) -> None:
        """A process, or with a NodeId a whole node, has ended for good."""
        if self.references.is_dead(address):
            return
        self.references.process_died(address)
        self.objects.process_died(address)
        if is_node(address):
            self.leases.process_died(address, reason)
        self.actors.process_died(address)
        self.groups.process_died(address)

    def on_review_handovers(self, sender: Address, message: ReviewHandovers) -> None:
        """An owner asks what a process that has ended still gave us: nothing after this."""
        self.process_died(message.giver, "it has ended")
        self.ports.transport.send(sender, HandoversReviewed(message.giver))

    def on_query_state(self, sender: Address, message: QueryState) -> None:
        """Somebody wants to see what this process refers to."""
        tables = {"references": lambda: ledger.rows(self), "waits": OwnerReasons(self).rows}
        rows = tables.get(message.table, list)()
        self.ports.transport.send(sender, StateRows(message.request, json.dumps(rows).encode()))

    # --- References

    def new_object(self, origin: str = "") -> Reference:
        """A reference to an object that user code puts.

        Args:
            origin: where, for people.
        """
        self.counter += 1
        object_id = return_id(task_id(self.worker_id, self.counter), 0)
        return self.references.new_owned(object_id, 1, origin, self.ports.clock.now())

    def put(self, reference: Reference, content: Content) -> None:
        """The content of :meth:`new_object`; what it contains is held."""
        for object_id in content.contained:
            self.references.hold(object_id)
        self.objects.set_content(reference, content)

    def references_deserialized(self, object_ids: Sequence[ObjectId]) -> None:
        """Reference objects were made from bytes: count them, and make this process a borrower in time. Called from
        any thread, outside of turns: it only enqueues."""
        cover = covering.get()
        if cover.__class__ is list:
            cover.extend(object_ids)
        self.arrived.append((object_ids, cover))

    def _references_arrived(self, gone: list[ObjectId]) -> list[ObjectId]:
        """Count what has arrived. Returns ``gone`` without those that have come and gone since the last turn, which
        are not counted at all: nobody need know of them."""
        arrived, table = self.arrived, self.references.table
        came = [arrived.popleft() for _ in range(len(arrived))]
        brief = _common(list(chain.from_iterable(object_ids for object_ids, _ in came)), gone)
        for object_ids, cover in came:
            for object_id in object_ids:
                if object_id in brief:
                    continue
                reference = table.get(object_id)
                if reference is not None and (reference.registrations > 0 or reference.owned):
                    reference.local += 1
                else:
                    self._reference_arrived(object_id, cover)
        return [object_id for object_id in gone if object_id not in brief]

    def _reference_arrived(self, object_id: ObjectId, cover: ObjectId | list[ObjectId] | None) -> None:
        reference = self.references.lookup(object_id)
        reference.local += 1
        if reference.owned or isinstance(cover, list):
            return
        if cover is None:
            self.references.register(reference, _nothing)
        else:
            self.references.hold(cover)
            self.references.register(reference, lambda: self.references.release(cover))

    def reference_exported(self, object_id: ObjectId) -> None:
        """User code pickled a reference on its own: nobody can tell when those bytes are gone, so the object stays as
        long as this process."""
        reference = self.references.hold(object_id)
        if self.ports.trace.enabled:
            self.ports.trace.event("reference.exported", object_id, self.worker_id)
        self.references.register(reference, _nothing)

    def dependencies_of(self, object_ids: Sequence[ObjectId]) -> tuple[Dependency, ...]:
        """Resolved references as they travel."""
        found = ((object_id, self.references.lookup(object_id).content) for object_id in object_ids)
        return tuple(Dependency(object_id, content) for object_id, content in found if content is not None)

    @staticmethod
    def with_dependencies(spec: ActorSpec, dependencies: tuple[Dependency, ...]) -> ActorSpec:
        """The specification with its resolved arguments."""
        return msgspec.structs.replace(spec, dependencies=dependencies)

    # --- Waiting

    def when_known(self, object_ids: Iterable[ObjectId], count: int) -> Waiter:
        """Completes when ``count`` of the objects have a content; :meth:`forget_waiter` it if that is not awaited."""
        missing = []
        for object_id in object_ids:
            reference = self.references.lookup(object_id)
            if reference.content is None:
                missing.append(reference)
            else:
                count -= 1
        waiter = Waiter(count)
        if not waiter.done:
            for reference in missing:
                self.objects.watch(reference, waiter.known)
        return waiter

    def forget_waiter(self, object_ids: Iterable[ObjectId], waiter: Waiter) -> None:
        """Nobody waits for it any more."""
        self.objects.unwatch(object_ids, waiter.known)

    # --- The GCS

    def _gcs_returned(self) -> None:
        """There is another GCS, which knows nobody's subscriptions."""
        self.actors.subscribe_again()
        self.groups.subscribe_again()

    def request(self, to: Address, make: type[Message], *fields: object) -> Waiter:
        """Send a message whose first field is a request number; completes with the answer."""
        self.counter += 1
        number = self.counter
        waiter = self._requests[number] = Waiter()
        self.gcs.tell(to, make(number, *fields))
        return waiter

    def answered(self, number: int, answer: Message) -> None:
        """An answer to :meth:`request` has come; late ones are ignored."""
        waiter = self._requests.pop(number, None)
        if waiter is not None:
            waiter.complete(answer)

    def on_state_rows(self, sender: Address, message: StateRows) -> None:
        """Answer to QueryState."""
        self.answered(message.request, message)

    def on_named_actor(self, sender: Address, message: NamedActor) -> None:
        """Answer to GetNamedActor."""
        self.answered(message.request, message)

    def on_drain_answered(self, sender: Address, message: DrainAnswered) -> None:
        """Answer to DrainNode."""
        self.answered(message.request, message)

    def on_group_found(self, sender: Address, message: GroupFound) -> None:
        """Answer to FindGroup."""
        self.answered(message.request, message)

    def await_view(self) -> Waiter:
        """Completes with the next ViewDelta."""
        waiter = Waiter()
        self._views.append(waiter)
        return waiter

    def on_view_delta(self, sender: Address, message: ViewDelta) -> None:
        """Answer to GetView."""
        views, self._views = self._views, []
        for waiter in views:
            waiter.complete(message)

    def await_job(self) -> Waiter:
        """Completes when the GCS has given this driver a job id."""
        return self._job

    def on_job_started(self, sender: Address, message: JobStarted) -> None:
        """Answer to StartJob; in a worker: the job that it works for."""
        self.job_id = message.job_id
        self.namespace = message.namespace
        self.terms = message.terms
        self._job.complete(message)
        if sender != self.node_id:
            self.ports.transport.send(self.node_id, message)

    def warn(self, text: str) -> None:
        """Tell the user, once."""
        if text not in self._warned and len(self._warned) < 1000:
            self._warned[text] = None
            logger.warning("%s", text)
            if self.ports.trace.enabled:
                self.ports.trace.event("warning", self.worker_id, text)

    def __repr__(self) -> str:
        return f"Owner({short(self.worker_id)})"


def _common(came: list[ObjectId], gone: list[ObjectId]) -> set[ObjectId]:
    """What is in both; nothing where one of them has an id twice."""
    unique_came, unique_gone = set(came), set(gone)
    if len(unique_came) < len(came) or len(unique_gone) < len(gone):
        return set()
    return unique_came & unique_gone


def _nothing() -> None:
    pass
