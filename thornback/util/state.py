"""What is in the cluster: objects, with every byte they take.

The rows are plain dictionaries, ready for JSON or a table.
"""

from __future__ import annotations

from thornback.api.object_state import list_objects, list_stores, summarize_objects

__all__ = ["list_objects", "list_stores", "summarize_objects"]
