"""Runs in the environment of one engine: measures some probes and reports each result as a line of JSON.

``python -m peers_support.child '<settings as JSON>'``; the settings are those of :class:`Settings`.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peers_support.bench import Bench, SkippedError
from peers_support.rows import PROBES, load_all

MODULES = {"thornback": "thornback", "ray": "ray"}
SETTLE = 0.5
QUICK_SETTLE = 0.1
"""Seconds between two probes, for processes of the one before to end."""


@dataclass
class Settings:
    """What the parent wants measured.

    Attributes:
        descriptor: where the lines go; engines print to the standard ones.
        start: start the engine before the first probe.
    """

    engine: str
    probes: list[str]
    quick: bool
    seconds: float
    cpus: int
    descriptor: int
    start: bool


class _Reporter:
    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._file = os.fdopen(descriptor, "w", buffering=1)

    def __call__(self, **event: Any) -> None:
        print(json.dumps(event), file=self._file, flush=True)


def _open_bench(settings: Settings) -> Bench:
    bench = Bench(None, None, settings.quick, settings.seconds, settings.cpus, _nothing, _nothing)
    if settings.engine in MODULES:
        ray = bench.ray = importlib.import_module(MODULES[settings.engine])
        bench.start = lambda: ray.init(num_cpus=settings.cpus, resources={"custom": 100})
        bench.stop = ray.shutdown
    elif settings.engine == "dask":
        _open_dask(bench, settings)
    return bench


def _open_dask(bench: Bench, settings: Settings) -> None:
    distributed: Any = importlib.import_module("distributed")

    def start() -> None:
        cluster = distributed.LocalCluster(
            n_workers=settings.cpus, threads_per_worker=1, processes=True, dashboard_address=None
        )
        bench.client = distributed.Client(cluster)

    def stop() -> None:
        bench.client.close()
        bench.client.cluster.close()

    bench.start, bench.stop = start, stop


def _nothing() -> None:
    pass


def _version(engine: str) -> str:
    from importlib.metadata import version

    return "" if engine == "bare" else version("distributed" if engine == "dask" else engine)


def _measure(bench: Bench, engine: str, name: str) -> dict[str, Any]:
    candidate = PROBES[name]
    try:
        values = candidate.measures[engine](bench)
    except SkippedError as error:
        return {"skipped": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"}
    numbers = list(values) if isinstance(values, Sequence) else [values]
    if len(numbers) != len(candidate.metrics) or not all(math.isfinite(number) for number in numbers):
        return {"failed": f"measured {numbers}, which is not {len(candidate.metrics)} finite numbers"}
    return {"values": numbers}


def main(settings: Settings) -> None:
    """Measure; a probe that fails is reported as failed, and the next one follows."""
    report = _Reporter(settings.descriptor)
    load_all()
    bench = _open_bench(settings)
    report(event="ready", version=_version(settings.engine))
    if settings.start:
        bench.start()
    for name in settings.probes:
        report(event="begin", probe=name)
        begin = time.monotonic()
        found = _measure(bench, settings.engine, name)
        report(event="end", probe=name, **found)
        print(f"{settings.engine}: {name} took {time.monotonic() - begin:.1f} s: {found}", flush=True)
        gc.collect()
        time.sleep(QUICK_SETTLE if settings.quick else SETTLE)
    report(event="done")
    if settings.start:
        bench.stop()


if __name__ == "__main__":
    main(Settings(**json.loads(sys.argv[1])))
