"""The hub of the GCS's tables, on the head node."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from thornback.core.config import Config
from thornback.core.gcs.actors import ActorTable
from thornback.core.gcs.checkpoints import CheckpointTable
from thornback.core.gcs.events import EventTable
from thornback.core.gcs.jobs import JobTable
from thornback.core.gcs.keys import KeyTable
from thornback.core.gcs.nodes import NodeTable
from thornback.core.gcs.placement_groups import GroupTable
from thornback.core.gcs.reasons import GcsReasons
from thornback.core.gcs.wait_cycles import WaitCycles
from thornback.core.ids import Address
from thornback.core.messages import QueryState, StateRows
from thornback.core.ports import DurableStore, Ports


class GlobalControlStore:
    """All tables of the GCS.

    Attributes:
        parts: the tables that take messages, besides this object.
    """

    def __init__(self, ports: Ports, store: DurableStore, config: Config) -> None:
        self.ports = ports
        self.store = store
        self.config = config
        self.nodes = NodeTable(self)
        self.jobs = JobTable(self)
        self.actors = ActorTable(self)
        self.checkpoints = CheckpointTable(self)
        self.groups = GroupTable(self)
        self.keys = KeyTable(self)
        self.events = EventTable(self)
        self.reasons = GcsReasons(self)
        self.wait_cycles = WaitCycles(self)
        self.parts: tuple[Any, ...] = (
            self.nodes,
            self.jobs,
            self.actors,
            self.checkpoints,
            self.groups,
            self.keys,
            self.events,
            self.reasons,
            self.wait_cycles,
        )

    def start(self) -> None:
        """Load what was committed before, then serve."""
        for write in self.store.load():
            if write.value is not None:
                for table in (self.keys, self.jobs, self.groups, self.checkpoints):
                    if write.table == table.name:
                        table.load(write.key, write.value)
        self.nodes.start()

    def process_died(self, address: Address, reason: str) -> None:
        """A process or a node has ended for good. Groups come first: their actors go where their bundles go."""
        self.groups.process_died(address)
        self.actors.process_died(address, reason)

    def view_changed(self) -> None:
        """Nodes or their resources have changed: what waits for them may go on."""
        self.groups.view_changed()
        self.actors.view_changed()

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
        """Nothing is left over between turns."""
