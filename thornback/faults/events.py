"""What the engine notes in the trace of a run, and what is told with each kind of event."""

from __future__ import annotations

from typing import Any, NamedTuple


class Kind(NamedTuple):
    """One kind of event.

    Attributes:
        subject: whose id the event has.
        fields: names of what its ``detail`` holds. Without any, the detail is None; a single one is the detail itself;
            several make a tuple.
        meaning: what has happened.
        trigger: whether a fault can wait for it; not if there are very many, or if it is about faults.
    """

    subject: str
    fields: tuple[str, ...]
    meaning: str
    trigger: bool = True

    def named(self, detail: Any) -> dict[str, Any]:
        """A detail of such an event, by the names of its parts."""
        values = detail if len(self.fields) > 1 else (detail,) * len(self.fields)
        return dict(zip(self.fields, values, strict=True))


KINDS = {
    "actor.registered": Kind(
        "actor", ("namespace", "name", "max_restarts", "out_of_order"), "the GCS knows a new actor", trigger=False
    ),
    "actor.state": Kind(
        "actor", ("state", "incarnation", "worker_id", "max_restarts"), "the GCS has changed the state of an actor"
    ),
    "bundle.released": Kind("group", ("node_id", "bundle", "attempt"), "a node has given the room of a bundle back"),
    "bundle.reserved": Kind(
        "group", ("node_id", "bundle", "attempt", "resources", "gpus"), "a node has set room aside for a bundle"
    ),
    "fault": Kind("fault", ("kind",), "a fault happens; the subject is whom it meets, or text", trigger=False),
    "gcs.committed": Kind("key", ("table", "key", "value"), "a change of the GCS's tables is durable", trigger=False),
    "gcs.started": Kind("gcs", ("incarnation",), "another GCS has taken over"),
    "group.created": Kind("group", ("strategy", "bundles", "nodes"), "a placement group has its room"),
    "group.registered": Kind("group", ("namespace", "name"), "the GCS knows a new placement group", trigger=False),
    "group.state": Kind("group", ("state", "nodes"), "the GCS has changed the state of a placement group"),
    "lease.cpu": Kind(
        "lease", ("node_id", "change"), "a lease gives its CPUs back while it waits, or has them again", trigger=False
    ),
    "lease.ended": Kind("lease", ("node_id",), "a node has its resources back"),
    "lease.granted": Kind(
        "lease", ("node_id", "resources", "gpus", "group_id", "bundle", "holder"), "a node has granted a worker"
    ),
    "memory.given": Kind("node", ("offset", "size"), "a block of the object store is free again", trigger=False),
    "memory.taken": Kind("node", ("offset", "size"), "a block of the object store is taken", trigger=False),
    "node.dead": Kind("node", ("reason",), "the GCS has given a node up"),
    "node.draining": Kind("node", ("timeout",), "a node is to leave, in so many nanoseconds at most"),
    "node.fenced": Kind("node", (), "a node learns that it was given up"),
    "node.left": Kind("node", (), "a node has nothing left that must move, and leaves"),
    "node.preempted": Kind("node", ("notice",), "a node is told that it goes in so many nanoseconds"),
    "node.up": Kind("node", ("resources",), "a node has joined", trigger=False),
    "nodes.slow": Kind("none", ("nodes",), "the GCS takes these nodes for slow, and no others", trigger=False),
    "object.chunk_damaged": Kind("object", ("offset",), "a part of an object came damaged over the network"),
    "object.deleted": Kind("object", ("node_id", "sealed", "primary", "unreferenced"), "a node has deleted its copy"),
    "object.evicted": Kind("object", ("primary",), "a copy has left memory, as there is another, or one on disk"),
    "object.lost": Kind("object", (), "the owner has learnt that no copy is left"),
    "object.owner_died": Kind("object", ("worker_id",), "a process gives it up, as its owner has died", trigger=False),
    "object.pinned": Kind(
        "object", ("node_id", "reader", "offset", "size"), "a copy stays in memory for a reader", trigger=False
    ),
    "object.read": Kind("object", ("node_id", "offset", "size"), "a process begins to read it", trigger=False),
    "object.ready": Kind("object", ("content",), "the owner has its value, its place, or its error"),
    "object.released": Kind("object", (), "nobody refers to it any more, says the owner", trigger=False),
    "object.restored": Kind("object", ("node_id", "offset", "size"), "it is back from disk"),
    "object.sealed": Kind("object", ("node_id", "offset", "size", "primary"), "a copy is complete"),
    "object.spilled": Kind("object", ("bytes",), "it is on disk, where it takes so many bytes"),
    "object.unpinned": Kind("object", ("node_id", "reader", "count"), "a reader is done with it", trigger=False),
    "object.unreadable": Kind("object", ("reason",), "its spill file is damaged or gone"),
    "process.end": Kind("process", ("reason",), "a process has ended", trigger=False),
    "process.start": Kind("process", ("kind",), "a node, gcs, driver or worker has started", trigger=False),
    "reference.exported": Kind("object", ("worker_id",), "a process has pickled a reference by itself", trigger=False),
    "spill.compacted": Kind("file", ("objects",), "a half-empty spill file was copied together with others"),
    "task.cancel": Kind("task", ("state",), "its owner cancels it", trigger=False),
    "task.ended": Kind("task", ("attempt", "result", "worker_id"), "a run has ended: ok, error or cancelled"),
    "task.excused": Kind("task", ("attempt",), "an attempt was lost in a way that does not count as a retry"),
    "task.failed": Kind("task", ("attempt",), "it has failed for its owner"),
    "task.finished": Kind("task", ("attempt",), "it has succeeded for its owner"),
    "task.rebuilding": Kind("task", ("attempt",), "it runs again to make a lost object"),
    "task.replayed": Kind("task", ("attempt",), "an acknowledged call runs again after its actor's checkpoint"),
    "task.retried": Kind("task", ("attempt",), "it will be tried again"),
    "task.speculated": Kind("task", ("attempt",), "a straggler gets a second run", trigger=False),
    "task.started": Kind(
        "task", ("attempt", "kind", "caller", "source", "worker_id", "lane"), "a run of it has started in a worker"
    ),
    "task.submitted": Kind("task", ("name", "max_retries", "actor_id"), "its owner has taken it on"),
    "waits.cycle": Kind("task", ("length",), "tasks that wait for each other for ever are reported", trigger=False),
    "warning": Kind("process", ("text",), "the engine warns a driver", trigger=False),
}
"""All kinds of events, by name."""

TRIGGER_EVENTS = tuple(name for name, kind in KINDS.items() if kind.trigger)
"""Those that a fault can wait for."""
