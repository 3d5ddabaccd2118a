"""crun's complaints in docker's words, and the exit code that docker gives such a container. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_NOT_FOUND = re.compile(r"executable file [`'\"](?P<name>.*?)[`'\"] not found in \$PATH")


class Failure(NamedTuple):
    """The text of an error and the exit code that goes with it."""

    code: int
    text: str


def explain(message: str, command: str) -> Failure:
    """What `message` (of crun) says about running `command`.

    127: there is no such program; 126: it cannot be run; 128: something else went wrong.
    """
    last = [line for line in message.strip().splitlines() if line.strip()][-1:] or ["unknown failure"]
    text = last[0].strip()
    if found := _NOT_FOUND.search(message):
        name = found["name"]
        if "/" in name or "/" in command:
            return Failure(127, f'exec: "{name}": stat {name}: no such file or directory')
        return Failure(127, f'exec: "{name}": executable file not found in $PATH')
    if "Exec format error" in text:
        return Failure(126, f'exec: "{command}": exec format error')
    if "open executable" in text or "exec" in text.lower():
        if "No such file or directory" in text:
            return Failure(127, f'exec: "{command}": no such file or directory')
        if "permitted" in text or "enied" in text:  # a directory, or not executable
            return Failure(126, f'exec: "{command}": permission denied')
    return Failure(128, text)


def system_text(fault: Exception) -> str:
    """A failure of this machine (no space left, no such device) as a sentence."""
    if isinstance(fault, OSError) and fault.strerror:
        place = f"{fault.filename}: " if fault.filename else ""
        return f"{place}{fault.strerror[0].lower()}{fault.strerror[1:]}"
    return str(fault) or type(fault).__name__


def start_text(failure: Failure) -> str:
    """The whole sentence for a container that could not be started."""
    return (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: crun: "
        f"unable to start container process: {failure.text}"
    )


def exec_text(failure: Failure) -> str:
    """The whole sentence for an exec that could not be started."""
    return f"OCI runtime exec failed: exec failed: unable to start container process: {failure.text}: unknown"
