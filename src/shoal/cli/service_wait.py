"""Waiting for services after a change, unless the user said not to."""

from __future__ import annotations

import io
import sys

from shoal.cli.command import CommandFault, Context
from shoal.ui.converge import NotConverged, wait
from shoal.ui.progress import Board


def wait_for(context: Context, identifier: str, name: str, *, quiet: bool = False) -> None:
    """Show the progress of the service until it has converged; ^C leaves it to go on by itself.

    Raises CommandFault when the update was paused.
    """
    out = io.StringIO() if quiet else sys.stdout
    board = Board(out, terminal=out.isatty())
    try:
        wait(context.client, identifier, name, board)
    except NotConverged as fault:
        raise CommandFault(str(fault)) from fault
    except KeyboardInterrupt:
        context.out("Operation continuing in background.")
        context.out(f"Use `{context.program} service ps {name}` to check progress.")
