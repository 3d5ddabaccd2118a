"""Running PowerShell: one process for a whole script, its complaints passed on.

Windows PowerShell 5.1 is on every Windows that has Hyper-V. A script is one argument of `-Command` and holds texts
only in single quotes, where nothing is expanded (about_Quoting_Rules).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import NamedTuple

from shoal.machine.errors import MachineError

TIMEOUT = 90.0
"""Seconds that one script may take, starting PowerShell included."""

_QUOTES = "'\u2018\u2019\u201a\u201b"
"""What PowerShell takes for a single quote."""


class Answer(NamedTuple):
    """How one script ended."""

    status: int
    output: str
    errors: str


Runner = Callable[[Sequence[str], float], Answer]
"""Runs a command for so many seconds at most."""


class PowerShellError(MachineError):
    """A script failed: the message is PowerShell's. `output` is what it had printed before."""

    def __init__(self, errors: str, output: str) -> None:
        self.output = output
        super().__init__(f"Hyper-V: {errors.strip()}")


class ScriptTimeout(MachineError):
    """A script did not end in time."""


def quote(value: str | PurePath) -> str:
    """A text as PowerShell reads it literally. Raises MachineError for what no text can hold."""
    text = str(value)
    if "\0" in text:
        raise MachineError(f"PowerShell cannot take {text!r}")
    return "'" + "".join(letter * 2 if letter in _QUOTES else letter for letter in text) + "'"


def script(statements: Sequence[str]) -> str:
    """Statements of which the first that fails ends the script with status 1, its message on standard error."""
    return (
        "$ErrorActionPreference = 'Stop'; $ProgressPreference = 'SilentlyContinue'; "
        # There may be no console whose encoding could be set.
        "try { [Console]::OutputEncoding = [Text.Encoding]::UTF8 } catch { }; "
        f"try {{ {'; '.join(statements)} }} "
        "catch { [Console]::Error.WriteLine($_.Exception.Message); exit 1 }"
    )


def run_process(command: Sequence[str], timeout: float) -> Answer:
    """Run it as a child. Raises ScriptTimeout."""
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            check=False, timeout=timeout,
        )  # fmt: skip
    except subprocess.TimeoutExpired as fault:
        raise ScriptTimeout(f"Hyper-V did not answer within {timeout:.0f} seconds") from fault
    except OSError as fault:
        raise MachineError(f"{command[0]}: {fault.strerror}") from fault
    return Answer(done.returncode, done.stdout.lstrip("\ufeff"), done.stderr.lstrip("\ufeff"))


class PowerShell:
    """PowerShell as a function of statements; returns what they printed."""

    def __init__(self, program: str, run: Runner = run_process) -> None:
        self._program, self._run = program, run

    def __call__(self, *statements: str, timeout: float = TIMEOUT) -> str:
        """Run them in one process. Raises PowerShellError, ScriptTimeout."""
        command = [self._program, "-NoProfile", "-NonInteractive", "-Command", script(statements)]
        answer = self._run(command, timeout)
        if answer.status != 0:
            raise PowerShellError(answer.errors or f"exit status {answer.status}", answer.output)
        return answer.output


def find() -> PowerShell:
    """The PowerShell of this computer. Raises MachineError when there is none."""
    program = shutil.which("powershell.exe")
    if program is None:
        raise MachineError("Powershell was not found in the path")
    return PowerShell(program)
