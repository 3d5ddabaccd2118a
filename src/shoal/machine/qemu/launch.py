"""Becomes a QEMU: `python -I -S launch.py`, its spec (JSON) on stdin. Standard library only.

It has a session of its own and no terminal, enters the bridge's network namespace to open a tap there (which goes when
QEMU does), comes back, and writes down who the machine will be before it becomes it: whatever ends it in between, a
machine is either recorded or gone. It answers a reason on stdout when it fails, nothing when it has become QEMU.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


def main() -> None:
    """Read the spec, become QEMU."""
    spec: dict[str, Any] = json.load(sys.stdin)
    if os.fork():
        # Nobody's child: who started it need not be there when it ends.
        os._exit(0)
    answer = os.dup(1)  # closed by exec
    try:
        os.chdir(spec["directory"])
        os.umask(0o077)
        _record(Path(spec["run_file"]))
        os.setsid()
        if spec["tap"]:
            descriptor = open_tap(spec["netns"], spec["tap"])
            os.dup2(descriptor, spec["descriptor"])
        _redirect(spec["log"])
        os.execv(spec["command"][0], spec["command"])
    except (OSError, subprocess.SubprocessError) as fault:
        os.write(answer, str(fault).encode())
        os._exit(1)


def open_tap(netns: str, name: str) -> int:
    """A tap called `name` on the bridge in `netns`."""
    import fcntl

    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(netns, os.O_RDONLY)
    _enter(there)
    try:
        tap = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
        command = ["ip", "link", "set", name, "addrgenmode", "none", "master", "br0", "up"]
        subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    finally:
        _enter(home)
    return tap


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _record(path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from shoal.machine.files import write_atomic
    from shoal.machine.process import identify

    identity = identify(os.getpid())
    write_atomic(path, json.dumps(identity._asdict() if identity else {}).encode())


def _redirect(log: str) -> None:
    silence = os.open("/dev/null", os.O_RDONLY)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for descriptor, number in ((silence, 0), (target, 1), (target, 2)):
        os.dup2(descriptor, number)


if __name__ == "__main__":
    main()
