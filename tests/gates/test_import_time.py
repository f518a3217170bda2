"""``import thornback`` is quick, and loads nothing heavy before it is needed."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = (
    "asyncio",
    "cloudpickle",
    "concurrent.futures",
    "greenlet",
    "grpc",
    "multiprocessing",
    "numpy",
    "pyarrow",
    "rich",
    "simpy",
    "typer",
)
LIMIT = 0.1

PROGRAM = """
import json, sys, time
before = time.process_time()
import thornback
took = time.process_time() - before
print(json.dumps([took, sorted(sys.modules)]))
"""


def fresh_import() -> tuple[float, list[str]]:
    """CPU seconds of the import in a new interpreter, and the modules that are loaded afterwards."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    took, names = json.loads(done.stdout)
    return took, names


def test_importing_takes_less_than_100_ms() -> None:
    fresh_import()  # Compiles what is not compiled yet.
    best = min(fresh_import()[0] for _ in range(5))
    assert best < LIMIT, f"import thornback took {best * 1000:.0f} ms of CPU time at best, the limit is 100 ms"


def test_importing_loads_no_heavy_module() -> None:
    _took, names = fresh_import()
    loaded = [name for name in HEAVY if name in names]
    assert not loaded, f"import thornback loads {', '.join(loaded)}; import them where they are first needed"
