"""What the drivers of hypervisors share that boot our image from its ISO: keys, the image's place, free ports."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from shoal.machine import keys
from shoal.machine.driver import Context
from shoal.machine.errors import MachineError
from shoal.machine.files import write_atomic

ISO = "shoal.iso"


class Identity(NamedTuple):
    """The keys of a machine as its seed takes them: who may come in by ssh, and its own key."""

    authorized: str
    host_key: bytes


def make_keys(context: Context, private: Path) -> Identity:
    """Make both pairs. Ours goes to `private` and `private`.pub, its own to `host_key`; known_hosts has it already."""
    ours, host = keys.generate(), keys.generate()
    write_atomic(private, ours.private.encode(), 0o600)
    write_atomic(private.with_name(f"{private.name}.pub"), ours.public.encode(), 0o644)
    write_atomic(context.directory / "host_key", host.private.encode(), 0o600)
    write_atomic(context.directory / "known_hosts", f"{context.name} {host.public}".encode(), 0o600)
    return Identity(ours.public, host.private.encode())


def read_keys(context: Context, private: Path) -> Identity:
    """What `make_keys` made. Raises MachineError when it is not there."""
    try:
        public = private.with_name(f"{private.name}.pub").read_text()
        return Identity(public, (context.directory / "host_key").read_bytes())
    except OSError as fault:
        raise MachineError(f"{fault.filename}: {fault.strerror}") from fault


def given_image(text: str) -> Path | None:
    """The image that a `--*-boot2docker-url` names: a path or file: URL. None for a URL elsewhere: it is not used.

    Raises MachineError when there is no such file.
    """
    if not text:
        return None
    parts = urlsplit(text)
    if parts.scheme in ("http", "https", "ftp"):
        return None
    path = Path(_local(unquote(parts.path)) if parts.scheme == "file" else text)
    if not path.is_file():
        raise MachineError(f"open {path}: no such file or directory")
    return path.absolute()


def _local(path: str) -> str:
    """The path of a file: URL; `/C:/x` is `C:/x`."""
    return path[1:] if len(path) > 2 and path[0] == "/" and path[2] == ":" else path


def place_image(iso: Path, directory: Path) -> Path:
    """The image in the machine's own directory, where a newer one in the store does not change it under the machine.

    A hard link where the file system has them: it costs nothing.
    """
    place = directory / ISO
    with suppress(FileNotFoundError):
        place.unlink()
    try:
        os.link(iso, place)
    except OSError:
        shutil.copyfile(iso, place)
    return place


def free_port(wanted: int, taken: Iterable[int]) -> int:
    """A TCP port of 127.0.0.1 that nobody listens on and no other machine counts on; `wanted` if it is one."""
    used = set(taken)
    if wanted and wanted not in used and _is_free(wanted):
        return wanted
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in used:
            return port
    raise MachineError("no free TCP port on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def colons(digits: str) -> str:
    """A MAC address of twelve digits as `xx:xx:xx:xx:xx:xx`."""
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def last_lines(path: Path, count: int = 15) -> str:
    """The end of a log; empty when there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return ""
