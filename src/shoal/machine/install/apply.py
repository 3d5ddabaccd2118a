"""Runs on the machine, as root: puts files in place, unpacks the bundle, restarts the engine when something changed.

It is sent through ssh's standard input and executed there by the machine's own Python, so it imports the standard
library only, and nothing secret is on a command line. Input: this program's length and text, the order's length and
text (JSON), then the bundle (tar.gz), if one is sent. Output: what was changed, as JSON.

Files that change what the engine runs with ask for its restart; certificates do not: shoald reads them again by itself.
A restart that is due is noted on disk first, so that it is not forgotten when this run is cut off.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tarfile
from typing import IO, Any

PROGRAMS = "/opt/shoal"
DUE = "/etc/shoal/.restart-due"

_CONTROL = {
    "systemd": {"running": ["systemctl", "is-active", "--quiet", "shoald"],
                "restart": ["systemctl", "--no-block", "restart", "shoald"]},
    "init": {"running": ["/etc/init.d/shoald", "status"], "restart": ["/etc/init.d/shoald", "restart"]},
    "image": {"running": ["shoal-engine", "status"], "restart": ["shoal-engine", "restart"]},
}  # fmt: skip


def main() -> None:
    """Read the order and carry it out."""
    stream = sys.stdin.buffer
    order = json.loads(stream.read(int(stream.readline())))
    print(json.dumps(carry_out(order, stream)))


def carry_out(order: dict[str, Any], stream: IO[bytes], root: str = "") -> dict[str, Any]:
    """Do it below `root`. `changed` and `restarted` tell what it came to."""
    os.umask(0o022)
    changed: list[str] = []
    if order.get("due"):
        _note(root)
    if order["bundle"] and not os.path.isdir(f"{root}{PROGRAMS}/{order['bundle']}"):
        _unpack(order, stream, root)
    for path, (mode, text) in order["files"].items():
        if _differs(root + path, base64.b64decode(text), mode):
            if path in order["decisive"]:
                _note(root)
            _write(root + path, base64.b64decode(text), mode)
            changed.append(path)
    if order["bundle"]:
        _link(order, root, changed)
    restarted = _restart(order, root) if order["service"] else False
    _forget_old(order, root)
    return {"changed": changed, "restarted": restarted}


def _unpack(order: dict[str, Any], stream: IO[bytes], root: str) -> None:
    """The bundle's tree, and around it what makes it a virtual environment of the machine's Python."""
    target = f"{root}{PROGRAMS}/{order['bundle']}"
    half = f"{target}.half"
    shutil.rmtree(half, ignore_errors=True)
    os.makedirs(f"{half}/bin")
    with tarfile.open(fileobj=stream, mode="r|gz") as archive:
        archive.extractall(f"{half}/lib/python{order['python_version']}/site-packages")
    os.symlink(order["python"], f"{half}/bin/python3")
    home = os.path.dirname(os.path.realpath(order["python"]))
    with open(f"{half}/pyvenv.cfg", "w") as file:
        file.write(f"home = {home}\ninclude-system-site-packages = false\nversion = {order['python_version']}\n")
    for name, module in order["programs"].items():
        path = f"{half}/bin/{name}"
        with open(path, "w") as file:
            file.write(f"#!{PROGRAMS}/{order['bundle']}/bin/python3 -I\nimport sys\n\nfrom {module} import main\n\n")
            file.write("sys.exit(main())\n")
        os.chmod(path, 0o755)
    if shutil.which("restorecon"):
        subprocess.run(["restorecon", "-R", half], check=False)
    os.rename(half, target)


def _link(order: dict[str, Any], root: str, changed: list[str]) -> None:
    current = f"{root}{PROGRAMS}/current"
    if not (os.path.islink(current) and os.readlink(current) == order["bundle"]):
        _note(root)
        _symlink(order["bundle"], current)
        changed.append(f"{PROGRAMS}/current")
    for name in order["links"]:
        path, target = f"{root}/usr/local/bin/{name}", f"{PROGRAMS}/current/bin/{name}"
        # Another program of that name is somebody else's.
        if not os.path.lexists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _symlink(target, path)
            changed.append(f"/usr/local/bin/{name}")


def _symlink(target: str, path: str) -> None:
    temporary = f"{path}.new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, path)


def _differs(path: str, data: bytes, mode: int) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read() != data or os.fstat(file.fileno()).st_mode & 0o7777 != mode
    except OSError:
        return True


def _write(path: str, data: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temporary, mode)
    os.replace(temporary, path)


def _note(root: str) -> None:
    os.makedirs(os.path.dirname(root + DUE), exist_ok=True)
    with open(root + DUE, "w"):
        pass


def _restart(order: dict[str, Any], root: str) -> bool:
    control = _CONTROL[order["service"]]
    if not os.path.exists(root + DUE) and _call(control["running"]) == 0:
        return False
    for command in order["enable"]:
        _call(command)
    status = _call(control["restart"], loud=True)
    if status:
        sys.exit(f"{' '.join(control['restart'])}: exit status {status}")
    if os.path.exists(root + DUE):
        os.unlink(root + DUE)
    return True


def _call(command: list[str], *, loud: bool = False) -> int:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=None if loud else subprocess.DEVNULL, check=False,
        ).returncode  # fmt: skip
    except OSError:
        return 127


def _forget_old(order: dict[str, Any], root: str) -> None:
    """All bundles but the one in use and the one before it."""
    if not order["bundle"]:
        return
    folder = root + PROGRAMS
    names = [name for name in os.listdir(folder) if name not in ("current", order["bundle"])]
    for name in sorted(names, key=lambda name: os.lstat(f"{folder}/{name}").st_mtime, reverse=True)[1:]:
        shutil.rmtree(f"{folder}/{name}", ignore_errors=True)


if __name__ == "__main__":
    main()
