"""What makes unpacked packages a machine: accounts, links, Python's compiled files, the files in `files/`."""

from __future__ import annotations

import compileall
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from py_compile import PycInvalidationMode

from shoal.machine.image import pack, sources

FILES = Path(__file__).parent / "files"

_LINKS = {
    "etc/acpi/PWRF/00000080": "/opt/shoal/machine/down",
    "etc/init.d/docker": "../../usr/bin/shoal-engine",
    "etc/inittab": "/opt/shoal/machine/inittab",
    "etc/mtab": "../proc/self/mounts",
    "etc/os-release": "../opt/shoal/os-release",
    "usr/bin/docker": "shoal",
    "usr/bin/python3": "python{0}.{1}",
    "usr/bin/shoal-engine": "/opt/shoal/machine/shoal-engine",
    "usr/bin/sudo": "/opt/shoal/machine/sudo",
    "usr/lib/os-release": "../../opt/shoal/os-release",
    "usr/lib/ssl/certs": "/etc/ssl/certs",
    "usr/sbin/init": "../bin/busybox",
    "var/lock": "/run/lock",
    "var/run": "/run",
}
_DOWN = """#!/bin/sh
exec /opt/shoal/machine/down {0}
"""
_COMMAND = """#!/usr/bin/python3 -IS
import sys
sys.path[:0] = ["/opt/shoal/lib", "/usr/lib/shoal/python"]
from {0} import main
sys.exit(main())
"""
_DIRECTORIES = (
    "dev", "etc/docker", "etc/shoal", "home", "mnt", "proc", "root", "run", "sys", "tmp", "var/lib", "var/log",
    "var/tmp",
)  # fmt: skip
PYTHON = "usr/lib/shoal/python"


def accounts(root: Path) -> None:
    """Debian's accounts, with root's shell; nobody has a password."""
    masters = root / "usr/share/base-passwd"
    users = (masters / "passwd.master").read_text().replace(":*:", ":x:")
    users = users.replace("/root:/bin/sh", "/root:/bin/bash")
    users += "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
    (root / "etc/passwd").write_text(users)
    (root / "etc/group").write_text((masters / "group.master").read_text().replace(":*:", ":x:"))
    names = [line.partition(":")[0] for line in users.splitlines()]
    shadow = root / "etc/shadow"
    # Not "!": sshd takes that for a locked account and refuses keys too.
    shadow.write_text("".join(f"{name}:*:20000:0:99999:7:::\n" for name in names))
    shadow.chmod(0o600)


def certificates(root: Path, tell: Callable[[str], None]) -> None:
    """The authorities that Debian trusts: one bundle, and a directory in which OpenSSL finds each by its name's hash.

    Python reads that directory only when it needs one of them; it would read a whole bundle at every start.
    """
    found = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    folder = root / "etc/ssl/certs"
    folder.mkdir(parents=True, exist_ok=True)
    for path in found:
        shutil.copyfile(path, folder / f"{path.stem}.pem")
    pack.run(["openssl", "rehash", str(folder)], tell)
    (folder / "ca-certificates.crt").write_text("".join(path.read_text() for path in found))


def furnish(root: Path, tell: Callable[[str], None]) -> None:
    """Everything of our own but Shoal itself."""
    for name in _DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "root").chmod(0o700)
    for place, to in _LINKS.items():
        _link(root / place, to.format(*sys.version_info))
    for name in ("poweroff", "reboot", "halt", "shutdown"):
        _program(root / "usr/sbin" / name, _DOWN.format("poweroff" if name == "shutdown" else name))
    for name, module in (("shoal", "shoal.cli.main"), ("shoald", "shoal.daemon")):
        _program(root / "usr/bin" / name, _COMMAND.format(module))
    for name in ("iptables", "ip6tables", "iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"):
        _link(root / "usr/sbin" / name, "xtables-nft-multi")
    (root / "etc/resolv.conf").write_text("")
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    (root / "etc/fstab").unlink(missing_ok=True)
    _busybox(root)
    sources.copy_dependencies(root / PYTHON)
    # Wheels may bring more for debuggers than for the machine.
    pack.run(["strip", "--strip-debug", *map(str, sorted((root / PYTHON).rglob("*.so")))], tell)


def _busybox(root: Path) -> None:
    """Commands that Debian's packages did not bring."""
    program = root / "usr/bin/busybox"
    listed = subprocess.run([str(program), "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in listed:
        if not any((root / folder / name).exists() for folder in ("usr/bin", "usr/sbin")):
            _link(root / "usr/bin" / name, "busybox")


def _link(path: Path, to: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(to)


def _program(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def own(opt: Path, version: str) -> None:
    """The directory that becomes /opt: Shoal and the machine's name for itself."""
    sources.copy_own(opt / "shoal/lib")
    shutil.copytree(FILES, opt / "shoal/machine", copy_function=shutil.copyfile)
    for path in (opt / "shoal/machine").iterdir():
        path.chmod(0o755)
    (opt / "shoal/os-release").write_text(
        f'ID=shoal\nNAME=Shoal\nVERSION="{version}"\nVERSION_ID={version}\nPRETTY_NAME="Shoal {version}"\n'
        "ID_LIKE=debian\n"
    )


def compile_python(tree: Path, prefix: str, say: Callable[[str], None]) -> None:
    """Compile all of Python's files below `tree`, which will lie at `prefix`. Nobody checks later if they changed."""
    done = compileall.compile_dir(
        tree, quiet=2, force=True, workers=2, stripdir=str(tree), prependdir=prefix, maxlevels=30,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )  # fmt: skip
    if not done:
        say("some Python files could not be compiled")
