"""The Debian part of the image: which packages, from where, and what is taken out of them.

Packages are unpacked, not installed: none of their scripts runs, so it needs no rights, and what the scripts would have
made (accounts, links, caches) is made here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from shoal.machine.errors import MachineError
from shoal.machine.image import pack

SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}
"""Debian's release by its Python: extension modules of this installation must fit the image's interpreter."""

PACKAGES = (
    "base-files", "base-passwd", "bash", "busybox-static", "ca-certificates", "catatonit", "conmon", "crun", "dash",
    "e2fsprogs", "etcd-server", "hyperv-daemons", "iproute2", "iptables", "isolinux", "kmod", "libnftables1",
    "libseccomp2", "libstdc++6", "linux-image-cloud-amd64", "mount", "netbase", "nftables", "openssh-client",
    "openssh-server", "openssh-sftp-server", "procps", "rsync", "syslinux-common", "util-linux",
)  # fmt: skip

ADDRESS = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"
_ARCHITECTURE = "amd64"

_REMOVED = (
    "boot", "etc/apt", "etc/cron*", "etc/default", "etc/dpkg", "etc/init.d", "etc/initramfs-tools", "etc/kernel",
    "etc/logrotate.d", "etc/perl", "etc/rc*.d", "etc/runit", "etc/sv", "etc/systemd", "etc/udev", "usr/include",
    "usr/games", "usr/lib/ISOLINUX", "usr/lib/apt", "usr/lib/dpkg", "usr/lib/initramfs-tools", "usr/lib/klibc*",
    "usr/lib/python3/dist-packages", "usr/lib/syslinux", "usr/lib/systemd", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d",
    "usr/lib/udev", "usr/lib/x86_64-linux-gnu/*.a", "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/libperl*", "usr/lib/x86_64-linux-gnu/perl*", "usr/sbin/*-legacy*", "usr/bin/perl*",
    "usr/bin/dpkg*", "usr/bin/apt*", "usr/bin/systemd-*", "usr/bin/udevadm", "usr/bin/localedef", "usr/share/[!c]*",
    "usr/share/common*", "usr/share/console*", "var/cache/*", "var/lib/*", "var/log/*",
)  # fmt: skip
"""Documentation, translations, and what only installing packages needs. /usr/share/ca-certificates stays."""

_STDLIB_REMOVED = (
    "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo", "turtle.py", "distutils",
    "unittest/test", "config-*",
)  # fmt: skip

_MODULES_REMOVED = (
    "arch/x86/kvm", "drivers/gpu", "drivers/infiniband", "drivers/media", "drivers/net/ethernet", "drivers/net/wwan",
    "drivers/nvme/target", "drivers/target", "fs/afs", "fs/btrfs", "fs/ceph", "fs/coda", "fs/dlm", "fs/gfs2", "fs/jfs",
    "fs/nfsd", "fs/ocfs2", "fs/orangefs", "fs/reiserfs", "fs/smb/server", "fs/ubifs", "fs/xfs", "net/9p/9pnet_rdma.ko",
    "net/rds", "net/sctp", "net/smc", "net/sunrpc/xprtrdma", "net/tipc",
)  # fmt: skip


def suite() -> str:
    """The Debian release that fits this Python. Raises MachineError."""
    found = SUITES.get(sys.version_info[:2])
    if found is None:
        running = ".".join(map(str, sys.version_info[:2]))
        known = " or ".join(f"{major}.{minor}" for major, minor in SUITES)
        raise MachineError(
            f"No Debian release has Python {running}: the image can be built where Shoal runs with {known}"
        )
    return found


def packages() -> list[str]:
    """All packages that the image is made of, the interpreter that fits this one too."""
    python = "python{}.{}".format(*sys.version_info[:2])
    return [*PACKAGES, f"{python}-minimal", f"lib{python}-stdlib"]


def sources(release: str, mirror: str) -> list[str]:
    """apt's source lines: the mirror asked for; else those this computer has, security updates too; else Debian's."""
    if mirror:
        return [f"deb {mirror} {release} main"]
    own = _configured(release)
    return own or [f"deb {ADDRESS} {release} main", f"deb {SECURITY} {release}-security main"]


def _configured(release: str) -> list[str]:
    apt = shutil.which("apt-get")
    if apt is None:
        return []
    columns = "$(ORIGIN)|$(ARCHITECTURE)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    command = [apt, "indextargets", "--format", columns, "Created-By: Packages"]
    lines = set()
    for line in subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines():
        origin, architecture, codename, address, name, component = (line.split("|") + [""] * 6)[:6]
        if origin == "Debian" and architecture == _ARCHITECTURE and codename in (
            release, f"{release}-updates", f"{release}-security",
        ):  # fmt: skip
            lines.add(f"deb {address} {name} {component}")
    return sorted(lines)


def unpack(root: Path, lines: Sequence[str], release: str, tell: Callable[[str], None]) -> None:
    """Fetch the packages and unpack them into the new directory `root`. Raises MachineError."""
    merged = " && ".join(
        f'mkdir -p "$1/usr/{name}" && ln -sfn usr/{name} "$1/{name}"' for name in ("bin", "sbin", "lib", "lib64")
    )
    command = [
        "mmdebstrap", "--mode=chrootless", "--variant=extract", f"--architectures={_ARCHITECTURE}",
        "--format=directory", f"--setup-hook={merged}", f"--include={','.join(packages())}", release, str(root), *lines,
    ]  # fmt: skip
    tell(" ".join(command))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=pack.environment()
    )
    tell(done.stderr)
    if done.returncode:
        faults = [
            line for line in done.stderr.splitlines() if re.match(r"E:|W: Failed", line)
        ] or done.stderr.splitlines()
        raise MachineError(
            "The Debian packages could not be fetched (is the mirror within reach? --mirror names another):\n"
            + "\n".join(faults[-5:])
        )


def kernel_version(root: Path) -> str:
    """The release of the kernel that was unpacked."""
    names = sorted(path.name.removeprefix("vmlinuz-") for path in (root / "boot").glob("vmlinuz-*"))
    if not names:
        raise MachineError("Debian's kernel package holds no kernel")
    return names[-1]


def thin_out(root: Path) -> None:
    """Take away what a machine never needs. The kernel and the boot loader must have been taken out before."""
    library = next((root / "usr/lib").glob("python3.*"))
    modules = next((root / "usr/lib/modules").iterdir()) / "kernel"
    for base, patterns in ((root, _REMOVED), (library, _STDLIB_REMOVED), (modules, _MODULES_REMOVED)):
        for pattern in patterns:
            for path in list(base.glob(pattern)):
                remove(path)


def remove(path: Path) -> None:
    """A file, a link or a whole directory."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
