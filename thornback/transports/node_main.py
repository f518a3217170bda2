"""Entry point of a node process: ``python -m thornback.transports.node_main OPTIONS`` (JSON of ``NodeOptions``)."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from thornback.transports import arena
from thornback.transports.node_options import NodeOptions, from_json
from thornback.transports.started_page import StartedPage
from thornback.transports.template import Template, WorkerEnvironment


def main(text: str) -> None:
    """Run a node until it is told to end; this is the end of the calling process."""
    options = from_json(text)
    relay = _fork_relay(options)
    directory, capacity = Path(options.directory), options.object_store_memory
    memory = arena.Arena(arena.create(capacity), capacity, directory)
    environment = WorkerEnvironment(options.directory, memory, StartedPage(), options.life_fd)
    template = Template.fork(environment, options.sys_path)
    # The template imports what workers need while this process imports what a node needs.
    from thornback.transports.node_process import NodeProcess

    node = NodeProcess(options, environment, template)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop())
    exit_code = node.run()
    if relay:
        os.kill(relay, signal.SIGTERM)
        os.waitpid(relay, 0)
    sys.exit(exit_code)


def _fork_relay(options: NodeOptions) -> int:
    """Pid of the session's relay; 0 if it has none."""
    if options.relay_fd < 0:
        return 0
    from thornback.transports.relay_process import fork

    listener = socket.socket(fileno=options.relay_fd)
    pid = fork(listener, {options.life_fd})
    listener.close()
    return pid


if __name__ == "__main__":
    main(sys.argv[1])
