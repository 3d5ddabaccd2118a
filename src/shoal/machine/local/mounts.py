"""The machine's file tree, built in its own mount namespace. Standard library only.

The machine's root is its `disk` directory. Over the host's /usr, /etc and /opt lie overlays whose upper layers are the
machine's, so that it has the host's programs and can change nothing of the host's; /var, /root, /home and the rest
are its own directories on the disk: `/var/lib/shoal` must not lie on an overlay, since containers' overlays lie on it.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 4096, 16384, 1 << 18, 1 << 20
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)

_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0),
            "fuse": (10, 229), "net/tun": (10, 200)}  # fmt: skip
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
                 "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}  # fmt: skip


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError."""
    _check(_libc.unshare(flags), f"unshare {flags:#x}")


def mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    result = _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(result, f"mount {kind or 'bind'} on {target}")


def name_process(name: str) -> None:
    """What `ps -e` calls this process: 15 bytes at most."""
    pr_set_name = 15
    _libc.prctl(pr_set_name, name.encode(), 0, 0, 0)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def bind(source: str, target: Path, *, read_only: bool = False, recursive: bool = True) -> None:
    """Show the host's file or directory `source` at `target`, which is made if it is missing."""
    if Path(source).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        mount(source, target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def build(spec: dict[str, Any]) -> None:
    """Build the tree that `spec` describes and make it the root directory of this mount namespace."""
    mount("none", Path("/"), flags=MS_REC | MS_PRIVATE)
    root = Path(spec["disk"])
    mount(str(root), root, flags=MS_BIND)
    for layer in spec["layers"]:
        options = [f"{key}={_escape(layer[key])}" for key in ("lowerdir", "upperdir", "workdir")]
        mount("overlay", root / layer["target"], "overlay", options=",".join(options))
    _kernel_filesystems(root)
    _devices(root / "dev")
    _cgroups(root / "sys/fs/cgroup", spec["hierarchies"])
    # After /tmp and /run: the program itself may lie below them on the host.
    for source, target, read_only in spec["binds"]:
        bind(source, root / target.lstrip("/"), read_only=read_only)
    _pivot(root)


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _kernel_filesystems(root: Path) -> None:
    safe = MS_NOSUID | MS_NODEV | MS_NOEXEC
    mount("proc", root / "proc", "proc", safe)
    mount("sysfs", root / "sys", "sysfs", safe)
    mount("tmpfs", root / "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    mount("tmpfs", root / "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    for name in ("lock", "sshd"):
        (root / "run" / name).mkdir()


def _devices(dev: Path) -> None:
    mount("tmpfs", dev, "tmpfs", MS_NOSUID, "mode=755,size=1m")
    for name, (major, minor) in _DEVICES.items():
        node = dev / name
        node.parent.mkdir(exist_ok=True)
        try:
            os.mknod(node, 0o020666, os.makedev(major, minor))
            node.chmod(0o666)
        except OSError:
            with suppress(OSError):
                bind(f"/dev/{name}", node)
    for name, target in _DEVICE_LINKS.items():
        (dev / name).symlink_to(target)
    for name in ("pts", "shm", "mqueue"):
        (dev / name).mkdir()
    mount("devpts", dev / "pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    mount("tmpfs", dev / "shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("mqueue", dev / "mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _cgroups(top: Path, hierarchies: list[tuple[str, str]]) -> None:
    """Mount the hierarchies (name, options) as the cgroup namespace shows them: the machine's part as the whole."""
    safe = MS_NOSUID | MS_NODEV | MS_NOEXEC
    if hierarchies and not hierarchies[0][1]:
        mount("cgroup2", top, "cgroup2", safe)
        return
    mount("tmpfs", top, "tmpfs", safe, "mode=755")
    for name, options in hierarchies:
        (top / name).mkdir()
        mount("cgroup", top / name, "cgroup", safe, options)
        for controller in name.split(","):
            if controller != name:
                (top / controller).symlink_to(name)


def _pivot(root: Path) -> None:
    os.chdir(root)
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount the host's root")
    os.chdir("/")
    mount("none", Path("/"), flags=MS_REC | MS_SHARED)
