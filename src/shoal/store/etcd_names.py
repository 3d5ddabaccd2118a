"""Names for etcd's members that stay when addresses change.

etcd keeps its peers' URLs in the replicated member list, which changes only by a quorum: were there addresses in it,
managers that all moved could never meet again, and two that swapped their addresses would take each other for the one
that was there before. So the URLs hold names, one for each node for ever, and a peer's certificate holds its name: who
answers at a wrong address is found out in the handshake. What address a name has now each manager writes into a hosts
file of its own, which etcd sees as /etc/hosts, in a mount namespace of its own; it looks again every five seconds.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path

from shoal.kit.files import write_atomic

TOOLS = ("unshare", "mount", "umount")
"""What `with_names` runs."""

_SCRIPT = """
set -e
containers=$1 etc=$2
shift 2
mounts=$(cat /proc/self/mounts)
printf '%s\\n' "$mounts" | while read -r _ at kind _; do
    case $kind:$at in nsfs:* | overlay:"$containers"/*) umount --lazy "$at" || : ;; esac
done
mount --bind "$etc" /etc
exec "$@"
"""
# Containers' file systems and networks are copied into the namespace, too, and would outlive the containers there where
# the machine's mounts are not shared: so they go at once.


def write_names(directory: Path, addresses: Mapping[str, str]) -> None:
    """The names that the etcd in `directory` knows, from now on: name -> IP address. What is no address is left out."""
    lines = [f"{address} {name}\n" for name, address in sorted(addresses.items()) if _is_address(address)]
    etc = _etc(directory)
    etc.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in (("nsswitch.conf", "hosts: files\n"), ("hosts", "".join(lines))):
        path = etc / name
        if not path.exists() or path.read_text() != text:  # a manager starts on a full disk, too
            write_atomic(path, text.encode(), 0o600)


def with_names(directory: Path, command: Iterable[str]) -> list[str]:
    """The command that runs etcd's `command` so that it knows these names, and no others. The process stays the same,
    and so does its parent."""
    containers = directory.absolute().parent.parent  # of a node's state directory: where the engine has its data
    script = ["sh", "-c", _SCRIPT, "sh", str(containers), str(_etc(directory).absolute())]
    return ["unshare", "--mount", "--propagation", "slave", "--", *script, *command]


def _etc(directory: Path) -> Path:
    return directory / "etc"


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False
