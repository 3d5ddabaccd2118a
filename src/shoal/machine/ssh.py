"""ssh, scp and rsync to machines: OpenSSH's programs, or asyncssh (`ssh_native`) where MACHINE_NATIVE_SSH says so.

Nothing secret is on a command line: what a command needs comes by its standard input. The machine's key is pinned:
known_hosts holds it from the first contact on, or from before it where the driver knew it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from shoal.machine.driver import SshEndpoint
from shoal.machine.errors import MachineError

BANNER_TIMEOUT = 180.0
COMMAND_TIMEOUT = 60.0

_OPTIONS = {
    "ConnectionAttempts": "3", "ConnectTimeout": "10", "ControlMaster": "no", "ControlPath": "none",
    "LogLevel": "ERROR", "PasswordAuthentication": "no", "ServerAliveInterval": "60",
}  # fmt: skip


def options(endpoint: SshEndpoint) -> dict[str, str]:
    """ssh's options for a machine. Its key was pinned, under its name, when it was made: addresses may change."""
    # ssh replaces what follows a percent sign there: an address may have a zone (fe80::1%eth0).
    host = endpoint.host.replace("%", "%%")
    chosen = dict(_OPTIONS, Port=str(endpoint.port), User=endpoint.user, HostName=host, HostKeyAlias=endpoint.alias)
    if endpoint.known_hosts:
        chosen["UserKnownHostsFile"] = _quoted(endpoint.known_hosts)
        chosen["StrictHostKeyChecking"] = "yes" if pinned(endpoint) else "accept-new"
    if endpoint.key:
        chosen["IdentityFile"] = _quoted(endpoint.key)
        chosen["IdentitiesOnly"] = "yes"
    return chosen


def pinned(endpoint: SshEndpoint) -> bool:
    """Whether the machine's key is known: from then on no other is taken."""
    if endpoint.known_hosts is None:
        return False
    with suppress(OSError):
        lines = endpoint.known_hosts.read_text().splitlines()
        return any(endpoint.alias in line.split(" ")[0].split(",") for line in lines)
    return False


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "/").replace("%", "%%") + '"'


def command(endpoint: SshEndpoint, words: Sequence[str]) -> list[str]:
    """The command that runs `words` (which may begin with ssh's own options) on the machine, or a login shell."""
    return _argv(endpoint, {}, words)


def _argv(endpoint: SshEndpoint, more: Mapping[str, str], words: Sequence[str]) -> list[str]:
    program = find("ssh", "You must have a copy of the ssh binary locally to use the ssh feature")
    settings = [item for name, value in {**options(endpoint), **more}.items() for item in ("-o", f"{name}={value}")]
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


class SshError(MachineError):
    """The machine could not be reached by ssh, or did not let us in; the command was not run, or not to its end."""


class Result(NamedTuple):
    """How a command ended that ran on a machine."""

    status: int
    output: bytes
    errors: bytes

    @property
    def text(self) -> str:
        """What it wrote on standard output, without surrounding white space."""
        return self.output.decode(errors="replace").strip()

    @property
    def trouble(self) -> str:
        """What it wrote on standard error, or that it exited with a status: for a sentence about its failure."""
        return self.errors.decode(errors="replace").strip() or f"exit status {self.status}"


def run(endpoint: SshEndpoint, command: str, *, input: bytes = b"", timeout: float = COMMAND_TIMEOUT) -> Result:
    """Run a shell command on the machine, `input` (secrets too) on its standard input, without a terminal.

    Raises SshError when there is no connection, the key is refused, another machine answers, or `timeout` seconds are
    over. A command that itself exits with 255 looks like a lost connection: ssh leaves nothing to tell them apart.
    """
    check_key(endpoint)
    if native():
        from shoal.machine.ssh_native import run as run_native

        return run_native(endpoint, command, input, timeout)
    result = _communicate(endpoint, _argv(endpoint, {"BatchMode": "yes"}, [command]), input, timeout)
    if result.status == _LOST or result.status < 0:
        raise SshError(f"ssh to {where(endpoint)}: {explain(endpoint, result.errors.decode(errors='replace'))}")
    return result


