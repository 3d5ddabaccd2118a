"""What a container gets when nobody says otherwise: Docker Engine's defaults, as facts."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.model.errors import InvalidArgument

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
    "CAP_AUDIT_WRITE",
]  # fmt: skip

ALL_CAPABILITIES = [
    *CAPABILITIES, "CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
    "CAP_DAC_READ_SEARCH", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE", "CAP_NET_ADMIN", "CAP_NET_BROADCAST", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_BOOT",
    "CAP_SYS_MODULE", "CAP_SYS_NICE", "CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_SYSLOG", "CAP_WAKE_ALARM",
]  # fmt: skip

MASKED_PATHS = [
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
]  # fmt: skip

READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

SHM_SIZE = 64 * 1024 * 1024
STOP_TIMEOUT = 10
"""Seconds between the stop signal and SIGKILL."""
STOP_SIGNAL = "SIGTERM"
OPEN_FILES = 1048576

DEVICE_RULES = [
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 1:9 rwm",
    "c 1:8 rwm", "c 136:* rwm", "c 10:200 rwm",
]  # fmt: skip
"""Device cgroup rules: mknod of anything, use of null, zero, full, tty, console, ptmx, urandom, random, pts, tun."""


def capabilities(add: Sequence[str], drop: Sequence[str], privileged: bool = False) -> list[str]:
    """The capabilities of a container; `add` and `drop` hold names with or without CAP_, or ALL.

    Raises InvalidArgument for a name that Linux does not know.
    """
    if privileged:
        return ALL_CAPABILITIES
    added, dropped = _normal(add, "CapAdd"), _normal(drop, "CapDrop")
    if "ALL" in added:
        return [name for name in ALL_CAPABILITIES if name not in dropped]
    base = [] if "ALL" in dropped else [name for name in CAPABILITIES if name not in dropped]
    return base + [name for name in added if name not in base]


def _normal(names: Sequence[str], where: str) -> list[str]:
    normal = []
    for name in names:
        upper = name.upper()
        full = upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"
        if full != "ALL" and full not in ALL_CAPABILITIES:
            raise InvalidArgument(f'invalid {where}: unknown capability: "{full}"')
        normal.append(full)
    return normal
