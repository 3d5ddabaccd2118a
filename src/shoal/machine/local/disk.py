"""A machine's files: the directories on the host's disk, and the small files that are its own."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import shoal
from shoal.machine.errors import MachineError

LAYERED = ("usr", "etc", "opt", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""The host's directories that the machine sees under a layer of its own (where the host has real ones)."""

_DIRECTORIES = {
    "proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o755, "tmp": 0o1777, "root": 0o700, "root/.ssh": 0o700,
    "home": 0o755, "mnt": 0o755, "media": 0o755, "srv": 0o755, "var": 0o755, "var/lib": 0o755, "var/log": 0o755,
    "var/cache": 0o755, "var/spool": 0o755, "var/tmp": 0o1777, "var/lib/shoal": 0o711,
}  # fmt: skip
HIDDEN = ("/etc/docker", "/etc/ssh", "/etc/containers", "/etc/shoal")
"""The host's own settings that must not be the machine's."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PROGRAM = """{start}
import sys

sys.argv[0] = "{name}"
from {module} import main

sys.exit(main())
"""

_SSHD = f"""# Written at every start of the machine.
ListenAddress 0.0.0.0:22
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
PidFile none
MaxStartups 100:30:200
MaxSessions 100
AcceptEnv LANG LC_*
SetEnv PATH={PATH} LANG=C.UTF-8
Subsystem sftp internal-sftp
"""

File = tuple[str, int, str]


class Layout(NamedTuple):
    """Where a machine's parts lie on the host, below its directory in the store."""

    disk: Path
    layers: Path
    run_file: Path

    @classmethod
    def of(cls, directory: Path) -> Layout:
        """The layout below the machine's directory."""
        return cls(directory / "local/disk", directory / "local/layers", directory / "local/run.json")


def make_directories(layout: Layout) -> None:
    """Make what is missing of the machine's directories."""
    layout.run_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    layout.disk.mkdir(mode=0o755, exist_ok=True)
    layout.disk.chmod(0o755)
    for name, mode in _DIRECTORIES.items():
        directory = layout.disk / name
        if not directory.exists():
            directory.mkdir(mode=mode)
            directory.chmod(mode)
    for name, target in (("var/run", "/run"), ("var/lock", "/run/lock")):
        if not (layout.disk / name).is_symlink():
            (layout.disk / name).symlink_to(target)
    for name in LAYERED:
        host, own = Path("/", name), layout.disk / name
        if host.is_symlink() and not own.is_symlink():
            own.symlink_to(os.readlink(host))
        elif host.is_dir() and not host.is_symlink():
            own.mkdir(mode=0o755, exist_ok=True)
            (layout.layers / name / "work").mkdir(parents=True, exist_ok=True)
            upper = layout.layers / name / "upper"
            if not upper.exists():
                upper.mkdir()
                # The merged directory has the upper one's mode, which must not depend on the caller's umask.
                upper.chmod(0o755)


def layers(layout: Layout) -> list[dict[str, str]]:
    """The overlays to mount: host's directory below, the machine's own above."""
    return [
        {"target": name, "lowerdir": f"/{name}", "upperdir": str(layout.layers / name / "upper"),
         "workdir": str(layout.layers / name / "work")}
        for name in LAYERED
        if Path("/", name).is_dir() and not Path("/", name).is_symlink()
    ]  # fmt: skip


def program_binds() -> list[tuple[str, str, bool]]:
    """What this very Python and Shoal need to run inside as well, wherever on the host they are: read-only."""
    wanted = [sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(shoal.__file__).resolve().parents[1])]
    chosen: list[str] = []
    for path in sorted({form for item in wanted for form in (item, os.path.realpath(item))}, key=len):
        layered = path.split("/")[1] in LAYERED and path.split("/")[1] != "opt"
        if path != "/" and not layered and not any(path.startswith(f"{outer}/") for outer in chosen):
            chosen.append(path)
    return [(os.path.realpath(path), path, True) for path in chosen]


def first_files(name: str, host_key: str, public_key: str) -> list[File]:
    """The files of a machine that starts for the first time; afterwards they are the machine's to change."""
    return [
        ("/etc/machine-id", 0o444, secrets.token_hex(16) + "\n"),
        ("/etc/hostname", 0o644, f"{name}\n"),
        ("/etc/shadow", 0o640, _without_passwords(Path("/etc/shadow"))),
        ("/etc/ssh/ssh_host_ed25519_key", 0o600, host_key),
        ("/root/.ssh/authorized_keys", 0o600, public_key),
        # sshd complains to the user's terminal without them.
        *[(f"/var/log/{name}", 0o600, "") for name in ("lastlog", "wtmp", "btmp")],
        *[(f"/root/{file.name}", 0o644, file.read_text()) for file in _skeleton()],
    ]


def boot_files(name: str, address: str, gateway: str, *, docker: bool = True) -> list[File]:
    """The files that are written at every start; `docker` says whether the docker command is Shoal's."""
    hosts = f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n{address}\t{name}\n{gateway}\thost.shoal.internal\n"
    programs = {"shoal": "shoal.cli.main", "shoald": "shoal.daemon", **({"docker": "shoal.cli.main"} if docker else {})}
    return [
        ("/etc/hosts", 0o644, hosts),
        ("/etc/resolv.conf", 0o644, _resolv_conf()),
        ("/etc/ssh/sshd_config", 0o600, _SSHD),
        *[(f"/usr/local/bin/{program}", 0o755, _program(program, module)) for program, module in programs.items()],
    ]


def _program(name: str, module: str) -> str:
    """A command that runs `module`'s main with the Python that runs us, wherever that is."""
    start = f"#!{sys.executable}"
    if " " in sys.executable or len(start) > 120:
        # Too much for the kernel: sh reads the next two lines as a command, Python as a string.
        start = f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''"
    return _PROGRAM.format(start=start, name=name, module=module)


def remove_directories(directory: Path) -> None:
    """Delete the machine's disk. What containers left immutable or mounted is an error that names it."""
    try:
        shutil.rmtree(directory / "local")
    except FileNotFoundError:
        pass
    except OSError as fault:
        raise MachineError(f"cannot delete {fault.filename}: {fault.strerror}") from fault


def environment(extra: dict[str, str] | Any = ()) -> dict[str, str]:
    """What the machine's services run with."""
    return {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", **dict(extra)}


def _skeleton() -> list[Path]:
    return [path for path in (Path("/etc/skel/.bashrc"), Path("/etc/skel/.profile")) if path.is_file()]


def _without_passwords(shadow: Path) -> str:
    """The host's accounts without their password hashes; `*` lets sshd accept a key, where `!` would not."""
    try:
        lines = [line.split(":") for line in shadow.read_text().splitlines()]
    except OSError:
        return "root:*:19000:0:99999:7:::\n"
    return "".join(":".join([fields[0], "*", *fields[2:]]) + "\n" for fields in lines if len(fields) > 2)


def _resolv_conf() -> str:
    """No name server: a machine has no way out, and a query that cannot be answered should fail at once."""
    return "# This machine's network ends at the host.\n"
