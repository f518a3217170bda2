"""What is in the cluster: nodes, objects with every byte they take, and all that waits, with the reason.

The rows are plain dictionaries, ready for JSON or a table.
"""

from __future__ import annotations

from thornback.api.node_state import list_nodes
from thornback.api.object_state import list_objects, list_stores, summarize_objects
from thornback.util.waits import list_waits

__all__ = ["list_nodes", "list_objects", "list_stores", "list_waits", "summarize_objects"]
