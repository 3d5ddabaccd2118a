"""Keys between us and a machine at a cloud: ours, which it lets in, and its own, which is checked from the first time.

The machine's first host key comes to it by user-data (`userdata`), so it is known before there is a machine. As
user-data can be read by whatever runs there, `renew_host_key` has the machine make another one over that connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from shoal.machine import keys, ssh
from shoal.machine.driver import SshEndpoint
from shoal.machine.errors import MachineError
from shoal.machine.files import write_atomic
from shoal.machine.keys import KeyPair

LOGIN_TIMEOUT = 90.0
"""Seconds in which a machine whose sshd answers has to let us in: cloud-init may still be making the user."""

CLOUD_INIT_TIMEOUT = 600.0
"""Seconds in which cloud-init has to come to its end; after them we go on all the same."""

_SETTLE = "if command -v cloud-init; then cloud-init status --wait; fi >/dev/null 2>&1; exit 0"
_NEW = "/etc/ssh/.shoal_new_host_key"
_MAKE = f"""set -e
PATH=$PATH:/usr/sbin:/sbin
rm -f {_NEW} {_NEW}.pub
ssh-keygen -q -t ed25519 -N '' -C '' -f {_NEW}
cat {_NEW}.pub
"""
_USE = f"""set -e
mv -f {_NEW}.pub /etc/ssh/ssh_host_ed25519_key.pub
mv -f {_NEW} /etc/ssh/ssh_host_ed25519_key
systemctl reload ssh || systemctl reload sshd || kill -HUP "$(cat /run/sshd.pid)" || :
"""


def make_key(directory: Path, kind: str) -> tuple[Path, str]:
    """Make the key with which we log in: its private file (docker-machine's name for it), and its public line."""
    pair = keys.generate() if kind == "ed25519" else _rsa()
    path = directory / f"id_{kind}"
    write_atomic(path, pair.private.encode(), 0o600)
    write_atomic(directory / f"{path.name}.pub", pair.public.encode(), 0o600)
    return path, pair.public.strip()


def _rsa() -> KeyPair:
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return KeyPair(private.decode(), public.decode() + "\n")


def public_of(private: Path) -> str:
    """The public line of a private key of the user's. Raises MachineError."""
    try:
        key = serialization.load_ssh_private_key(private.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        try:
            key = serialization.load_pem_private_key(private.read_bytes(), password=None)  # type: ignore[assignment]
        except (OSError, ValueError, TypeError) as fault:
            raise MachineError(f"{private}: no private key that can be read: {fault}") from fault
    public = key.public_key()
    line = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return line.decode()


def pin(known_hosts: Path, alias: str, *public: str) -> None:
    """Take these keys of the machine, and no others."""
    lines = "".join(f"{alias} {' '.join(line.split()[:2])}\n" for line in public)
    write_atomic(known_hosts, lines.encode(), 0o600)


def log_in(endpoint: SshEndpoint, timeout: float = LOGIN_TIMEOUT) -> None:
    """Wait until the machine, which answers, lets us in. Raises SshError, the last one, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            ssh.run(endpoint, "true", timeout=30)
            return
        except ssh.SshError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def wait_for_cloud_init(endpoint: SshEndpoint) -> None:
    """Let the first boot come to its end, with the user's own part of it: it installs packages, as we will."""
    with suppress(ssh.SshError):
        ssh.run(endpoint, ssh.as_root(endpoint, _SETTLE), timeout=CLOUD_INIT_TIMEOUT)


def renew_host_key(endpoint: SshEndpoint, old: str, say: Callable[[str], None]) -> None:
    """Have the machine make a host key that nobody else has seen, and pin it instead of `old`.

    Interrupted anywhere, one of the pinned keys is the machine's. Where it cannot be done the old key stays.
    """
    known_hosts = endpoint.known_hosts
    assert known_hosts is not None
    made = ssh.run(endpoint, ssh.as_root(endpoint, _MAKE))
    if made.status or not made.text.startswith("ssh-ed25519 "):
        say(f"The machine's ssh key could not be replaced by one of its own: {made.trouble}")
        return
    pin(known_hosts, endpoint.alias, old, made.text)
    used = ssh.run(endpoint, ssh.as_root(endpoint, _USE))
    if used.status:
        say(f"The machine's ssh key could not be replaced by one of its own: {used.trouble}")
        return
    pin(known_hosts, endpoint.alias, made.text)
    try:
        log_in(endpoint, 10)
    except ssh.SshError:
        # This sshd has not read it again: after the next boot it will have.
        pin(known_hosts, endpoint.alias, old, made.text)
