"""Of a machine that was set up before, its certificates alone, and its engine's restart alone.

What docker-machine set up runs Docker, with certificates in a place of Docker's. It reads them only when it starts, and
such machines have no Python that could run `apply`: a shell and tar do.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from shoal.machine import ssh
from shoal.machine.driver import SshEndpoint
from shoal.machine.errors import MachineError
from shoal.machine.install import carry_out, plan, survey

_NOTHING: dict[str, Any] = {"files": {}, "decisive": [], "service": "", "enable": [], "bundle": "", "links": []}
_RESTART_TIMEOUT = 180.0
"""Seconds in which Docker has to be restarted: it waits for its containers to end."""


class Place(NamedTuple):
    """Where a machine's engine has its certificates."""

    folder: str
    restart: str = ""
    """The script that restarts Docker where docker-machine set the machine up; empty where the engine is ours."""


_DOCKERS = (
    Place("/var/lib/boot2docker", "/etc/init.d/docker restart"),
    Place("/etc/docker", "[ -d /run/systemd/system ] && exec systemctl restart docker; exec service docker restart"),
)
_NAMES = ("ca.pem", "server.pem", "server-key.pem")


def check(endpoint: SshEndpoint, folder: str) -> Place:
    """Where the machine's certificates are: `folder`, or docker-machine's place. Raises MachineError without either."""
    lines = [f"test -d {ssh.quote(folder)} && echo {ssh.quote(folder)} && exit"]
    for place in _DOCKERS:
        there = " && ".join(f"test -f {ssh.quote(f'{place.folder}/{name}')}" for name in _NAMES)
        lines.append(f"{there} && echo {ssh.quote(place.folder)} && exit")
    answer = ssh.run(endpoint, ssh.as_root(endpoint, "\n".join([*lines, "exit 0"])))
    if answer.status:
        raise MachineError(f"the machine cannot be asked where its certificates are: {answer.trouble}")
    for place in (Place(folder), *_DOCKERS):
        if answer.text == place.folder:
            return place
    raise MachineError("the machine was not set up by shoal machine: `provision` does that")


def hand_over(endpoint: SshEndpoint, files: Mapping[str, tuple[int, bytes]]) -> None:
    """Put `files` on the machine; nothing is restarted."""
    carry_out(endpoint, survey(endpoint), {**_NOTHING, "files": plan.encoded(files)}, b"")


def hand_to_docker(endpoint: SshEndpoint, place: Place, files: Mapping[str, tuple[int, bytes]]) -> None:
    """Put the certificates among `files` in Docker's place, and restart it. Raises MachineError."""
    answer = ssh.run(endpoint, ssh.as_root(endpoint, _exchange(place.folder)), input=_packed(files))
    if answer.status:
        raise MachineError(f"the certificates could not be put into {place.folder}: {answer.trouble}")
    answer = ssh.run(endpoint, ssh.as_root(endpoint, place.restart), timeout=_RESTART_TIMEOUT)
    if answer.status:
        raise MachineError(f"Docker could not be restarted there: {answer.trouble}")


def _exchange(folder: str) -> str:
    """Takes an archive from standard input. Nothing is replaced before all of it has come."""
    new = " ".join(f"{name}.new" for name in _NAMES)
    moves = [f"mv -f {name}.new {name}" for name in _NAMES]
    return "\n".join(["set -e", "umask 077", f"cd {ssh.quote(folder)}", f"tar -xf - {new}",
                      "chmod 644 ca.pem.new server.pem.new", "chmod 600 server-key.pem.new", *moves])  # fmt: skip


def _packed(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, (_, data) in files.items():
            if (name := PurePosixPath(path).name) in _NAMES:
                # 0600 until `_exchange` widens it; owned by root.
                info = tarfile.TarInfo(f"{name}.new")
                info.size, info.mode = len(data), 0o600
                archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def restart(endpoint: SshEndpoint) -> None:
    """Restart the machine's engine; containers go on."""
    found = survey(endpoint)
    carry_out(endpoint, found, {**_NOTHING, "service": plan.service(found), "due": True}, b"")
