"""Tasks that can use the same workers, and the workers that are leased for them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from thornback.core.ids import LeaseId, NodeId, TaskId, WorkerId, node_of
from thornback.core.messages import Stored, TaskTemplate
from thornback.core.owner.task import Task
from thornback.core.scheduling.policies import by_bytes

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner


class Lease:
    """A worker that this process may send tasks to."""

    __slots__ = (
        "blocked",
        "closing",
        "functions",
        "gpu_ids",
        "group",
        "in_flight",
        "lease_id",
        "next_sequence",
        "progress",
        "stealing",
        "templates",
        "wanted",
        "worker_id",
    )

    def __init__(self, lease_id: LeaseId, worker_id: WorkerId, group: SchedulingClass, now: int) -> None:
        self.lease_id = lease_id
        self.worker_id = worker_id
        self.group = group
        self.gpu_ids: tuple[int, ...] = ()
        self.in_flight: dict[TaskId, Task] = {}
        self.next_sequence = 0
        self.blocked = False
        self.closing = False
        """The raylet wants it back: nothing more is sent to it."""
        self.wanted = False
        """The raylet wants it back as soon as there is no work for it."""
        self.stealing = False
        self.progress = now
        """Time of the last reply, or of the first push after being idle."""
        self.templates: set[bytes] = set()
        self.functions: set[bytes] = set()


class SchedulingClass:
    """Tasks that can use the same workers."""

    __slots__ = (
        "deep",
        "idle",
        "infeasible",
        "key",
        "leases",
        "node",
        "open",
        "queue",
        "requests",
        "stall_timer",
        "stopping",
        "template",
    )

    def __init__(self, key: tuple[object, ...], template: TaskTemplate, node: NodeId) -> None:
        self.key = key
        self.template = template
        self.node = node
        self.queue: deque[Task] = deque()
        self.leases: dict[LeaseId, Lease] = {}
        self.idle: dict[LeaseId, Lease] = {}
        """Leases without work."""
        self.deep: dict[LeaseId, Lease] = {}
        """Leases that had several tasks when they were last looked at."""
        self.open: dict[LeaseId, Lease] = {}
        """Leases with work that may have room for more."""
        self.requests: dict[LeaseId, NodeId] = {}
        self.infeasible = ""
        self.stall_timer = False
        self.stopping = False


class SchedulingClasses:
    """The scheduling classes of one process that have tasks, workers or requests for workers."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.node_id = node_of(owner.worker_id)
        self.table: dict[tuple[object, ...], SchedulingClass] = {}
        self._shapes: dict[bytes, tuple[object, ...]] = {}
        """What tasks of a template need from a worker."""

    def of(self, task: Task) -> SchedulingClass:
        """The class of a task whose arguments are known."""
        template = task.template
        shape = self._shapes.get(template.key)
        if shape is None:
            resources = tuple(sorted(template.resources.items()))
            shape = (resources, template.strategy, template.runtime_env, template.fail_infeasible)
            self._shapes[template.key] = shape
        node = self._preferred_node(task) if task.dependencies and not template.strategy.group else b""
        key = (shape, node)
        group = self.table.get(key)
        if group is None:
            group = self.table[key] = SchedulingClass(key, template, node or self.node_id)
        return group

    def _preferred_node(self, task: Task) -> NodeId:
        sizes: dict[NodeId, int] = {}
        for object_id in task.dependencies:
            content = self.owner.references.lookup(object_id).content
            if isinstance(content, Stored):
                for node in content.nodes:
                    sizes[node] = sizes.get(node, 0) + content.size
        return by_bytes(sizes, self.node_id)

    def drop_if_unused(self, group: SchedulingClass) -> None:
        """Forget a class that has nothing any more."""
        if not (group.queue or group.leases or group.requests):
            self.table.pop(group.key, None)
