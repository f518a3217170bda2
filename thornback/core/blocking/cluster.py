"""Jobs, nodes, and the tables of the cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from thornback.core.ids import GCS
from thornback.core.messages import DrainNode, EndJob, GetView, JobTerms, NodeView, QueryState, StartJob
from thornback.core.runtime import Runtime, Waiter
from thornback.core.waits.thread import wait_for

LAST_WORDS = 2.0
"""Seconds that a driver which leaves waits for the GCS at most."""


def start_job(
    runtime: Runtime, namespace: str, entrypoint: str, metadata: dict[str, str], terms: JobTerms | None = None
) -> None:
    """Make this driver a job of the cluster; afterwards ``core.owner.job_id`` is set."""
    owner = runtime.core.owner
    with runtime.turn:
        waiter = owner.await_job()
        runtime.core.owner.gcs.send(StartJob(namespace, entrypoint, metadata, terms or JobTerms()))
    runtime.block(waiter)


def end_job(runtime: Runtime) -> None:
    """Tell the cluster that this driver is done, and wait a moment until that, and what it asked for before (such as to
    kill an actor), can be lost no more."""
    owner = runtime.core.owner
    settled = Waiter()
    with runtime.turn:
        owner.gcs.settled = settled.complete
        owner.gcs.send(EndJob(owner.job_id))
    runtime.block(settled, LAST_WORDS)


def view(runtime: Runtime) -> list[NodeView]:
    """All nodes of the cluster, dead ones included, as the GCS knows them."""
    with runtime.turn:
        waiter = runtime.core.owner.await_view()
        runtime.core.owner.gcs.send(GetView(0))
    wait_for(runtime, waiter)
    return list(waiter.result.nodes)


def query(runtime: Runtime, table: str) -> list[dict[str, Any]]:
    """Rows of one of the cluster's state tables (actors, nodes, tasks, jobs, workers, objects, timeline)."""
    to = runtime.core.node_id if table in ("workers", "objects") else GCS
    with runtime.turn:
        waiter = runtime.core.owner.request(to, QueryState, table)
    wait_for(runtime, waiter)
    rows: list[dict[str, Any]] = json.loads(waiter.result.rows)
    return rows


def drain_node(runtime: Runtime, node: bytes, reason: str, timeout: int) -> str:
    """Have a node leave within ``timeout`` nanoseconds (-1: when it can); the answer says why it cannot, or is ""."""
    with runtime.turn:
        waiter = runtime.core.owner.request(GCS, DrainNode, node, reason, timeout)
    wait_for(runtime, waiter)
    refusal: str = waiter.result.refusal
    return refusal


def query_at(runtime: Runtime, questions: Sequence[tuple[bytes, str]], timeout: float) -> list[list[dict[str, Any]]]:
    """Rows of tables of several nodes and processes, each given as (address, table); none of one that does not answer
    in ``timeout`` seconds, as it may have ended."""
    with runtime.turn:
        waiters = [runtime.core.owner.request(to, QueryState, table) for to, table in questions]
    answers = []
    for waiter in waiters:
        answers.append(json.loads(waiter.result.rows) if runtime.block(waiter, timeout) else [])
    return answers
