"""Tasks that can use the same workers, and the workers that are leased for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from thornback.core.ids import LeaseId, NodeId, TaskId, WorkerId, node_of
from thornback.core.messages import Stored, Strategy, TaskTemplate
from thornback.core.owner.task import Task
from thornback.core.owner.task_queue import PriorityQueue, TaskQueue
from thornback.core.scheduling.policies import by_bytes

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner


AWAY = b"away from "
TEMPLATES = 10_000
"""Templates of which an owner remembers something; there may be as many as tasks, where each has a name of its own."""


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
        "since",
        "stealing",
        "templates",
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
        self.stealing = False
        self.progress = now
        """Time of the last reply, or of the first push after being idle, or when its task went on after waiting."""
        self.since = now
        """Since when it has the first of its tasks to run."""
        self.templates: set[bytes] = set()
        self.functions: set[bytes] = set()


class Shape:
    """What tasks need from a worker. Its classes differ in the node that they prefer, and lend each other workers."""

    __slots__ = ("classes", "copies", "follows_bytes", "loaded", "spare")

    def __init__(self, strategy: Strategy) -> None:
        self.follows_bytes = strategy.kind == "DEFAULT" and not strategy.group
        """Tasks prefer the node that has their arguments; other strategies say themselves where tasks run."""
        self.classes: dict[NodeId, SchedulingClass] = {}
        """By preferred node; empty for none."""
        self.copies: dict[SchedulingClass, None] = {}
        """Classes of second runs that wait."""
        self.loaded: dict[SchedulingClass, None] = {}
        """Classes with tasks that wait, when they were last looked at."""
        self.spare: dict[SchedulingClass, None] = {}
        """Classes with workers and without tasks for them."""


class SchedulingClass:
    """Tasks that can use the same workers, and that had best run on the same node."""

    __slots__ = (
        "avoid",
        "bound",
        "deep",
        "held_since",
        "hold_timer",
        "idle",
        "infeasible",
        "leases",
        "node",
        "open",
        "passed_over",
        "preferred",
        "queue",
        "requests",
        "shape",
        "speculative",
        "stall_timer",
        "stopping",
        "template",
        "urgency",
    )

    def __init__(
        self, shape: Shape, template: TaskTemplate, preferred: NodeId, local: NodeId, avoid: NodeId = b""
    ) -> None:
        self.shape = shape
        self.template = template
        self.preferred = preferred
        """Where most bytes of the arguments are, empty for no such node; for copies, their name in the shape."""
        self.node = local if avoid else preferred or local
        """Who is asked for workers first."""
        self.bound = bool(preferred) and not avoid
        """Running elsewhere costs time, because the arguments have to be moved there."""
        self.avoid = avoid
        """Where the first runs are whose copies these are; empty for tasks that run for the first time."""
        self.speculative = template.speculative
        self.queue: TaskQueue = deque()
        self.leases: dict[LeaseId, Lease] = {}
        self.idle: dict[LeaseId, Lease] = {}
        """Leases without work."""
        self.deep: dict[LeaseId, Lease] = {}
        """Leases that had several tasks when they were last looked at."""
        self.open: dict[LeaseId, Lease] = {}
        """Leases with work that may have room for more."""
        self.requests: dict[LeaseId, NodeId] = {}
        self.urgency = 0
        """Highest priority of a task for which the requests were made."""
        self.infeasible = ""
        self.stall_timer = False
        self.stopping = False
        self.held_since = 0
        """Since when the first task waits although a worker elsewhere has nothing to do; 0 if that is not so."""
        self.hold_timer = False
        self.passed_over = 0
        """How often another task was preferred to the first one."""


class SchedulingClasses:
    """The scheduling classes of one process that have tasks, workers or requests for workers."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.node_id = node_of(owner.worker_id)
        self._shapes: dict[tuple[object, ...], Shape] = {}
        self._shape_of: dict[bytes, Shape] = {}
        """By template."""
        self._prioritized = False
        """Some template has a priority of its own."""

    def __iter__(self) -> Iterator[SchedulingClass]:
        return (group for shape in list(self._shapes.values()) for group in list(shape.classes.values()))

    def of(self, task: Task) -> SchedulingClass:
        """The class of a task whose arguments are known."""
        template = task.template
        shape = self._shape_of.get(template.key) or self._new_shape(template)
        node = self._preferred_node(task) if task.dependencies and shape.follows_bytes else b""
        group = shape.classes.get(node)
        if group is None:
            group = shape.classes[node] = SchedulingClass(shape, template, node, self.node_id)
            if self._prioritized:
                group.queue = PriorityQueue()
        return group

    def away_from(self, node: NodeId, template: TaskTemplate) -> SchedulingClass:
        """The class of second runs of tasks that run on a node."""
        shape = self._shape_of.get(template.key) or self._new_shape(template)
        key = AWAY + node
        group = shape.classes.get(key)
        if group is None:
            group = shape.classes[key] = SchedulingClass(shape, template, key, self.node_id, node)
        return group

    def of_copies(self, template: TaskTemplate) -> list[SchedulingClass]:
        """All classes of second runs of such tasks."""
        shape = self._shape_of.get(template.key) or self._new_shape(template)
        return [group for group in shape.classes.values() if group.avoid]

    def _new_shape(self, template: TaskTemplate) -> Shape:
        resources = tuple(sorted(template.resources.items()))
        options = (template.fail_infeasible, template.speculative, template.max_retries != 0)
        key = (resources, template.strategy, template.runtime_env, *options)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = Shape(template.strategy)
        self._shape_of[template.key] = shape
        if len(self._shape_of) > TEMPLATES:
            del self._shape_of[next(iter(self._shape_of))]
        if template.priority and not self._prioritized:
            self._prioritize()
        return shape

    def _prioritize(self) -> None:
        self._prioritized = True
        for group in self:
            group.queue = PriorityQueue(group.queue)

    def _preferred_node(self, task: Task) -> NodeId:
        sizes: dict[NodeId, int] = {}
        for object_id in task.dependencies:
            content = self.owner.references.lookup(object_id).content
            if isinstance(content, Stored):
                for node in content.nodes:
                    sizes[node] = sizes.get(node, 0) + content.size
        return by_bytes(sizes, self.node_id) if sizes else b""

    def missing_bytes(self, task: Task, node: NodeId) -> int:
        """Bytes of the task's arguments that would have to be brought to a node."""
        size = 0
        for object_id in task.dependencies:
            content = self.owner.references.lookup(object_id).content
            if isinstance(content, Stored) and node not in content.nodes:
                size += content.size
        return size

    def drop_if_unused(self, group: SchedulingClass) -> None:
        """Forget a class that has nothing any more."""
        if group.queue or group.leases or group.requests:
            return
        shape = group.shape
        if shape.classes.get(group.preferred) is group:
            del shape.classes[group.preferred]
        shape.copies.pop(group, None)
        shape.loaded.pop(group, None)
        shape.spare.pop(group, None)
