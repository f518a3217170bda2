"""What the exit codes of ``simulate --seeds``, ``replay``, ``shrink`` and ``trace`` mean."""

from __future__ import annotations

FINE = 0
"""No promise was broken; a replay was the same run."""
BAD_INPUT = 2
"""An option, plan, program or file cannot be used; nothing was run."""
BROKEN = 3
"""An invariant of the engine was broken."""
PROGRAM_FAILED = 4
"""Only the program's own checks have failed."""
UNFINISHED = 5
"""A run came to no end: it took too long, or its process has ended."""
DIVERGED = 6
"""A replay was another run."""
OTHER_VERSION = 7
"""The failure was found with another version; ``--any-version`` runs it all the same."""
NOT_AGAIN = 8
"""The failure to shrink does not happen again."""
INTERRUPTED = 130
"""Ctrl-C; what was found until then is reported and saved."""
