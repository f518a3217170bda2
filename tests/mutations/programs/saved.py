"""An actor that saves its state: acknowledged calls count once each, in their order, whatever crashes."""

from __future__ import annotations

import time
from typing import Any

import thornback as ray
from thornback.faults.workloads.checks import check_equal


@ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=0.5)
class Ledger:
    """Remembers what was added."""

    def __init__(self) -> None:
        self.entries: list[int] = []

    def save_checkpoint(self) -> Any:
        """What is restored."""
        return self.entries

    def restore_checkpoint(self, state: Any) -> None:
        """As it was saved."""
        self.entries = state

    @ray.method(replay=True)
    def add(self, entry: int) -> int:
        """One more."""
        time.sleep(0.01)
        self.entries.append(entry)
        return len(self.entries)

    @ray.method(replay=False)
    def read(self) -> list[int]:
        """All of them."""
        return self.entries


LAST = 200


def main() -> None:
    """Calls one by one and many at a time."""
    ray.init()
    ledger = Ledger.options(checkpoint_every=4).remote()
    for entry in range(20):
        check_equal(f"the answer to entry {entry}", ray.get(ledger.add.remote(entry)), entry + 1)
        time.sleep(0.05)
    rest = [ledger.add.remote(entry) for entry in range(20, LAST)]
    check_equal("the answers to the rest", ray.get(rest), list(range(21, LAST + 1)))
    time.sleep(3)
    check_equal("the entries in the end", ray.get(ledger.read.remote()), list(range(LAST)))


main()
