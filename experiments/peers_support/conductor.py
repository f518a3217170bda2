"""Runs the probes in the engines in turn: A, B, A, B, ... each time in a fresh process of the engine's environment."""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peers_support import environments, processes
from peers_support.child import Settings
from peers_support.results import Results
from peers_support.rows import Probe
from peers_support.rows_start import GROUP as START

START_LIMIT = 60.0
"""Seconds until an engine must be up."""
STOP_LIMIT = 30.0
QUICK_LIMIT = 20.0
"""Seconds for one probe in a quick run."""
QUICK_TOTAL = 170.0
"""Seconds that a quick run may take: a round that would not fit is left out."""
Say = Callable[[str], None]


class _Child:
    """One process that measures, and the lines that it reports."""

    def __init__(self, python: Path, settings: Settings, directory: str, log: Any) -> None:
        self._events, writing = os.pipe()
        settings.descriptor = writing
        here = str(Path(__file__).parent.parent)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")])),
            "PYTHONWARNINGS": "ignore",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._process = subprocess.Popen(
            [python, "-m", "peers_support.child", json.dumps(asdict(settings))],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[writing],
            start_new_session=True,
        )
        os.close(writing)
        self._pending = b""

    def next_event(self, deadline: float) -> dict[str, Any] | None:
        """The next line; None when the process has ended.

        Raises:
            TimeoutError: none came before ``deadline`` (monotonic seconds).
        """
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self._events], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            received = os.read(self._events, 65536)
            if not received:
                return None
            self._pending += received
        line, _, self._pending = self._pending.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event

    def end(self, patience: float) -> None:
        """Wait for the end, then see to it, also for everything that the engine has started."""
        family = processes.descendants(self._process.pid)
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            family += processes.descendants(self._process.pid)
            self._process.kill()
            self._process.wait()
        processes.kill(family)
        os.close(self._events)


class Conductor:
    """A run of some probes in some engines.

    Args:
        log: where the output of the engines goes.
        say: tells the user what is going on.
    """

    def __init__(self, results: Results, quick: bool, seconds: float, cpus: int, log: Any, say: Say) -> None:
        self.results = results
        self.quick = quick
        self.seconds = seconds
        self.cpus = cpus
        self.log = log
        self.say = say
        self._pythons: dict[str, Path] = {}

    def install(self, engines: Sequence[str]) -> None:
        """Have all engines ready; one that cannot be installed is noted and left out."""
        for engine in engines:
            try:
                self._pythons[engine] = environments.python_of(engine, self.say)
            except environments.InstallError as error:
                self.results.notes.append(f"{engine} was not measured: {error}")
                self.say(self.results.notes[-1])

    def run(self, probes: Sequence[Probe], rounds: int) -> None:
        """Measure everything ``rounds`` times, in turn."""
        deadline = time.monotonic() + QUICK_TOTAL if self.quick else math.inf
        for group in self._groups(probes):
            took = 0.0
            for number in range(rounds):
                begin = time.monotonic()
                if number and begin + took > deadline:
                    self.results.notes.append(f"only {number} of {rounds} rounds, so as to stay quick")
                    break
                for engine in self._pythons:
                    mine = [probe for probe in group if engine in probe.measures]
                    if mine:
                        self.say(f"{mine[0].group}, round {number + 1} of {rounds}: {engine}")
                        self._measure(engine, mine)
                took = time.monotonic() - begin

    def _groups(self, probes: Sequence[Probe]) -> list[list[Probe]]:
        """Probes that share a start of the engine: those of a group; in a quick run, all that do not start it."""
        groups: dict[str, list[Probe]] = {}
        for probe in probes:
            key = "" if self.quick and probe.group != START else probe.group
            groups.setdefault(key, []).append(probe)
        return [sorted(group, key=lambda probe: not probe.fresh) for group in groups.values()]

    def _measure(self, engine: str, probes: list[Probe]) -> None:
        """Measure the probes once. After one that did not end well, the rest get a fresh process."""
        left = probes
        while left:
            left = left[self._attempt(engine, left) :]

    def _attempt(self, engine: str, probes: list[Probe]) -> int:
        """Run one process; returns how many probes are done with."""
        names = [probe.name for probe in probes]
        start = probes[0].group != START and engine != "bare"
        settings = Settings(engine, names, self.quick, self.seconds, self.cpus, -1, start)
        done = 0
        with tempfile.TemporaryDirectory(prefix="peers-") as directory:
            child = _Child(self._pythons[engine], settings, directory, self.log)
            patience = STOP_LIMIT
            try:
                for probe in probes:
                    event = self._follow(child, engine, probe, done == 0)
                    self.results.record(probe, engine, event)
                    done += 1
                    if "failed" in event:
                        self.say(f"  {probe.name} failed in {engine}: {event['failed']}")
                        patience = 0 if event.get("hopeless") else STOP_LIMIT
                        break
            except BaseException:
                patience = 0
                raise
            finally:
                child.end(patience if done == len(probes) else 0)
        return done

    def _follow(self, child: _Child, engine: str, probe: Probe, first: bool) -> dict[str, Any]:
        """What came of one probe."""
        limit = QUICK_LIMIT if self.quick and probe.quick else probe.seconds
        deadline = time.monotonic() + limit + (START_LIMIT if first else 0)
        begun = False
        while True:
            try:
                event = child.next_event(deadline)
            except TimeoutError:
                if begun:
                    return {"failed": f"no result after {limit:g} s", "hopeless": True}
                return {"failed": f"{engine} did not start within {START_LIMIT:g} s", "hopeless": True}
            if event is None:
                return {
                    "failed": f"the process ended{'' if begun else ' at its start'} (see the log)",
                    "hopeless": True,
                }
            if event["event"] == "ready":
                self.results.versions[engine] = event["version"]
            elif event["event"] == "begin":
                begun = True
                deadline = time.monotonic() + limit
            elif event["event"] == "end":
                return event
