"""ssh and scp."""

from __future__ import annotations

from shoal.cli.machine_command import Session, UsageFault
from shoal.machine import ssh as remote
from shoal.machine.driver import SshEndpoint, State
from shoal.machine.errors import MachineError
from shoal.machine.host import open_host


def ssh(session: Session, words: list[str]) -> int:
    """Run a command on a machine, or a shell; the exit status is the command's (255: no connection)."""
    if words and words[0] in ("--help", "-h"):
        session.options(words[:1], arguments="[MACHINE] [SSH OPTIONS] [COMMAND...]")
    name = session.names(words[:1])[0]
    endpoint = _endpoint(session, name)
    return remote.hand_over(remote.command(endpoint, words[1:]))


def _endpoint(session: Session, name: str) -> SshEndpoint:
    host = open_host(session.store, name)
    if host.driver.state() is not State.RUNNING:
        raise MachineError(f'Error: Cannot run SSH command: Host "{name}" is not running')
    endpoint = host.driver.ssh()
    remote.check_key(endpoint)
    return endpoint


_SCP = """
  -r, --recursive   Copy files recursively (required to copy directories)
  -d, --delta       Reduce amount of data sent over network by sending only the differences (uses rsync)
  -q, --quiet       Disables the progress meter as well as warning and diagnostic messages from ssh
"""


def scp(session: Session, words: list[str]) -> int:
    """Copy files between this computer and machines, or between machines."""
    given = session.options(words, _SCP, "[[user@]machine:][path] [[user@]machine:][path]")
    if len(given.args) != 2:
        raise UsageFault("Improper number of arguments", session.typed)
    source, target = (remote.parse_location(text, session.store.exists) for text in given.args)
    try:
        endpoints = {side.machine: _endpoint(session, side.machine) for side in (source, target) if side.machine}
    except MachineError as fault:
        raise MachineError(f"Error loading host: {fault}") from fault
    with remote.config(endpoints) as config:
        return remote.hand_over(
            remote.copy_command(
                config, source, target,
                recursive=given.flag("recursive"), delta=given.flag("delta"), quiet=given.flag("quiet"),
            )
        )  # fmt: skip


RUN = {"ssh": ssh, "scp": scp}
