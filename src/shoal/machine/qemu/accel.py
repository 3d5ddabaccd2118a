"""Whether KVM works here. It may be present and unusable (inside a virtual machine), and only trying tells.

The trial starts the image's own kernel without a root file system, on the processor that machines get: a kernel that
comes as far as its complaint about that has a working processor, clock and memory. Where KVM does not work QEMU ends
at once, or nothing ever comes; then machines are emulated in software, and people are told.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from shoal.machine.errors import MachineError, text_of
from shoal.machine.files import write_atomic
from shoal.machine.qemu.command import hardware

DEVICE = Path("/dev/kvm")
TRIAL_TIME = 8.0
"""Seconds that a trial may take; with KVM it takes less than one."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_COMPLAINT = b"Kernel panic"


class Undecided(MachineError):
    """The trial came to no end: KVM does not work, or this computer is busy. That holds for now only."""


class Choice(NamedTuple):
    """`kvm` or `tcg`, and why not KVM although it was wanted."""

    accel: str
    reason: str = ""


def choose(wanted: str, trial: Callable[[], str]) -> Choice:
    """What `auto`, `kvm` or `tcg` comes to. `trial` says why KVM does not work, empty when it does; or is Undecided.

    Raises MachineError when `kvm` was demanded in vain.
    """
    if wanted == "tcg":
        return Choice("tcg")
    try:
        reason = trial()
    except Undecided as fault:
        reason = str(fault)
    if not reason:
        return Choice("kvm")
    if wanted == "kvm":
        raise MachineError(f"KVM cannot be used: {reason}")
    return Choice("tcg", reason)


def remembered(path: Path, key: object, trial: Callable[[], str]) -> str:
    """What `trial` says, or said before for the same `key`: kept in the file `path`. Undecided is not kept."""
    text = json.dumps(key)
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(path.read_bytes())
        if known["key"] == text:
            return str(known["reason"])
    reason = trial()
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, json.dumps({"key": text, "reason": reason}).encode())
    return reason


def circumstances(binary: str, kernel: Path) -> list[object]:
    """What an answer holds for: this boot of this computer, this QEMU, this kernel, this access to KVM."""
    return [_BOOT_ID.read_text().strip(), binary, *(_version(Path(path)) for path in (binary, kernel)),
            DEVICE.exists(), os.access(DEVICE, os.R_OK | os.W_OK)]  # fmt: skip


def _version(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_mtime_ns, status.st_size]


def kvm_trouble(binary: str, kernel: Path, device: Path = DEVICE) -> str:
    """Why machines cannot use KVM here; empty when they can. Raises Undecided."""
    if not device.exists():
        return f"there is no {device}"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"no permission to use {device} (its group may: add yourself to it)"
    return trial_trouble(binary, kernel, "kvm")


def trial_trouble(binary: str, kernel: Path, accel: str, timeout: float = TRIAL_TIME) -> str:
    """Start `kernel` with `accel`; why that did not work, empty when it did. Raises Undecided when time is over."""
    command = [binary, *hardware(accel, 128, 1), "-no-reboot", "-kernel", str(kernel),
               "-append", "console=ttyS0 panic=-1", "-serial", "stdio"]  # fmt: skip
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as fault:
        if _COMPLAINT in (fault.stdout or b""):
            return ""
        raise Undecided(f"a trial machine did nothing within {timeout:.0f} s") from fault
    except OSError as fault:
        return text_of(fault)
    if _COMPLAINT in done.stdout:
        return ""
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if "warning" not in line]
    if not lines:
        return "a trial machine ended at once"
    return "QEMU says: " + lines[0].removeprefix(f"{Path(binary).name}: ").removeprefix("error: ")
