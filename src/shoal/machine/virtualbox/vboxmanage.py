"""Running VBoxManage: where it is, how it fails, and when it is to be asked again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import NamedTuple

from shoal.machine.errors import MachineError

TIMEOUT = 60.0
"""Seconds that one command may take."""

ATTEMPTS, PAUSE = 5, 0.5
"""How often a command is given to an object that is busy, and the seconds between."""

_BUSY = ("error: The object is not ready", "is already locked for a session (or being unlocked)")
_ABSENT = ("Could not find a registered machine", "VBOX_E_OBJECT_NOT_FOUND")
_MAC = PurePosixPath("/Applications/VirtualBox.app/Contents/MacOS/VBoxManage")


class Answer(NamedTuple):
    """How one call ended."""

    status: int
    output: str
    errors: str


Runner = Callable[[Sequence[str], float], Answer]
"""Runs a command for so many seconds at most."""


class VBoxError(MachineError):
    """VBoxManage refused; the message is what it said."""

    def __init__(self, arguments: Sequence[str], errors: str) -> None:
        self.errors = errors
        super().__init__(f"VBoxManage {' '.join(arguments)} failed:\n{errors.strip()}")

    @property
    def absent(self) -> bool:
        """Whether there is no machine of that name or number."""
        return any(sign in self.errors for sign in _ABSENT)


def run_process(command: Sequence[str], timeout: float) -> Answer:
    """Run it as a child, its language English. Raises MachineError when it does not end in time."""
    environment = {**os.environ, "LC_ALL": "C", "LANG": "C"}
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            timeout=timeout, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired as fault:
        raise MachineError(f"VBoxManage {' '.join(command[1:])} did not end within {timeout:.0f} seconds") from fault
    except OSError as fault:
        raise MachineError(f"{command[0]}: {fault.strerror}") from fault
    return Answer(done.returncode, done.stdout, done.stderr)


class Box:
    """VBoxManage as a function: `box("startvm", name)` returns what it printed."""

    def __init__(self, program: str, run: Runner = run_process, pause: float = PAUSE) -> None:
        self._program, self._run, self._pause = program, run, pause

    def __call__(self, *arguments: str, timeout: float = TIMEOUT) -> str:
        """One command. Raises VBoxError; a busy object is asked again a few times."""
        for attempt in range(ATTEMPTS):
            answer = self._run([self._program, *arguments], timeout)
            # Some subcommands print an error and exit with 0 all the same.
            if answer.status == 0 and "error:" not in answer.errors:
                return answer.output
            if attempt + 1 < ATTEMPTS and any(sign in answer.errors for sign in _BUSY):
                time.sleep(self._pause)
                continue
            break
        raise VBoxError(arguments, answer.errors or answer.output or f"exit status {answer.status}")

    def quietly(self, *arguments: str) -> None:
        """One command whose failure does not matter."""
        try:
            self(*arguments)
        except VBoxError:
            return


def candidates(platform: str, environment: Mapping[str, str]) -> list[str]:
    """Where VBoxManage may be besides PATH: its installers do not put it there on Windows, nor always on macOS."""
    if platform == "win32":
        folders = [environment.get(name, "") for name in ("VBOX_INSTALL_PATH", "VBOX_MSI_INSTALL_PATH")]
        programs = environment.get("ProgramFiles", r"C:\Program Files")
        folders.append(str(PureWindowsPath(programs, "Oracle", "VirtualBox")))
        return [str(PureWindowsPath(folder, "VBoxManage.exe")) for folder in folders if folder]
    return [str(_MAC)] if platform == "darwin" else []


def find() -> Box:
    """The VBoxManage of this computer. Raises MachineError when there is none."""
    for place in (shutil.which("VBoxManage"), *candidates(sys.platform, os.environ)):
        if place and os.access(place, os.X_OK):
            return Box(place)
    raise MachineError("VBoxManage not found. Make sure VirtualBox is installed and VBoxManage is in the path")


Version = tuple[int, int, int]


def parse_version(text: str) -> Version:
    """The version in `--version`'s answer (`7.0.6_Ubuntur155176`), which warnings may precede. Raises MachineError."""
    found = re.findall(r"^(\d+)\.(\d+)\.(\d+)", text, re.M)
    if not found:
        raise MachineError(f"VBoxManage --version says what is no version: {text.strip()!r}")
    major, minor, build = found[-1]
    return int(major), int(minor), int(build)
