"""Bugs that somebody could make in ``core/``; each must be noticed by a workload or an invariant."""

from __future__ import annotations

from tests.mutations.leaks import LEAKS
from tests.mutations.planting import Mutant

QUICK_HEARTBEATS = {"heartbeat_period": 200_000_000}
"""Nodes are declared dead after a second, so that short pauses and cuts make zombies."""
SMALL_CHUNKS = {"transfer_chunk": 32_768}
CRASHES = ("crash_worker", "crash_node", "pause_node")

MUTANTS: dict[str, Mutant] = {
    # --- References
    "a borrower's registration is dropped, though it is confirmed": Mutant(
        "thornback.core.owner.references",
        """        self.add_borrower(message.object_id, message.borrower)
        self.transport.send(sender, BorrowerAdded""",
        """        self.transport.send(sender, BorrowerAdded""",
        "borrowed",
        10,
    ),
    "an object is freed while only borrowers refer to it": Mutant(
        "thornback.core.owner.references",
        """        if reference.local > 0 or reference.holds > 0 or reference.borrowers:
            return
        self._unsettled.append(reference)
        if len(self._unsettled) > 1:
            return
        try:
            for each in self._unsettled:
                if not each.held and""",
        """        if reference.local > 0 or reference.holds > 0:
            return
        self._unsettled.append(reference)
        if len(self._unsettled) > 1:
            return
        try:
            for each in self._unsettled:
                if each.local <= 0 and each.holds <= 0 and""",
        "borrowed",
        10,
    ),
    "arguments that a worker keeps are not registered with its reply": Mutant(
        "thornback.core.owner.tasks",
        "            self.references.add_borrower(object_id, sender)\n        task = self.table.get(reply.task_id)",
        "            pass\n        task = self.table.get(reply.task_id)",
        "borrowed",
        10,
    ),
    "references inside results are not registered for the caller": Mutant(
        "thornback.core.executor.replies",
        "            self._owner.references.register_other(object_id, caller, one_done)",
        "            one_done()",
        "borrowed",
        10,
    ),
    "the removal of a borrower is forgotten": Mutant(
        "thornback.core.owner.references",
        "            self.add_borrower(message.object_id, sender, -message.count)",
        "            pass",
        "borrowed",
        10,
    ),
    # --- Objects
    "only one of several that wait for an object is woken": Mutant(
        "thornback.core.owner.objects",
        "for call in watchers if isinstance(watchers, dict) else (watchers,):",
        "for call in list(watchers)[:1] if isinstance(watchers, dict) else (watchers,):",
        "wide_lineage",
        10,
    ),
    "only the last of several borrowers that ask for an object is answered": Mutant(
        "thornback.core.owner.objects",
        "            reference.asking.append(borrower)",
        "            reference.asking = [borrower]",
        "borrowed",
        30,
    ),
    "a pin is never given back": Mutant(
        "thornback.core.owner.blocks",
        "        self.transport.send(self.node_id, UnpinObject(object_id, 1))\n\n    def _idle_over",
        "        pass\n\n    def _idle_over",
        "pressure",
        10,
    ),
    "what somebody reads is evicted": Mutant(
        "thornback.core.objects.store",
        "        entry.pins[reader] = entry.pins.get(reader, 0) + 1\n        self.evictable.unpark(entry)\n",
        "        entry.pins[reader] = entry.pins.get(reader, 0) + 1\n",
        "pressure",
        10,
    ),
    "primary copies are evicted as if they were others": Mutant(
        "thornback.core.objects.store",
        "        if entry.primary:\n            self.evictable.unpark(entry)\n            self._release_memory(entry)",
        "        if False:\n            self.evictable.unpark(entry)\n            self._release_memory(entry)",
        "pressure",
        10,
    ),
    "a spill file that is torn or damaged is read as if it were whole": Mutant(
        "thornback.core.objects.restoring",
        "            if reason:\n                self.lost(entry, reason)\n                return\n",
        "",
        "pressure",
        30,
        kinds=("torn_spill", "corrupt_spill"),
    ),
    "a chunk that was damaged on the way is accepted": Mutant(
        "thornback.core.objects.pulls",
        "        if crc32(message.data) != message.checksum:",
        "        if False:",
        "shuffle",
        30,
        kinds=("corrupt_chunk",),
    ),
    "a transfer is complete with its first chunk": Mutant(
        "thornback.core.objects.pulls",
        "        if sum(pull.received.values()) >= pull.size:",
        "        if pull.received:",
        "shuffle",
        10,
        config=SMALL_CHUNKS,
    ),
    # --- Tasks and lineage
    "a retry is not counted": Mutant(
        "thornback.core.owner.tasks",
        "            task.retries_left -= 1",
        "            pass",
        "attempts",
        40,
    ),
    "a task without retries runs again": Mutant(
        "thornback.core.owner.tasks",
        "        elif task.retries_left:\n            self._retry(task)\n        else:\n",
        "        elif True:\n            self._retry(task)\n        else:\n",
        "attempts",
        60,
    ),
    "the last task that a dead worker has started counts as not started": Mutant(
        "thornback.core.owner.leases",
        "task.sequence <= through",
        "task.sequence < through",
        "attempts",
        20,
    ),
    "a task that was cancelled brings its value": Mutant(
        "thornback.core.owner.tasks",
        "        if reply.error is None and task.cancelled:",
        "        if False:",
        "cancels",
        20,
    ),
    "tasks that a worker gives back are forgotten": Mutant(
        "thornback.core.owner.tasks",
        """            self.cancelled(task)
        else:
            self._requeue(task)

    def _requeue""",
        """            self.cancelled(task)

    def _requeue""",
        "nested",
        20,
    ),
    "an argument that was freed is not made again for the task that is": Mutant(
        "thornback.core.owner.lineage",
        "for dependency in needed if dependency.owned and dependency.released)",
        "for dependency in needed if False)",
        "deep_lineage",
        40,
        config=QUICK_HEARTBEATS,
        kinds=CRASHES,
    ),
    "a generator that runs again waits where its consumer has been": Mutant(
        "thornback.core.owner.streams",
        "        if stream.task.template.backpressure > 0:\n            self._let_pass",
        "        if False:\n            self._let_pass",
        "streaming",
        30,
        kinds=CRASHES,
    ),
    "a blocked task keeps its CPU": Mutant(
        "thornback.core.raylet.grants",
        "        cpu = grant.held.pop(CPU, 0)\n        if cpu:",
        "        cpu = 0\n        if cpu:",
        "nested",
        10,
    ),
    # --- Leases and resources
    "a worker is leased to two owners": Mutant(
        "thornback.core.raylet.pool",
        "        del self._idle[chosen.worker_id]\n",
        "",
        "map_reduce",
        10,
    ),
    "leases are granted without looking at what is free": Mutant(
        "thornback.core.raylet.leases",
        "            and self.grants.free.fits(request.resources)\n",
        "",
        "map_reduce",
        10,
    ),
    "a GPU is handed out again and again": Mutant(
        "thornback.core.scheduling.pools",
        "                self.gpus[identifier] -= units",
        "                pass",
        "gpus",
        10,
    ),
    "leases of a process that has died are kept": Mutant(
        "thornback.core.raylet.grants",
        '                self._end_early(grant, "the process whose task it ran has ended")',
        "                pass",
        "nested",
        40,
    ),
    "the CPUs of a removed bundle are lost": Mutant(
        "thornback.core.raylet.bundles",
        """        self.leases.grants.free.give(
            bundle.pool.available, {key: units for key, units in bundle.pool.gpus.items() if units}
        )
""",
        "",
        "gangs",
        10,
    ),
    # --- Actors
    "calls that were under way when an actor died are not sent again": Mutant(
        "thornback.core.owner.actors",
        "        if again:\n            self._requeue(client, again)",
        "        pass",
        "ledger",
        20,
    ),
    "calls are sent again in the wrong order": Mutant(
        "thornback.core.owner.actors",
        "        client.queue = {place: known[place] for place in sorted(known)}",
        "        client.queue = {place: known[place] for place in sorted(known, reverse=True)}",
        "ledger",
        20,
    ),
    "a call without retries is repeated": Mutant(
        "thornback.core.owner.actors",
        "        elif client.state == DEAD or (task.retries_left == 0 and not task.logged):",
        "        elif client.state == DEAD:",
        "ledger",
        20,
    ),
    "an actor is restarted once too often": Mutant(
        "thornback.core.gcs.restarts",
        "actor.restarts < actor.spec.max_restarts",
        "actor.restarts <= actor.spec.max_restarts",
        "ledger",
        40,
    ),
    "actors of a dead node are not restarted": Mutant(
        "thornback.core.gcs.actors",
        "        if actor.worker_id:\n            self._incarnation_ended(actor, reason)\n        else:",
        "        if actor.worker_id:\n            pass\n        else:",
        "ledger",
        40,
    ),
    "a name is given twice": Mutant(
        "thornback.core.gcs.actors",
        "        if existing is None or existing.state == DEAD:\n            return None\n",
        "        if True:\n            return None\n",
        "names",
        10,
    ),
    "a detached actor ends with its program": Mutant(
        "thornback.core.gcs.actors",
        "            if actor.spec.job_id == job_id and not actor.spec.detached and actor.state != DEAD:",
        "            if actor.spec.job_id == job_id and actor.state != DEAD:",
        "drivers",
        10,
    ),
    # --- Placement groups, nodes, durability, links
    "a placement group is complete when the first node has its part": Mutant(
        "thornback.core.gcs.reservations",
        "            if not group.asked:\n                self._complete(group)",
        "            self._complete(group)",
        "gangs",
        40,
    ),
    "a node that was declared dead is not told": Mutant(
        "thornback.core.gcs.incarnations",
        "        if not leaves:\n",
        "        if False:\n",
        "ledger",
        40,
        config=QUICK_HEARTBEATS,
        kinds=("pause_node", "cut"),
    ),
    "a node that a later GCS has declared dead is not told": Mutant(
        "thornback.core.gcs.incarnations",
        "        if not leaves:\n",
        "        if not leaves and self.present == 1:\n",
        "map_reduce",
        60,
        config=QUICK_HEARTBEATS,
        kinds=("crash_gcs", "pause_node", "cut"),
    ),
    "the end of a driver does not end its job": Mutant(
        "thornback.core.gcs.store",
        "        self.jobs.process_died(address, reason)\n",
        "",
        "drivers",
        10,
    ),
    "the GCS answers before its writes are durable": Mutant(
        "thornback.core.gcs.journal",
        "        self._store.commit(writes, durable)",
        "        durable()\n        self._store.commit(writes, lambda: None)",
        "names",
        20,
    ),
    "the number of a job is never written": Mutant(
        "thornback.core.gcs.jobs",
        "        self._save(job)\n        self.transport.send(sender, JobStarted",
        "        self.transport.send(sender, JobStarted",
        "drivers",
        20,
    ),
    "a message that comes twice is delivered twice": Mutant(
        "thornback.core.links",
        "        if frame.number <= self._received:\n            return [], frames\n",
        "        if frame.number <= self._received:\n            return [frame.payload], frames\n",
        "ledger",
        20,
        kinds=("duplicate", "loss"),
    ),
    "a message that was lost is not sent again": Mutant(
        "thornback.core.links",
        "                frames.append(Frame(number, self._received, payload))",
        "                pass",
        "map_reduce",
        20,
        kinds=("loss", "cut"),
    ),
    # --- Quotas, shares and the books of a node
    "a node grants without the quota that it asked for": Mutant(
        "thornback.core.raylet.quotas",
        "        if fits(total((self._held(request.job_id, job), counted)), job.allowed):",
        "        if True:",
        "tenants",
        10,
    ),
    "each node may hold the whole quota of a job": Mutant(
        "thornback.core.gcs.quotas",
        "            used = total(given.values())\n",
        "            used: Resources = {}\n",
        "tenants",
        10,
    ),
    "a job is charged for a CPU that it gave back": Mutant(
        "thornback.core.raylet.grants",
        "            self.shares.give(grant.request.job_id, amounts)\n            if grant.request.actor_id:",
        "            if grant.request.actor_id:",
        "nested",
        10,
    ),
    "a CPU is counted twice when a blocked task goes on": Mutant(
        "thornback.core.raylet.grants",
        "                grant.pool.take({CPU: cpu})\n",
        "",
        "nested",
        10,
    ),
    "a reservation that failed keeps what it had set aside": Mutant(
        "thornback.core.gcs.reservations",
        "            self.transport.send(node, ReleaseBundles(group.spec.group_id, attempt))\n",
        "            pass\n",
        "gangs",
        40,
    ),
    # --- Where tasks run, and how often
    "references inside of arguments are not held by the caller": Mutant(
        "thornback.core.owner.tasks",
        "            for object_id in arguments.contained:\n                self.references.hold(object_id)",
        "            for object_id in arguments.contained:\n                self.references.lookup(object_id)",
        "bound",
        10,
    ),
    "a task that was stolen from a worker runs there too": Mutant(
        "thornback.core.executor.executor",
        "                self.arguments.forget(execution)\n            else:\n",
        "            if True:\n",
        "nested",
        20,
    ),
    "both runs of a straggler bring their value": Mutant(
        "thornback.core.owner.tasks",
        """            or task.state != PUSHED
            or task.attempt != reply.attempt
            or task.worker != sender
""",
        "",
        "stragglers",
        20,
    ),
    # --- Incarnations and checkpoints
    "an actor lives by what its ended worker has said": Mutant(
        "thornback.core.gcs.actors",
        "        if actor is None or actor.worker_id != sender or actor.incarnation != message.incarnation:",
        "        if actor is None or actor.incarnation != message.incarnation:",
        "ledger",
        600,
        kinds=("crash_worker",),
    ),
    "a restart for the sake of a node that leaves counts": Mutant(
        "thornback.core.gcs.restarts",
        "            actor.moves += 1\n            actor.moving = False",
        "            actor.restarts += 1\n            actor.moving = False",
        "ledger",
        60,
        kinds=("preempt_node", "crash_worker"),
    ),
    "acknowledged calls are not replayed": Mutant(
        "thornback.core.owner.replay",
        "        again = [calls[place] for place in sorted(calls) if calls[place].state == DONE]",
        "        again: list[Task] = []",
        "saved",
        30,
        kinds=("crash_worker", "crash_node"),
    ),
    "a checkpoint is acknowledged and not written": Mutant(
        "thornback.core.gcs.checkpoints",
        "            self.gcs.journal.write(self.name, message.actor_id, encode(checkpoint))\n",
        "",
        "saved",
        40,
        kinds=("crash_gcs", "crash_worker"),
    ),
    # --- Repeated requests
    "a write that is repeated is made again": Mutant(
        "thornback.core.gcs.keys",
        "        if not writer.knows(message.request):",
        "        if message.request > writer.answered:",
        "writers",
        120,
        kinds=("crash_gcs", "slow_commits"),
    ),
    "which writes were made is not durable": Mutant(
        "thornback.core.gcs.keys",
        "            self.gcs.journal.write(self.writers, sender, _encode(writer))\n",
        "",
        "writers",
        120,
        kinds=("crash_gcs", "slow_commits"),
    ),
    # --- What a later GCS must know
    "a node says all that it holds before it says what that takes of quotas": Mutant(
        "thornback.core.raylet.quotas",
        "        self.grants.dirty = True\n        self.settle()\n",
        "        self.grants.dirty = True\n",
        "tenants",
        40,
        kinds=("crash_gcs",),
    ),
    # --- Attempts, second runs and generators
    "a retry has the number of the attempt before": Mutant(
        "thornback.core.owner.tasks",
        "        task.attempt = task.next_attempt()\n        task.failed_once",
        "        task.failed_once",
        "attempts",
        10,
    ),
    "the last retry is not counted": Mutant(
        "thornback.core.owner.tasks",
        "        if counted and task.retries_left > 0:",
        "        if counted and task.retries_left > 1:",
        "attempts",
        10,
    ),
    "a task without retries runs again after it has used up memory": Mutant(
        "thornback.core.owner.tasks",
        "        if not task.template.max_retries:\n            return False\n        count",
        "        count",
        "attempts",
        30,
        kinds=("out_of_memory",),
    ),
    "the slower of two runs is waited for, though nobody wants its value": Mutant(
        "thornback.core.owner.speculation",
        "            del lease.in_flight[reply.task_id]\n            loser.state = DONE",
        "            loser.state = DONE",
        "stragglers",
        20,
    ),
    "a generator waits though its consumer is as far as it must be": Mutant(
        "thornback.core.executor.generators",
        "(message.count < 0 or message.count >= needed)",
        "(message.count < 0 or message.count > needed)",
        "streaming",
        5,
    ),
    "the end of a leased worker is not told": Mutant(
        "thornback.core.raylet.grants",
        "            self.gcs.tell(grant.request.holder, lost)\n",
        "",
        "map_reduce",
        10,
        kinds=("crash_worker",),
    ),
    # --- Memory, and what lies there
    "references in a result are let go before the reply has left": Mutant(
        "thornback.core.executor.replies",
        "        self._handed += handed\n",
        "        for object_id in handed:\n            self._owner.references.release(object_id)\n",
        "handed",
        10,
    ),
    "an object is deleted while somebody reads it": Mutant(
        "thornback.core.objects.store",
        """        if entry.used or entry.moving or not entry.sealed or entry.object_id not in self.entries:
            return
        if entry.doomed:""",
        """        if entry.moving or not entry.sealed or entry.object_id not in self.entries:
            return
        if entry.doomed:""",
        "pressure",
        5,
    ),
    "a block overlaps with the next one": Mutant(
        "thornback.core.objects.allocator",
        "            self._insert(offset + size, found - size)",
        "            self._insert(offset + size - 64, found - size + 64)",
        "pressure",
        5,
    ),
    "memory that has come free is offered to nobody": Mutant(
        "thornback.core.objects.store",
        "        if len(self.room):\n            self._serve_room()\n\n    def full",
        "\n    def full",
        "pressure",
        5,
    ),
    "what a writer that has ended has begun blocks its object": Mutant(
        "thornback.core.objects.store",
        "self.clock.call_after(LAST_WORDS, lambda entry=entry: self._abort_unsealed(entry))",
        "pass",
        "shuffle",
        30,
        kinds=("crash_worker",),
    ),
    "a node leaves with the objects that only it has": Mutant(
        "thornback.core.raylet.draining",
        """        nodes = [node for node in self._raylet.view.alive() if not node.draining]
        if not nodes:
            return False
        for entry""",
        """        nodes = [node for node in self._raylet.view.alive() if not node.draining]
        return False
        for entry""",
        "pressure",
        30,
        kinds=("preempt_node",),
    ),
    # --- Actors, groups and nodes, across restarts of the GCS
    "calls that were under way to a dead incarnation count as not begun": Mutant(
        "thornback.core.owner.actors",
        "        if update.moved:\n",
        "        if True:\n",
        "ledger",
        5,
    ),
    "an actor whose worker ended while the GCS was away stays": Mutant(
        "thornback.core.gcs.actors",
        """            if actor.lease_id not in held:
                self.lease_gone(actor, "its worker has ended while the GCS was away")
            elif""",
        "            if actor.lease_id not in held:\n                pass\n            elif",
        "ledger",
        40,
        kinds=("crash_gcs", "crash_worker"),
    ),
    "the workers of a removed bundle give back to the bundle": Mutant(
        "thornback.core.raylet.grants",
        "                grant.pool = self.free\n",
        "",
        "gangs",
        5,
    ),
    "the state of a placement group is never written": Mutant(
        "thornback.core.gcs.placement_groups",
        "        group.version += 1\n        self._save(group)\n",
        "        group.version += 1\n",
        "gangs",
        10,
        kinds=("crash_gcs",),
    ),
    "a dead node stays in the view of the cluster": Mutant(
        "thornback.core.gcs.nodes",
        "        self.view.died(node)\n        self._save(node)",
        "        self._save(node)",
        "map_reduce",
        10,
        kinds=("crash_node",),
    ),
    "the end of a node is told and not written": Mutant(
        "thornback.core.gcs.nodes",
        "        self.view.died(node)\n        self._save(node)\n",
        "        self.view.died(node)\n",
        "map_reduce",
        30,
        config=QUICK_HEARTBEATS,
        kinds=("crash_node", "crash_gcs"),
    ),
    "a node that joins is not written": Mutant(
        "thornback.core.gcs.nodes",
        "        self._update(message.view)\n        self._save(sender)\n",
        "        self._update(message.view)\n",
        "map_reduce",
        40,
        kinds=("crash_gcs", "crash_node"),
    ),
    **LEAKS,
}
