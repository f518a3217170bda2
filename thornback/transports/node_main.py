"""Entry point of a node process: ``python -m thornback.transports.node_main OPTIONS`` (JSON of ``NodeOptions``)."""

from __future__ import annotations

import signal
import sys

from thornback.transports.node_options import from_json
from thornback.transports.node_process import NodeProcess


def main(options: str) -> None:
    """Run a node until it is told to end."""
    node = NodeProcess(from_json(options))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop())
    node.run()


if __name__ == "__main__":
    main(sys.argv[1])
