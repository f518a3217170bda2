"""Bugs by which something is kept that nobody needs any more, or by which something that is free is lost."""

from __future__ import annotations

from tests.mutations.planting import Mutant

LEAKS: dict[str, Mutant] = {
    # --- References
    "the arguments of a task that failed are held on": Mutant(
        "thornback.core.owner.tasks",
        """            self.owner.streams.finished(task, None, error)
        self._settle_arguments(task, False)
""",
        """            self.owner.streams.finished(task, None, error)
        self.table.pop(task.task_id, None)
        if task.actor_id:
            self.owner.actors.ended(task)
""",
        "cancels",
        5,
    ),
    "references inside of arguments are held when the task is over": Mutant(
        "thornback.core.owner.tasks",
        """        else:
            for object_id in task.arguments.contained:
                self.references.release(object_id)
            self.table.pop(task.task_id, None)
""",
        "        else:\n            self.table.pop(task.task_id, None)\n",
        "bound",
        5,
    ),
    "a process that has ended stays a borrower": Mutant(
        "thornback.core.owner.references",
        """                if reference is not None:
                    self._drop_borrower(reference, borrower)""",
        "                pass",
        "borrowed",
        20,
        kinds=("crash_worker", "crash_node"),
    ),
    "a result that nobody wants keeps its references": Mutant(
        "thornback.core.owner.tasks",
        """        for object_id in content.contained:
            self.references.handed_over(object_id, sender)
            self.references.release(object_id)
""",
        "        pass\n",
        "handed",
        5,
    ),
    "one of two that wait for the same registration is forgotten": Mutant(
        "thornback.core.owner.references",
        "            reference.covered.append(then)",
        "            reference.covered = [then]",
        "handed",
        5,
    ),
    "a receiver is not asked what a worker gave it that has ended": Mutant(
        "thornback.core.owner.handovers",
        "                    self._transport.send(receiver, ReviewHandovers(giver))",
        "                    pass",
        "handed",
        60,
        kinds=("crash_worker", "crash_node"),
    ),
    "items that were taken from a generator are held on": Mutant(
        "thornback.core.owner.streams",
        "        reference.holds -= 1\n",
        "",
        "streaming",
        5,
    ),
    "items that a generator makes again are kept for a consumer that had them": Mutant(
        "thornback.core.owner.streams",
        "        elif stream.closed or message.index < stream.consumed:",
        "        elif stream.closed:",
        "streaming",
        30,
        kinds=("crash_worker", "crash_node"),
    ),
    "a finished task is remembered when its results are gone": Mutant(
        "thornback.core.owner.lineage",
        "            if task.live_returns <= 0 and task.state == DONE:",
        "            if task.live_returns < 0 and task.state == DONE:",
        "shuffle",
        5,
    ),
    # --- Copies of objects, memory and disk
    "only one copy of an object is freed": Mutant(
        "thornback.core.owner.objects",
        """        if isinstance(content, Stored):
            self.free(reference.object_id, content.nodes)
        for object_id in content.contained""",
        """        if isinstance(content, Stored):
            self.free(reference.object_id, content.nodes[:1])
        for object_id in content.contained""",
        "shuffle",
        5,
    ),
    "the copy that came with a result that nobody wants stays": Mutant(
        "thornback.core.owner.tasks",
        "            self.objects.free(object_id, [node for node in content.nodes if node not in kept])",
        "            pass",
        "shuffle",
        30,
        kinds=("crash_worker", "crash_node"),
    ),
    "a return that was let go is kept when it is made again": Mutant(
        "thornback.core.owner.tasks",
        "        if reference is None or reference.released or reference.content is not None:",
        "        if reference is None or reference.content is not None:",
        "shuffle",
        40,
        kinds=("crash_worker", "crash_node"),
    ),
    "what was asked for counts as under way when the transfer begins anew": Mutant(
        "thornback.core.objects.pulls",
        "        self.in_flight -= pull.asked - sum(pull.received.values())\n",
        "",
        "shuffle",
        20,
        kinds=("crash_worker", "crash_node"),
    ),
    "the pins of a reader that has ended stay": Mutant(
        "thornback.core.objects.store",
        """            for reader in [reader for reader in entry.pins if reader.startswith(address)]:
                del entry.pins[reader]
""",
        "",
        "pressure",
        40,
        kinds=("crash_worker", "crash_node"),
    ),
    "free blocks are not put together": Mutant(
        "thornback.core.objects.allocator",
        "            self._remove(offset + size, after)\n            size += after",
        "            pass",
        "pressure",
        5,
    ),
    "the bytes of a deleted spill file count on": Mutant(
        "thornback.core.objects.spilling",
        "            self.bytes_on_disk -= file.size\n            assert",
        "            assert",
        "pressure",
        5,
    ),
    # --- Leases, actors, groups and quotas
    "workers without work are not given back": Mutant(
        "thornback.core.owner.leases",
        "        if group.idle:\n            self._schedule_return(group)\n\n    def _return(",
        "\n    def _return(",
        "map_reduce",
        30,
    ),
    "a lease that nobody wants gets a worker all the same": Mutant(
        "thornback.core.raylet.grants",
        """        if grant is not None and grant.worker is None:
            self.waiting_workers.remove(grant)
            self._end(grant)

    def on_return""",
        """        if grant is not None and grant.worker is None:
            self._end(grant)

    def on_return""",
        "cancels",
        5,
    ),
    "a request for what no node has is not taken back": Mutant(
        "thornback.core.raylet.leases",
        """        elif self.infeasible.pop(message.lease_id, None) is not None:
            self.grants.changed = True
""",
        "",
        "abandoned",
        5,
    ),
    "a call that has ended keeps its actor": Mutant(
        "thornback.core.owner.actors",
        """            client.in_flight.pop(task.task_id, None)
        self.owner.references.release(return_id(task.actor_id, 0))
""",
        "            client.in_flight.pop(task.task_id, None)\n",
        "ledger",
        5,
    ),
    "an actor is kept for results that are gone": Mutant(
        "thornback.core.owner.tasks",
        "        if task.actor_id:\n            self.owner.actors.ended(task)\n\n    # --- Trouble",
        "        if task.actor_id and not keep:\n            self.owner.actors.ended(task)\n\n    # --- Trouble",
        "parameter_server",
        5,
    ),
    "an actor that nobody wants lives on if it has no place yet": Mutant(
        "thornback.core.gcs.actors",
        """        elif actor.worker_id:
            self.save(actor)
        else:
            self.died(actor, actor.ending)

    # --- Proc""",
        "        elif actor.worker_id:\n            self.save(actor)\n\n    # --- Proc",
        "abandoned",
        5,
    ),
    "an actor that has ended waits for a place": Mutant(
        "thornback.core.gcs.actor_placement",
        "        self.unplaced.pop(actor.actor_id, None)\n",
        "        pass\n",
        "abandoned",
        5,
    ),
    "the parts of GPUs in a removed bundle are lost": Mutant(
        "thornback.core.raylet.bundles",
        "bundle.pool.available, {key: units for key, units in bundle.pool.gpus.items() if units}",
        "bundle.pool.available, {}",
        "gpus",
        5,
    ),
    "a removed placement group keeps its name": Mutant(
        "thornback.core.gcs.placement_groups",
        "            del self.names[(spec.namespace, spec.name)]\n        self.reservations.end",
        "            pass\n        self.reservations.end",
        "tenants",
        5,
    ),
    "a removed placement group counts against the quota": Mutant(
        "thornback.core.gcs.reservations",
        "        self.gcs.quotas.discharge(group.spec.job_id, group.spec.group_id)\n        self.place_soon()",
        "        self.place_soon()",
        "tenants",
        5,
    ),
    "what a dead node was given of a quota is lost": Mutant(
        "thornback.core.gcs.quotas",
        "            self._given[job_id].pop(node, None)\n",
        "",
        "tenants",
        10,
        kinds=("crash_node",),
    ),
    "placement groups outlive their program": Mutant(
        "thornback.core.gcs.jobs",
        "        self.gcs.groups.job_ended(job.job_id)\n",
        "",
        "drivers",
        5,
    ),
}
