"""The command ``thornback``. One module per command; what a command needs is imported when it runs."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> None:
    """Run the command line (``sys.argv`` by default) and exit."""
    from thornback.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
