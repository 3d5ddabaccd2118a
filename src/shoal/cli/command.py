"""What a command is declared with, what it gets, and how it fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from shoal.api.client import Client, ConnectionFault, DaemonError, EmptyName, config_dir, from_environment
from shoal.cli.flags import Flag, Options
from shoal.model.errors import ShoalError as ShoalFault

if TYPE_CHECKING:
    from shoal.cli.config import ConfigFile


class CommandFault(Exception):
    """The command failed: a message for stderr (may be empty) and an exit code."""

    def __init__(self, message: str = "", code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class RunFault(CommandFault):
    """A failure of `run` and its kin: `docker: ...`, a hint at --help, and 125, 126 or 127."""

    def __init__(self, message: str, code: int = 125, *, hint: bool = True) -> None:
        super().__init__(message, code)
        self.hint = hint


class ShowHelp(Exception):
    """Nothing was asked for: show what could be."""


class Context:
    """What every command gets: the daemon's client, the user's settings, standard output and error."""

    def __init__(
        self,
        program: str = "shoal",
        *,
        host: str = "",
        tls: bool = False,
        verify: bool | None = None,
        files: Mapping[str, str] | None = None,
        directory: str = "",
    ) -> None:
        self.program = program
        self.directory = directory or config_dir(os.environ)
        self._where = (host, tls, verify, files)
        self._client: Client | None = None
        self._config: ConfigFile | None = None

    @property
    def client(self) -> Client:
        """The daemon. Raises AddressFault when its address makes no sense."""
        if not self._client:
            host, tls, verify, files = self._where
            self._client = Client(from_environment(os.environ, host, tls=tls, verify=verify, files=files))
        return self._client

    def another_client(self) -> Client:
        """A second connection to the same daemon, for what goes on beside a stream."""
        return Client(self.client.address, version=self.client.api_version)

    @property
    def config(self) -> ConfigFile:
        """The user's config.json: credentials."""
        if not self._config:
            from shoal.cli.config import ConfigFile

            self._config = ConfigFile(os.path.join(self.directory, "config.json"))
        return self._config

    def out(self, text: str = "", *, end: str = "\n") -> None:
        """Print on standard output."""
        sys.stdout.write(text + end)

    def err(self, text: str, *, end: str = "\n") -> None:
        """Print on standard error."""
        sys.stdout.flush()
        sys.stderr.write(text + end)
        sys.stderr.flush()

    def warnings(self, texts: Iterable[str] | None) -> None:
        """Print the daemon's warnings."""
        for text in texts or []:
            self.err(f"WARNING: {text}")

    def each(self, names: Iterable[str], act: Callable[[str], object], *, echo: bool = True) -> int:
        """Do it for every name and print the name; failures are printed too and make the exit code 1."""
        code = 0
        for name in names:
            try:
                act(name)
            except (DaemonError, CommandFault) as fault:
                self.err(text_of(fault))
                code = 1
            else:
                if echo:
                    self.out(name)
        return code


Run = Callable[[Context, Options], int | None]


class Command(NamedTuple):
    """A declared command. `arguments` is the rest of its usage line; `at_most` None means any number."""

    path: str
    arguments: str
    at_least: int
    at_most: int | None
    flags: str
    interspersed: bool
    run: Run


DECLARED: dict[str, Command] = {}
"""The commands of the modules loaded so far, by full name."""


def command(
    path: str,
    arguments: str = "",
    *,
    args: tuple[int, int | None] = (0, 0),
    flags: str = "",
    interspersed: bool = True,
) -> Callable[[Run], Run]:
    """Declare the decorated function to be the command `path`; its one line of help stands in `tree`."""

    def declared(run: Run) -> Run:
        DECLARED[path] = Command(path, arguments, args[0], args[1], flags, interspersed, run)
        return run

    return declared


def text_of(fault: Exception) -> str:
    """How a failure is shown: what the daemon says is marked as the daemon's."""
    if isinstance(fault, DaemonError) and not isinstance(fault, EmptyName):
        return f"Error response from daemon: {fault}"
    if isinstance(fault, OSError) and fault.filename:
        return f"open {fault.filename}: {(fault.strerror or 'failed').lower()}"
    return str(fault)


def fail(message: str, code: int = 1) -> NoReturn:
    """Raise CommandFault."""
    raise CommandFault(message, code)


def confirmed(context: Context, question: str, force: bool) -> bool:
    """Whether the user agrees: with --force unasked."""
    if force:
        return True
    context.out(f"{question} [y/N] ", end="")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() == "y"


TABLE_FORMAT = """Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
|Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"""

OBJECT_FORMAT = """Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
|Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"""

__all__ = [
    "DECLARED", "OBJECT_FORMAT", "TABLE_FORMAT", "Command", "CommandFault", "ConnectionFault", "Context", "DaemonError",
    "Flag", "Options", "RunFault", "ShoalFault", "ShowHelp", "command", "confirmed", "fail", "text_of",
]  # fmt: skip
