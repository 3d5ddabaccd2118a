"""ssh, scp and mount."""

from __future__ import annotations

import sys

from shoal.cli.machine_command import Session, UsageFault
from shoal.machine import mounts
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
    if remote.native():
        from shoal.machine import ssh_native

        return ssh_native.hand_over(endpoint, words[1:])
    return remote.hand_over(remote.command(endpoint, words[1:]))


def _endpoint(session: Session, name: str) -> SshEndpoint:
    host = open_host(session.store, name)
    try:
        state = host.driver.state()
    except MachineError:
        # A cloud that does not let us in any more must not keep us from a machine whose address is known.
        state = State.NONE
    if state not in (State.RUNNING, State.NONE):
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


_MOUNT = """
  -u, --unmount   Unmount instead of mount
"""


def mount(session: Session, words: list[str]) -> int:
    """Show a machine's directory as one of this computer's, or end that."""
    given = session.options(words, _MOUNT, "[-u] [[user@]machine:]path [mountpoint]")
    if len(given.args) not in (1, 2):
        raise UsageFault("Improper number of arguments", session.typed)
    place = mounts.parse(given.args[0], session.store.exists)
    mountpoint = given.args[1] if given.args[1:] else place.path
    if given.flag("unmount"):
        return remote.hand_over(mounts.unmount_command(mountpoint, sys.platform))
    name = session.names([place.machine] if place.machine else [])[0]
    endpoint = _endpoint(session, name)
    if place.user:
        endpoint = endpoint._replace(user=place.user)
    return remote.hand_over(mounts.mount_command(endpoint, place.path, mountpoint, sys.platform))


RUN = {"ssh": ssh, "scp": scp, "mount": mount}
