"""Every number that shapes the engine's behaviour, in one place, with its unit.

Users rarely need any of them. ``init(_system_config={...})`` and ``simulate(config={...})`` accept them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
KIB = 1024
MIB = 1024 * 1024


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's settings. Times are nanoseconds, sizes are bytes."""

    inline_limit: int = 100 * KIB
    """Values up to this size live in their owner's memory and travel inside messages."""
    transfer_chunk: int = 5 * MIB
    """Size of one message of an object's bytes between nodes."""
    transfer_in_flight: int = 64 * MIB
    """Bytes that one node asks for at a time, over all objects that it pulls."""
    link_bandwidth: int = 1_250_000_000
    """Bytes per second at which arguments are expected to move between nodes, when it is weighed whether they should.
    """
    lease_idle_hold: int = 500 * MILLISECOND
    """How long an owner keeps a leased worker without work, when nobody else asks for it."""
    lease_requests_floor: int = 16
    """Lease requests an owner keeps waiting per scheduling class before any was granted."""
    pipeline_target: int = 2 * MILLISECOND
    """Estimated work that an owner keeps queued on a leased worker."""
    pipeline_depth: int = 512
    """Most tasks that an owner keeps queued on a leased worker."""
    push_batch: int = 128
    """Most tasks in one message to a worker."""
    idle_worker_timeout: int = 1 * SECOND
    """Idle workers beyond the node's CPU count end after this time."""
    lease_quantum: int = 10 * MILLISECOND
    """How long a lease is left alone before it is taken back for others that wait."""
    reservation_after: int = 500 * MILLISECOND
    """How long a request waits, without any like it being served, before room is kept for it."""
    share_period: int = 200 * MILLISECOND
    """Time between two looks at whether jobs have their parts of the cluster, while some wait."""
    prestart_workers: bool = True
    """Start a worker per CPU with the node, rather than when first needed."""
    allocation_wait: int = 10 * SECOND
    """How long a put, or the read of a remote object, waits for room in shared memory without any progress."""
    outside_after: int = 2 * SECOND
    """How long it waits so before it is given a file of its own outside of shared memory, if that is possible."""
    spill_directories: tuple[str, ...] = ()
    """Where objects go that do not fit into memory: directories, or URIs of pyarrow.fs; () is the session directory."""
    spill_limit: int = -1
    """Most bytes of spill files of a node; -1: no limit but the disk's, 0: no spilling."""
    spill_file_size: int = 100 * MIB
    """Objects are spilled together in files of about this size."""
    spill_codec: str = "lz4"
    """How spilled bytes are compressed where that makes them smaller: lz4, zstd or "" for not at all."""
    spill_writes: int = 2
    """Files that a node writes at the same time."""
    spill_ahead: int = 32 * MIB
    """Most bytes that are read back before anyone asks, after an object that lay before them in the same file."""
    spill_retry: int = 1 * SECOND
    """Pause after a spill file could not be written; it doubles, with jitter, up to :attr:`spill_retry_limit`."""
    spill_retry_limit: int = 30 * SECOND
    pin_hold: int = 1 * SECOND
    """How long a process keeps an object mapped that it reads no more but still refers to."""
    prefetch_limit: int = 64 * MIB
    """Bytes of arguments that a worker brings to its node ahead of the tasks that wait there; also at most a 16th of
    the node's store."""
    memory_threshold: float = 0.95
    """Share of the machine's (or control group's) memory in use beyond which a worker is ended."""
    memory_check: int = 250 * MILLISECOND
    """Time between two looks at the memory; 0: never look."""
    memory_kill_pause: int = 1 * SECOND
    """Time after the end of a worker in which memory may come back before another is ended."""
    pull_stall: int = 10 * SECOND
    """A transfer between nodes that makes no progress for so long is tried elsewhere, or again; that time doubles, with
    jitter, up to :attr:`pull_stall_limit`."""
    pull_stall_limit: int = 60 * SECOND
    worker_start_timeout: int = 60 * SECOND
    """A worker that did not register by then is killed and replaced."""
    heartbeat_period: int = 3 * SECOND
    """Time between two heartbeats of a node."""
    heartbeat_misses: int = 5
    """Missed heartbeats after which a node is declared dead."""
    view_period: int = 100 * MILLISECOND
    """Least time between two resource reports of a node, and between two view requests."""
    drain_margin: int = 1 * SECOND
    """Time before a leaving node must be gone, at most half of its notice, at which what still runs there is ended."""
    spill_hops: int = 6
    """How often a lease request may be passed on before it waits where it is."""
    hybrid_threshold: float = 0.5
    """Utilization up to which the hybrid policy packs."""
    hybrid_top_fraction: float = 0.2
    """Share of the best nodes among which the hybrid policy draws."""
    max_retries: int = 3
    """Default retries of a task whose worker died."""
    retry_backoff: int = 20 * MILLISECOND
    """Delay before the first retry; it doubles, with jitter, up to :attr:`retry_backoff_limit`."""
    retry_backoff_limit: int = 5 * SECOND
    """Longest delay before a retry of a task, or before another start of an actor that ends soon after each, or of a
    worker that does not come up."""
    oom_retries: int = -1
    """Retries of a task whose worker was ended to save the node's memory, besides ``max_retries``; -1: no limit. A task
    with ``max_retries=0`` has none."""
    record_call_sites: bool = False
    """Note for each call of a task or method which line made it, for lists of objects; it costs about 2 us per call.
    Lines of ``put`` are always noted."""
    lineage_limit: int = 1024 * MIB
    """Bytes of task arguments that an owner keeps to rebuild lost objects."""
    resend_after: int = 200 * MILLISECOND
    """First retransmission on a link that may lose messages; it doubles up to :attr:`resend_limit`."""
    resend_limit: int = 5 * SECOND
    acknowledge_after: int = 40 * MILLISECOND
    """Longest delay of an acknowledgement on a link that may lose messages."""
    checkpoint_limit: int = 16 * MIB
    """Most bytes of one actor's checkpoint; the GCS keeps the latest of each actor."""
    task_events: int = 100_000
    """Finished tasks that the GCS keeps for ``timeline``."""
    gcs_retry: int = 2 * SECOND
    """Time after which a process repeats what it asked of the GCS and had no answer to; it doubles, with jitter, up to
    :attr:`gcs_retry_limit`."""
    gcs_retry_limit: int = 30 * SECOND
    gcs_kept_limit: int = 1000
    """Messages that a process keeps for the GCS, until their effect is durable, before whoever makes another actor or
    placement group waits."""
    gcs_rejoin_spread: int = 100 * MILLISECOND
    """Longest time that a process waits before it speaks to a GCS that has come back; drawn, so that not all come at
    once."""
    deaths_reported_again: int = 60 * SECOND
    """How long a node tells a GCS that comes back of the end of a process; the time it was away is not counted."""
    dead_actors: int = 10_000
    """Dead actors that the GCS remembers."""
    reserve_timeout: int = 5 * SECOND
    """How long the GCS waits for nodes to set bundles of a placement group aside before it starts anew."""
    group_retry: int = 1 * SECOND
    """Time after which a placement group that found no room is tried again, when nothing else has happened; it doubles,
    with jitter, up to :attr:`group_retry_limit`."""
    group_retry_limit: int = 10 * SECOND
    """Also the longest pause before a reservation that a node has refused is tried anew."""
    removed_groups: int = 1000
    """Removed placement groups that the GCS and the raylets remember."""
    relayed_links: bool = False
    """All connections between processes of a real node lead through a process that can make faults of links happen."""
    wait_check: int = 5 * SECOND
    """How long a wait lasts before it is looked at whether it is part of a cycle; 0: never."""
    generator_backpressure: int = -1
    """Default limit of unconsumed items of a streaming generator; -1 is none."""

    @classmethod
    def of(cls, overrides: Mapping[str, Any] | None) -> Config:
        """The defaults with some settings replaced.

        Raises:
            ValueError: a name is unknown or a value has the wrong type.
        """
        if not overrides:
            return cls()
        unknown = sorted(set(overrides) - set(cls.__struct_fields__))
        if unknown:
            raise ValueError(f"unknown setting {unknown[0]!r}; the settings are {', '.join(cls.__struct_fields__)}")
        try:
            return msgspec.convert(dict(overrides), cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"bad setting: {error}") from None
