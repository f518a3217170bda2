"""What the objects and tasks of this process wait for, as far as their owner knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thornback.core.ids import GCS, TASK_ID_SIZE, ActorId, ObjectId, owner_of, return_id, short
from thornback.core.messages import ALIVE, Stored, Value
from thornback.core.messages.waits import (
    ACTOR,
    GROUP,
    LEASE,
    OBJECT,
    PROCESS,
    TASK,
    ActorComing,
    ActorWanted,
    ArgumentsMissing,
    Backoff,
    Blocked,
    EarlierCall,
    Finished,
    GroupWanted,
    Held,
    Reason,
    Sent,
    Subject,
    Unknown,
    WorkerWanted,
)
from thornback.core.owner.actors import ActorClient
from thornback.core.owner.task import BACKOFF, DONE, PUSHED, QUEUED, WAITING, Task
from thornback.core.waits.blocked import ARGUMENT, AWAIT, CPU_AGAIN, GET, BlockedThreads, Wait, subject_of

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner

SHOWN = 100
"""Most needs of one reason that are listed, where all of them are needed."""


class OwnerReasons:
    """Reads the owner's tables; changes nothing."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner

    def of_object(self, object_id: ObjectId) -> Reason:
        """An object of this process, or the generator of that task id."""
        owner = self.owner
        task = owner.tasks.table.get(object_id[:TASK_ID_SIZE])
        name = "" if task is None else task.template.name
        if len(object_id) == TASK_ID_SIZE:
            if task is None or task.state == DONE:
                return Finished(name=name, failed=False)
            return self.of_task(task)
        reference = owner.references.table.get(object_id)
        content = None if reference is None else reference.content
        if isinstance(content, Value):
            return Finished(name=name, failed=content.is_error, size=content.size)
        if isinstance(content, Stored):
            return Finished(name=name, failed=False, size=content.size, nodes=content.nodes)
        if task is not None and task.state != DONE:
            return self.of_task(task)
        group = owner.groups.promised.get(object_id)
        if group is not None:
            return GroupWanted(name="ready() of a placement group", needs=(Subject(GCS, GROUP, group),), needed=1)
        if reference is None or reference.released:
            return Unknown(why="was freed, as nobody referred to it any more")
        return Unknown(why="is being stored")

    def of_task(self, task: Task) -> Reason:
        """A task or actor call of this process that has not ended."""
        name = task.template.name
        if task.state == WAITING:
            return self._arguments(name, task.dependencies)
        if task.state == BACKOFF:
            return Backoff(name=name, attempt=task.attempt)
        if task.state == PUSHED:
            need = Subject(task.worker, TASK, task.task_id)
            rebuilding = task.task_id in self.owner.tasks.lineage.rebuilding
            return Sent(name=name, needs=(need,), needed=1, rebuilding=rebuilding)
        if task.actor_id:
            return self._call(task)
        return self._queued(task)

    def _arguments(self, name: str, dependencies: tuple[ObjectId, ...]) -> Reason:
        table = self.owner.references.table
        missing = []
        for object_id in dict.fromkeys(dependencies):
            reference = table.get(object_id)
            if reference is None or reference.content is None:
                missing.append(Subject(owner_of(object_id), OBJECT, object_id))
        shown = tuple(missing[:SHOWN])
        return ArgumentsMissing(name=name, needs=shown, needed=len(shown), arguments=len(dict.fromkeys(dependencies)))

    def _call(self, task: Task) -> Reason:
        name = task.template.name
        client = self.owner.actors.clients.get(task.actor_id)
        if client is None or client.state != ALIVE:
            return ActorWanted(name=name, needs=(Subject(GCS, ACTOR, task.actor_id),), needed=1)
        earlier = _before(client, task)
        if earlier is None:
            return Sent(name=name)
        need = Subject(self.owner.worker_id, OBJECT, return_id(earlier.task_id, 0))
        return EarlierCall(name=name, needs=(need,), needed=1)

    def _queued(self, task: Task) -> Reason:
        name = task.template.name
        group = task.template.strategy.group
        queued = next((each for each in self.owner.leases.classes if task in each.queue), None)
        if queued is None:
            return Sent(name=name)
        needs: list[Subject] = []
        busy: list[Subject] = []
        for each in (queued, *(other for other in queued.shape.classes.values() if other is not queued)):
            needs += [Subject(node, LEASE, lease_id) for lease_id, node in each.requests.items()]
            for lease in each.leases.values():
                busy += [Subject(lease.worker_id, TASK, task_id) for task_id in lease.in_flight]
        if group and not needs and not busy:
            return GroupWanted(name=name, needs=(Subject(GCS, GROUP, group),), needed=1)
        ahead = list(queued.queue).index(task)
        return WorkerWanted(name=name, needs=(*needs, *busy), needed=min(1, len(needs) + len(busy)), ahead=ahead)

    def of_actor(self, actor_id: ActorId) -> Reason:
        """The creation of an actor of this process, before the GCS knows of it."""
        creation = self.owner.actors.creations.get(actor_id)
        if creation is None:
            return Unknown(why=f"is not known: there is no actor {short(actor_id)}")
        name = creation.spec.definition.name
        if creation.unresolved:
            return self._arguments(name, creation.dependencies)
        return ActorComing(name=name, restarting=False, why="")

    def of_handles(self, actor_id: ActorId) -> Reason:
        """Who has handles of an actor of this process, and so might end it: processes, and tasks to which it was
        passed."""
        owner = self.owner
        handle = return_id(actor_id, 0)
        reference = owner.references.table.get(handle)
        if reference is None:
            return Unknown(why="has no handle any more")
        needs = [Subject(owner.worker_id, PROCESS, owner.worker_id)] if reference.local > 0 else []
        needs += [
            Subject(borrower, PROCESS, borrower) for borrower, count in (reference.borrowers or {}).items() if count > 0
        ]
        client = owner.actors.clients.get(actor_id)
        explained = 0 if client is None else client.unfinished
        for task in owner.tasks.table.values():
            if task.state != DONE and handle in task.arguments.contained:
                explained += task.arguments.contained.count(handle)
                needs.append(Subject(owner.worker_id, OBJECT, task.task_id))
        if reference.holds > explained:
            return Unknown(why="has handles inside other values")
        return Held(needs=tuple(needs), needed=min(1, len(needs)))

    def of_wait(self, blocked: BlockedThreads, wait: Wait, name: str, pid: int, is_driver: bool = False) -> Blocked:
        """User code of this process that waits in a call of this library."""
        needs, needed = self._needs_of(wait)
        return Blocked(
            name=name,
            needs=needs,
            needed=0 if wait.has_timeout else needed,
            since=wait.since,
            call=wait.call,
            site=blocked.site_of(wait),
            origin=self._origin(needs[0]) if needs else "",
            job_id=self.owner.job_id,
            has_timeout=wait.has_timeout,
            pid=pid,
            is_driver=is_driver,
            total=len(wait.identifiers),
        )

    def of_awaits(self, awaits: list[tuple[ObjectId, int]], name: str, pid: int) -> Blocked:
        """Coroutines of this process that await references."""
        needs = [subject_of(AWAIT, object_id, self.owner.worker_id) for object_id, _ in awaits[:SHOWN]]
        return Blocked(
            name=name,
            needs=tuple(needs),
            since=awaits[0][1],
            call=AWAIT,
            site="",
            origin=self._origin(needs[0]),
            job_id=self.owner.job_id,
            has_timeout=False,
            pid=pid,
            total=len(awaits),
        )

    def _origin(self, need: Subject) -> str:
        """Where the ``.remote()`` was first called that makes what is waited for, if this process called it."""
        task = self.owner.tasks.table.get(need.identifier[:TASK_ID_SIZE]) if need.kind == OBJECT else None
        return "" if task is None else self.owner.sites.get(task.template.key, "")

    def _needs_of(self, wait: Wait) -> tuple[tuple[Subject, ...], int]:
        """What it still waits for, and how many of that; no needs if there are too many alternatives to list."""
        owner = self.owner
        if wait.call == CPU_AGAIN:
            return (subject_of(wait.call, b"", owner.worker_id),), 1
        missing = []
        for identifier in wait.identifiers:
            reference = owner.references.table.get(identifier)
            content = None if reference is None else reference.content
            if content is None or wait.call == ARGUMENT:
                missing.append((wait.call, identifier))
            elif isinstance(content, Stored) and wait.call == GET and identifier not in owner.blocks.table:
                missing.append((ARGUMENT, identifier))
        needed = wait.needed - (len(wait.identifiers) - len(missing))
        shown = tuple(subject_of(call, identifier, owner.worker_id) for call, identifier in missing[:SHOWN])
        if needed >= len(missing):
            return shown, len(shown)
        return (shown, max(needed, 0)) if len(missing) <= SHOWN else ((), 0)

    def rows(self) -> list[dict[str, Any]]:
        """What has not ended, as rows: tasks at workers one by one, others by name and state with one as an example."""
        groups: dict[tuple[object, ...], tuple[Task, int]] = {}
        for task in self.owner.tasks.table.values():
            if task.state == DONE:
                continue
            pushed = task.state == PUSHED and len(groups) < SHOWN
            key = (task.task_id,) if pushed else (task.template.name, task.state, task.actor_id)
            first, count = groups.get(key, (task, 0))
            groups[key] = (first, count + 1)
        return [
            {
                "name": task.template.name,
                "count": count,
                "job_id": task.template.job_id,
                "at": self.owner.worker_id.hex(),
                "kind": OBJECT,
                "identifier": task.task_id.hex(),
            }
            for task, count in groups.values()
        ]


def _before(client: ActorClient, task: Task) -> Task | None:
    """The first call that must be sent before this one."""
    if client.out_of_order:
        return None
    for earlier in client.queue.values():
        if earlier is task:
            return None
        if earlier.state not in (QUEUED, DONE):
            return earlier
    return None
