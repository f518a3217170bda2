"""``thornback memory`` on a running session."""

from __future__ import annotations

import json
import os
import subprocess
import sys

PROGRAM = """
import subprocess, sys
import numpy as np, thornback as ray
ray.init(num_cpus=1)
ref = ray.put(np.ones(3 << 20, np.uint8))
for arguments in (["--json"], []):
    done = subprocess.run([sys.executable, "-m", "thornback.cli", "memory", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout.strip() if arguments else done.stdout)
"""


def test_memory_shows_every_byte(own_sessions: dict[str, str]) -> None:
    environment = {**os.environ, **own_sessions, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, env=environment, check=True
    )
    first, _, rest = done.stdout.partition("\n")
    found = json.loads(first)
    [large] = [row for row in found["objects"] if row["memory_bytes"]]
    assert large["call_site"].startswith("<string>:5") and large["reference_kinds"] == ["LOCAL_REFERENCE"]
    assert sum(row["memory_bytes"] for row in found["objects"]) == found["stores"][0]["used"]
    assert "LOCAL_REFERENCE" in rest and "bytes are in use" in rest


def test_memory_without_a_session(own_sessions: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "thornback.cli", "memory"],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        env={**os.environ, **own_sessions},
    )
    assert done.returncode == 1 and "no running thornback session" in done.stderr
