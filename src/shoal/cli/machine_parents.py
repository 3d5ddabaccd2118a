"""Which programs called us: from /proc on Linux, `ps` on macOS, a snapshot of the processes on Windows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_GENERATIONS = 4


def names() -> list[str]:
    """The names of our parent process and its parents, nearest first; empty where the system does not tell."""
    try:
        if sys.platform == "win32":
            return ancestors(os.getppid(), _windows())
        if sys.platform == "linux":
            return _linux(os.getppid())
        return ancestors(os.getppid(), parse_ps(_ps()))
    except (OSError, ValueError, IndexError, AttributeError, subprocess.SubprocessError):
        return []


Processes = Mapping[int, tuple[int, str]]
"""Parent and program name by process number."""


def ancestors(pid: int, processes: Processes) -> list[str]:
    """The names of process `pid` and its parents."""
    found: list[str] = []
    while pid > 0 and pid in processes and len(found) < _GENERATIONS:
        pid, name = processes[pid]
        found.append(name)
    return found


def parse_ps(text: str) -> dict[int, tuple[int, str]]:
    """The output of `ps -axo pid=,ppid=,comm=`."""
    rows = (line.split(None, 2) for line in text.splitlines())
    return {int(row[0]): (int(row[1]), row[2]) for row in rows if len(row) == 3}


def _ps() -> str:
    argv = ["ps", "-axo", "pid=,ppid=,comm="]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=5).stdout


def _linux(pid: int) -> list[str]:
    found: list[str] = []
    while pid > 1 and len(found) < _GENERATIONS:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        found.append(stat[stat.index("(") + 1 : stat.rindex(")")])
        pid = int(stat.rpartition(")")[2].split()[1])
    return found


def _windows() -> dict[int, tuple[int, str]]:
    import ctypes

    class Entry(ctypes.Structure):
        _fields_ = [
            ("size", ctypes.c_uint32), ("usage", ctypes.c_uint32), ("pid", ctypes.c_uint32),
            ("heap", ctypes.c_size_t), ("module", ctypes.c_uint32), ("threads", ctypes.c_uint32),
            ("parent", ctypes.c_uint32), ("priority", ctypes.c_long), ("flags", ctypes.c_uint32),
            ("name", ctypes.c_char * 260),
        ]  # fmt: skip

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    kernel.CreateToolhelp32Snapshot.restype = ctypes.c_void_p
    snapshot = ctypes.c_void_p(kernel.CreateToolhelp32Snapshot(2, 0))
    entry = Entry(size=ctypes.sizeof(Entry))
    found: dict[int, tuple[int, str]] = {}
    try:
        more = kernel.Process32First(snapshot, ctypes.byref(entry))
        while more:
            found[entry.pid] = (entry.parent, entry.name.decode(errors="replace"))
            more = kernel.Process32Next(snapshot, ctypes.byref(entry))
    finally:
        kernel.CloseHandle(snapshot)
    return found
