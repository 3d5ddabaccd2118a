"""Puts Shoal on a machine that ssh reaches, and sees to it that its engine runs as it is set up to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shoal.machine.driver import EngineSetup, SshEndpoint
from shoal.machine.errors import MachineError


def over_ssh(
    endpoint: SshEndpoint,
    name: str,
    setup: EngineSetup,
    say: Callable[[str], None],
    *,
    engine: bool = True,
    upgrade: bool = False,
    cache: Path | None = None,
) -> None:
    """Bring the machine to `setup`: idempotent, restarts the engine only when something of it changed, waits nothing.

    Puts Shoal there unless it is (`upgrade`: unless it is this client's); `engine=False` installs nothing, and only
    hands over files and arguments. Bundles are kept in `cache` (the store's `cache/`; default: the default store's).
    """
    raise MachineError("not yet")
