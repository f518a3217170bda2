"""What user threads do with the core, step by step; all that waits does so in :mod:`thornback.core.waits.thread`.

Every function here runs outside of any turn, enters the core with ``with runtime.turn:`` and waits with
``runtime.block``. The public API is a thin layer over these.
"""

from __future__ import annotations

from thornback.core.blocking.actors import create_actor, get_named_actor, kill_actor
from thornback.core.blocking.cluster import drain_node, end_job, query, query_at, start_job, view
from thornback.core.blocking.objects import Fetch, get, put, store, wait, when_ready
from thornback.core.blocking.tasks import (
    call_actor,
    cancel,
    cancel_stream,
    captured,
    captured_template,
    close_stream,
    next_item,
    note_call_site,
    prepare_arguments,
    stream_completed,
    submit,
)

__all__ = [
    "Fetch",
    "call_actor",
    "cancel",
    "cancel_stream",
    "captured",
    "captured_template",
    "close_stream",
    "create_actor",
    "drain_node",
    "end_job",
    "get",
    "get_named_actor",
    "kill_actor",
    "next_item",
    "note_call_site",
    "prepare_arguments",
    "put",
    "query",
    "query_at",
    "start_job",
    "store",
    "stream_completed",
    "submit",
    "view",
    "wait",
    "when_ready",
]