def _communicate(endpoint: SshEndpoint, argv: Sequence[str], input: bytes, timeout: float) -> Result:
    deadline = time.monotonic() + timeout
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        said: list[bytes] = []
        talk = threading.Thread(target=lambda: said.extend(process.communicate(input)), daemon=True)
        talk.start()
        try:
            while talk.is_alive():
                # In slices: whoever interrupts this thread is heard between them.
                talk.join(0.2)
                if time.monotonic() > deadline:
                    raise SshError(f"ssh to {where(endpoint)}: nothing came back within {timeout:g} seconds")
        finally:
            if talk.is_alive():
                process.kill()
                talk.join()
    return Result(process.returncode, *said)


_LOST = 255


def native() -> bool:
    """Whether asyncssh is to be used instead of OpenSSH: MACHINE_NATIVE_SSH (`--native-ssh`), or no `ssh` here."""
    chosen = os.environ.get("MACHINE_NATIVE_SSH", "").lower() in ("1", "t", "true")
    return chosen or shutil.which("ssh") is None


def where(endpoint: SshEndpoint) -> str:
    """The endpoint in words."""
    return f"{endpoint.user}@{endpoint.host}:{endpoint.port}"


def quote(text: str) -> str:
    """`text` as one word of a shell's command line."""
    return shlex.quote(text)


def as_root(endpoint: SshEndpoint, script: str) -> str:
    """The command that runs `script` by sh as root: through sudo, without a password, where the user is another."""
    shell = f"sh -c {quote(script)}"
    return shell if endpoint.user == "root" else f"sudo -n -- {shell}"


def explain(endpoint: SshEndpoint, said: str) -> str:
    """ssh's complaint in one sentence that says what to do."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("@")]
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        return (
            f"another machine answers than the one whose key is pinned in {endpoint.known_hosts}. If it was installed "
            f"anew, remove that file"
        )
    if "Host key verification failed" in said:
        return f"its key is not the one pinned in {endpoint.known_hosts}"
    if "Permission denied" in said:
        return f"the machine does not accept our key ({endpoint.key or 'agent or default keys'}) for {endpoint.user}"
    return lines[-1] if lines else "the connection was lost"


def wait_for_banner(endpoint: SshEndpoint, timeout: float = BANNER_TIMEOUT) -> None:
    """Wait until sshd says hello. Raises SshError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not greets(endpoint):
        if time.monotonic() > deadline:
            raise SshError(
                f"Too many retries waiting for SSH to be available.  Nothing answers at {endpoint.host}:{endpoint.port}"
            )
        time.sleep(0.02)


def greets(endpoint: SshEndpoint, timeout: float = 2.0) -> bool:
    """Whether an sshd answers there now."""
    with suppress(OSError), socket.create_connection((endpoint.host, endpoint.port), timeout=timeout) as connection:
        if connection.recv(4) == b"SSH-":
            connection.sendall(b"SSH-2.0-shoal\r\n")
            return True
    return False


def hand_over(argv: Sequence[str]) -> int:
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
        return [rsync, *flags, "-e", f"ssh -F {shlex.quote(str(config_file))}", *sides]
    scp = find("scp", "You must have a copy of the scp binary locally to use the scp feature")
    flags = [*(["-r"] if recursive else []), *(["-q"] if quiet else [])]
    return [scp, "-F", str(config_file), "-3", *flags, *sides]


def _written(location: Location) -> str:
    if location.machine:
        user = f"{location.user}@" if location.user else ""
        return f"{user}{location.machine}:{location.path}"
    # A colon in a local name would read as a host.
    return f"./{location.path}" if ":" in location.path and not Path(location.path).is_absolute() else location.path
