"""Entry point of a node process: ``python -m thornback.transports.node_main OPTIONS`` (JSON of ``NodeOptions``)."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from thornback.transports import arena
from thornback.transports.node_options import from_json
from thornback.transports.started_page import StartedPage
from thornback.transports.template import Template, WorkerEnvironment


def main(text: str) -> None:
    """Run a node until it is told to end; this is the end of the calling process."""
    options = from_json(text)
    directory, capacity = Path(options.directory), options.object_store_memory
    memory = arena.Arena(arena.create(capacity), capacity, directory)
    environment = WorkerEnvironment(options.directory, memory, StartedPage(), options.life_fd)
    template = Template.fork(environment, options.sys_path)
    # The template imports what workers need while this process imports what a node needs.
    from thornback.transports.node_process import NodeProcess

    node = NodeProcess(options, environment, template)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop())
    sys.exit(node.run())


if __name__ == "__main__":
    main(sys.argv[1])
