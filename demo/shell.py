"""A shell that is shown: runs what a user types, prints command and output, and remembers exports like a real one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BOLD, DIM, GREEN, RESET = ("\033[1m", "\033[2m", "\033[32m", "\033[0m") if sys.stdout.isatty() else ("",) * 4


class Unexpected(Exception):
    """A command did not do what the tutorial says it does."""


class Shell:
    """One terminal. `env` and `folder` carry over from command to command. `patience` multiplies time limits."""

    def __init__(self, env: dict[str, str], folder: Path, *, show: bool = True, patience: float = 1.0) -> None:
        self.env, self.folder, self._show, self._patience = env, folder, show, patience

    def run(self, command: str, *, fails: bool = False, quiet: bool = False) -> str:
        """Type `command`; returns what it printed (both streams). Raises Unexpected when its exit status is not
        zero, or, with `fails`, when it is."""
        if not quiet:
            self.print(f"{BOLD}$ {command}{RESET}")
        with tempfile.NamedTemporaryFile() as after:
            script = f"{command}\nstatus=$?\nenv -0 >{after.name}\nexit $status"
            with subprocess.Popen(
                ["bash", "-c", script], cwd=self.folder, env=self.env, text=True, errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            ) as child:  # fmt: skip
                assert child.stdout is not None
                lines = []
                for line in child.stdout:
                    lines.append(line)
                    if not quiet:
                        self.print(line.rstrip("\n"))
            exported = Path(after.name).read_bytes().decode(errors="replace")
        self.env = dict(entry.split("=", 1) for entry in exported.split("\0") if "=" in entry) or self.env
        output = "".join(lines)
        if (child.returncode != 0) != fails:
            raise Unexpected(f"`{command}` ended with {child.returncode}:\n{output}")
        return output

    def until(self, command: str, good: Callable[[str], bool], timeout: float = 60) -> str:
        """Type `command` again and again, quietly, until its output is `good`, and then show it once."""
        timeout *= self._patience
        deadline = time.monotonic() + timeout
        while True:
            try:
                output = self.run(command, quiet=True)
                if good(output):
                    break
            except Unexpected as fault:
                output = str(fault)
            if time.monotonic() > deadline:
                raise Unexpected(f"`{command}` did not come to what was expected within {timeout:.0f} s:\n{output}")
            time.sleep(0.2)
        self.print(f"{BOLD}$ {command}{RESET}\n{output.rstrip()}")
        return output

    def chapter(self, title: str) -> None:
        """A heading."""
        self.print(f"\n{GREEN}=== {title} {'=' * max(0, 100 - len(title))}{RESET}")

    def note(self, text: str) -> None:
        """What just happened, in a line."""
        self.print(f"{DIM}# {text}{RESET}\n")

    def expect(self, truth: object, what: str) -> None:
        """Raise Unexpected unless it is true."""
        if not truth:
            raise Unexpected(what)

    def print(self, text: str) -> None:
        """Show a line, at once."""
        if self._show:
            print(text, flush=True)


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without anything that points docker or machine commands elsewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "MACHINE_", "SHOAL_", "COMPOSE_"))}
    return {**kept, **extra}
