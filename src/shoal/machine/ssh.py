"""The system's `ssh`, `scp` and `rsync` to machines: how they are called. Nothing secret is on a command line."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from shoal.machine.driver import SshEndpoint
from shoal.machine.errors import MachineError

_OPTIONS = {
    "ConnectionAttempts": "3", "ConnectTimeout": "10", "ControlMaster": "no", "ControlPath": "none",
    "LogLevel": "ERROR", "PasswordAuthentication": "no", "ServerAliveInterval": "60",
}  # fmt: skip


def options(endpoint: SshEndpoint) -> dict[str, str]:
    """ssh's options for a machine. Its key was pinned, under its name, when it was made: addresses may change."""
    chosen = dict(_OPTIONS, Port=str(endpoint.port), User=endpoint.user, HostName=endpoint.host,
                  HostKeyAlias=endpoint.alias)  # fmt: skip
    if endpoint.known_hosts:
        chosen["UserKnownHostsFile"] = _quoted(endpoint.known_hosts)
        chosen["StrictHostKeyChecking"] = "yes" if endpoint.known_hosts.exists() else "accept-new"
    if endpoint.key:
        chosen["IdentityFile"] = _quoted(endpoint.key)
        chosen["IdentitiesOnly"] = "yes"
    return chosen


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "/").replace("%", "%%") + '"'


def command(endpoint: SshEndpoint, words: Sequence[str]) -> list[str]:
    """The command that runs `words` (which may begin with ssh's own options) on the machine, or a login shell."""
    program = find("ssh", "You must have a copy of the ssh binary locally to use the ssh feature")
    settings = [item for name, value in options(endpoint).items() for item in ("-o", f"{name}={value}")]
    return [program, "-F", "none", *settings, endpoint.alias, *words]


def check_key(endpoint: SshEndpoint) -> None:
    """ssh refuses a key that others can read; say so in words. Raises MachineError."""
    if endpoint.key is None:
        return
    try:
        mode = endpoint.key.stat().st_mode & 0o777
    except OSError as fault:
        raise MachineError(f"'{endpoint.key}' is not readable") from fault
    if mode & 0o077 and endpoint.key.drive == "":
        raise MachineError(f"permissions {mode:04o} for '{endpoint.key}' are too open")


def run(argv: Sequence[str]) -> int:
    """Run with our terminal; the exit status, 128 + N for a signal N."""
    status = subprocess.run(list(argv), check=False).returncode
    return 128 - status if status < 0 else status


def find(program: str, otherwise: str) -> str:
    """Where `program` is. Raises MachineError with `otherwise`."""
    path = shutil.which(program)
    if not path:
        raise MachineError(otherwise)
    return path


class Location(NamedTuple):
    """One side of a copy: a path here (`machine` is empty), or on a machine."""

    machine: str
    path: str
    user: str = ""


def parse_location(text: str, is_machine: Callable[[str], bool]) -> Location:
    """`[user@]machine:path`, or a path here. `C:\\x` is a drive unless a machine is called so."""
    host, colon, path = text.partition(":")
    user, _, machine = host.rpartition("@")
    if not colon or "/" in host or "\\" in host:
        return Location("", text)
    if machine == "localhost" and not user:
        return Location("", path)
    if len(host) == 1 and host.isalpha() and not is_machine(host):
        return Location("", text)
    return Location(machine, path, user)


@contextmanager
def config(endpoints: Mapping[str, SshEndpoint]) -> Iterator[Path]:
    """A configuration file for ssh in which every machine stands by its name, for tools that talk to several."""
    with tempfile.TemporaryDirectory(prefix="shoal-ssh-") as directory:
        path = Path(directory) / "config"
        blocks = []
        for name, endpoint in endpoints.items():
            settings = "".join(f"    {key} {value}\n" for key, value in options(endpoint).items())
            blocks.append(f"Host {name}\n{settings}")
        path.write_text("\n".join(blocks))
        yield path


def copy_command(
    config_file: Path, source: Location, target: Location, *, recursive: bool, delta: bool, quiet: bool
) -> list[str]:
    """The scp (or, for `delta`, rsync) command for one copy."""
    sides = [_written(source), _written(target)]
    if delta:
        if source.machine and target.machine:
            raise MachineError("The --delta option copies between this computer and a machine, not between machines")
        rsync = find("rsync", "You must have a copy of the rsync binary locally to use the --delta option")
        flags = [*(["-r"] if recursive else []), *([] if quiet else ["--progress"])]
        return [rsync, *flags, "-e", f"ssh -F {config_file}", *sides]
    scp = find("scp", "You must have a copy of the scp binary locally to use the scp feature")
    flags = [*(["-r"] if recursive else []), *(["-q"] if quiet else [])]
    return [scp, "-F", str(config_file), "-3", *flags, *sides]


def _written(location: Location) -> str:
    if location.machine:
        user = f"{location.user}@" if location.user else ""
        return f"{user}{location.machine}:{location.path}"
    # A colon in a local name would read as a host.
    return f"./{location.path}" if ":" in location.path and not Path(location.path).is_absolute() else location.path
