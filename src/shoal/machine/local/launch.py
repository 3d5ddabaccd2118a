"""Starts a machine's pid 1: `python -I -S launch.py`, its spec (JSON) on stdin. Standard library only.

It joins the machine's cgroups, leaves the host's namespaces, forks pid 1 and writes down who that is before it lets it
run: whatever dies in between, a machine is either recorded or gone. Answers lines on stdout: `pid N`, then from pid 1
`mounted`; or `error` and a reason. Pid 1 waits for one more byte on stdin (its network is there) and ends without it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Read the spec, become a machine."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from shoal.machine.local import cgroups, init, mounts

    spec: dict[str, Any] = json.loads(read_spec(0))
    try:
        os.chdir("/")
        os.umask(0o022)
        cgroups.join([Path(directory) for directory in spec["cgroups"]])
        mounts.unshare(
            mounts.CLONE_NEWNS | mounts.CLONE_NEWNET | mounts.CLONE_NEWUTS | mounts.CLONE_NEWIPC
            | mounts.CLONE_NEWPID | mounts.CLONE_NEWCGROUP
        )  # fmt: skip
        recorded, tell = os.pipe()
        pid = os.fork()
    except OSError as fault:
        os.write(1, f"error {fault}\n".encode())
        sys.exit(1)
    if pid == 0:
        os.close(tell)
        if os.read(recorded, 1):
            os.close(recorded)
            init.main(spec)
        os._exit(1)
    _record(Path(spec["run_file"]), pid)
    os.write(tell, b"\n")
    os.write(1, f"pid {pid}\n".encode())


def _record(path: Path, pid: int) -> None:
    from shoal.machine.files import write_atomic
    from shoal.machine.process import identify

    identity = identify(pid)
    write_atomic(path, json.dumps(identity._asdict() if identity else {}).encode())


def read_spec(descriptor: int) -> bytes:
    """The spec: a line with its length, then itself; nothing beyond it is read."""
    length = b""
    while not length.endswith(b"\n"):
        length += os.read(descriptor, 1) or b"0\n"
    left, parts = int(length), []
    while left and (chunk := os.read(descriptor, left)):
        parts.append(chunk)
        left -= len(chunk)
    return b"".join(parts)


if __name__ == "__main__":
    main()
