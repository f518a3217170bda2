"""The hub of the GCS's tables, on the head node."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from thornback.core.config import Config
from thornback.core.gcs.actors import ActorTable
from thornback.core.gcs.checkpoints import CheckpointTable
from thornback.core.gcs.drains import DrainTable
from thornback.core.gcs.early_ends import EarlyEnds
from thornback.core.gcs.events import EventTable
from thornback.core.gcs.incarnations import Incarnations
from thornback.core.gcs.jobs import JobTable
from thornback.core.gcs.journal import Journal
from thornback.core.gcs.keys import KeyTable
from thornback.core.gcs.makers import Makers
from thornback.core.gcs.nodes import NodeTable
from thornback.core.gcs.placement_groups import GroupTable
from thornback.core.gcs.quotas import QuotaTable
from thornback.core.gcs.reasons import GcsReasons
from thornback.core.gcs.shares import ShareTable
from thornback.core.gcs.slow_nodes import SlowNodeTable
from thornback.core.gcs.wait_cycles import WaitCycles
from thornback.core.ids import Address, NodeId
from thornback.core.messages import NodeHolds, QueryState, StateRows
from thornback.core.ports import DurableStore, Ports, Write


class GlobalControlStore:
    """All tables of the GCS.

    Attributes:
        ports: of the tables: what they send and trace goes through the journal.
        parts: the tables that take messages, besides this object.
    """

    def __init__(self, ports: Ports, store: DurableStore, config: Config) -> None:
        self.journal = Journal(ports.transport, ports.trace, store)
        self.ports = ports._replace(transport=self.journal, trace=self.journal)
        self.store = store
        self.config = config
        self.incarnations = Incarnations(self)
        self._holds_told: dict[NodeId, None] = {}
        self.nodes = NodeTable(self)
        self.jobs = JobTable(self)
        self.actors = ActorTable(self)
        self.early_ends = EarlyEnds(self)
        self.makers = Makers(self)
        self.checkpoints = CheckpointTable(self)
        self.drains = DrainTable(self)
        self.groups = GroupTable(self)
        self.shares = ShareTable(self)
        self.quotas = QuotaTable(self)
        self.keys = KeyTable(self)
        self.events = EventTable(self)
        self.slow_nodes = SlowNodeTable(self)
        self.reasons = GcsReasons(self)
        self.wait_cycles = WaitCycles(self)
        self.parts: tuple[Any, ...] = (
            self.incarnations,
            self.nodes,
            self.jobs,
            self.actors,
            self.actors.news,
            self.actors.placement,
            self.actors.restarts,
            self.checkpoints,
            self.drains,
            self.groups,
            self.groups.reservations,
            self.makers,
            self.quotas,
            self.keys,
            self.events,
            self.reasons,
            self.wait_cycles,
        )

    def start(self) -> None:
        """Take over what was committed before, as the next incarnation, then serve."""
        self._load(self.store.load())
        self.incarnations.start()
        for table in (self.jobs, self.actors, self.groups, self.drains, self.keys, self.quotas):
            table.loaded()
        self.nodes.start()

    def _load(self, rows: Sequence[Write]) -> None:
        by_table: dict[str, list[Write]] = {}
        for row in rows:
            by_table.setdefault(row.table, []).append(row)
        loaders: tuple[tuple[str, Callable[[bytes, bytes], None]], ...] = (
            (self.incarnations.name, self.incarnations.load),
            (self.keys.name, self.keys.load),
            (self.keys.writers, self.keys.load_writer),
            (self.nodes.name, self.nodes.load),
            (self.jobs.name, self.jobs.load),
            (self.checkpoints.name, self.checkpoints.load),
            (self.groups.name, self.groups.load),
            (self.actors.specs, self.actors.load_spec),
            (self.actors.name, self.actors.load),
            (self.early_ends.name, self.early_ends.load),
            (self.drains.name, self.drains.load),
        )
        for name, load in loaders:
            for row in by_table.get(name, ()):
                if row.value is not None:
                    load(row.key, row.value)

    def process_died(self, address: Address, reason: str) -> None:
        """A process or a node has ended for good. Groups before actors: an actor of theirs must not be sent there
        again. Jobs last: what was the driver's own has ended with its owner by then."""
        self.incarnations.process_died(address)
        self._holds_told.pop(address, None)
        self.keys.process_died(address)
        self.early_ends.process_died(address)
        self.groups.process_died(address)
        self.actors.process_died(address, reason)
        self.jobs.process_died(address, reason)

    def view_changed(self) -> None:
        """Nodes or their resources have changed: what waits for them may go on."""
        self.groups.reservations.view_changed()
        self.actors.placement.view_changed()

    def on_node_holds(self, sender: Address, message: NodeHolds) -> None:
        """A node that knew an earlier GCS says what it holds for it: once to each GCS, since what it repeats is not
        true any more."""
        if message.incarnation != self.incarnations.present or sender in self._holds_told:
            return
        self._holds_told[sender] = None
        self.groups.bundles_held(sender, message.bundles)
        self.actors.leases_held(sender, message.leases)
        self.jobs.jobs_held(sender, message.jobs)
        self.quotas.told(sender)

    def on_query_state(self, sender: Address, message: QueryState) -> None:
        """Rows of one of the tables."""
        tables: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "nodes": self.nodes.rows,
            "jobs": self.jobs.rows,
            "actors": self.actors.rows,
            "placement_groups": self.groups.rows,
            "named_actors": self.actors.named_rows,
            "tasks": self.events.rows,
            "timeline": self.events.rows,
            "waits": self.reasons.rows,
        }
        rows = tables.get(message.table, list)()
        self.ports.transport.send(sender, StateRows(message.request, json.dumps(rows).encode()))

    def end_turn(self) -> None:
        """Make durable what the turn has changed, then let its answers go."""
        self.journal.end_turn()
