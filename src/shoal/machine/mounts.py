"""Directories of machines on this computer: how sshfs is called, and how that is ended."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from shoal.machine import ssh
from shoal.machine.driver import SshEndpoint
from shoal.machine.errors import MachineError

_MISSING = "You must have a copy of the sshfs binary locally to use the mount feature"
_WHERE = {
    "darwin": "; on macOS it comes with macFUSE and its sshfs package",
    "win32": "; on Windows it comes with WinFsp and SSHFS-Win",
}


def parse(text: str, is_machine: Callable[[str], bool]) -> ssh.Location:
    """`[user@]machine:path`; without a machine the path is on the machine called `default`."""
    host, colon, path = text.partition(":")
    if not colon or "/" in host:
        return ssh.Location("", text)
    user, _, machine = host.rpartition("@")
    return ssh.Location(machine, path, user)


def mount_command(endpoint: SshEndpoint, path: str, mountpoint: str, platform: str) -> list[str]:
    """The sshfs command that shows the machine's `path` at `mountpoint` (on Windows, a drive such as `X:`)."""
    sshfs = ssh.find("sshfs", _MISSING + _WHERE.get(platform, ""))
    settings = {key: value for key, value in ssh.options(endpoint).items() if key not in ("User", "HostName")}
    options = [item for key, value in settings.items() for item in ("-o", f"{key}={_escaped(value)}")]
    # Nobody's own configuration interferes, as with ssh.
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return [sshfs, "-F", _nothing(platform), *options, f"{endpoint.user}@{host}:{path}", mountpoint]


def _nothing(platform: str) -> str:
    return "NUL" if platform == "win32" else "/dev/null"


def _escaped(value: str) -> str:
    """A comma would end the option."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


def unmount_command(mountpoint: str, platform: str) -> list[str]:
    """The command that takes it away again. Raises MachineError where there is none."""
    if platform == "win32":
        return ["net", "use", mountpoint, "/delete"]
    if platform == "darwin":
        return ["umount", mountpoint]
    for program in ("fusermount3", "fusermount"):
        if shutil.which(program):
            return [program, "-u", mountpoint]
    raise MachineError("You must have a copy of the fusermount binary locally to use the unmount option")
