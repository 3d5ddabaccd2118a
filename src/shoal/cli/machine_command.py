"""What the commands of `shoal machine` share: the session, options, names and several machines at once."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Sequence

from shoal.cli import machine_several as several
from shoal.cli import usage
from shoal.cli.flags import Flag, FlagFault, Options, declare, parse
from shoal.machine.errors import MachineError, NoSuchMachine, text_of
from shoal.machine.store import Store


class UsageFault(Exception):
    """The command was not used as it should be: exit status 2. `command` is the one whose help says how."""

    def __init__(self, message: str, command: str) -> None:
        super().__init__(message)
        self.command = command


class HelpShown(MachineError):
    """The help was asked for and printed: nothing is left to do."""

    exit_status = 0


class Failed(MachineError):
    """Some of several machines failed, and it was said. `done` are the names of the others."""

    def __init__(self, done: list[str]) -> None:
        super().__init__("")
        self.done = done


def trace(fault: BaseException) -> None:
    """With `--debug`: where the failure came from, on standard error."""
    if os.environ.get("MACHINE_DEBUG") == "1":
        import traceback

        traceback.print_exception(fault)


class Session:
    """One command line: the program's name as typed, the command, the store, and where progress goes."""

    def __init__(
        self, program: str, command: str, storage: str = "", certificates: dict[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """`before` are the words between program and command: global options."""
        self.program, self.command, self._before = program, command, before
        self.store = Store.default(os.environ, storage)
        self.certificates = {
            key: given
            for key, variable in (
                ("ca", "MACHINE_TLS_CA_CERT"), ("ca-key", "MACHINE_TLS_CA_KEY"),
                ("cert", "MACHINE_TLS_CLIENT_CERT"), ("key", "MACHINE_TLS_CLIENT_KEY"),
            )
            if (given := (certificates or {}).get(key) or os.environ.get(variable, ""))
        }  # fmt: skip
        self._lock = threading.Lock()

    @property
    def typed(self) -> str:
        """The command as a user types it: `shoal machine ls`."""
        return f"{self.program} {self.command}"

    def typed_in_full(self, words: Sequence[str]) -> str:
        """The whole command line with these words after the command."""
        line = [*self.program.split(), *self._before, self.command, *words]
        return " ".join(f'"{word}"' if " " in word or "\\" in word else word for word in line)

    def say(self, line: str) -> None:
        """A line of progress on standard output, whole even when several machines speak."""
        with self._lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def complain(self, line: str) -> None:
        """A line on standard error."""
        with self._lock:
            sys.stdout.flush()
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def options(self, words: Sequence[str], lines: str = "", arguments: str = "[arg...]") -> Options:
        """Parse the command's options. Raises UsageFault, or HelpShown after printing the help."""
        flags = [*declare(lines), *declare("  -h, --help   Show help")]
        try:
            given = parse(flags, double_dashed(words, flags))
        except FlagFault as fault:
            raise UsageFault(str(fault), self.typed) from fault
        if given.flag("help"):
            self.help(flags, arguments)
        return given

    def help(self, flags: list[Flag], arguments: str) -> None:
        """Print the command's help; raises HelpShown."""
        from shoal.cli.machine import COMMANDS

        marker = " [OPTIONS]" if len(flags) > 1 else ""
        sys.stdout.write(f"Usage: {self.typed}{marker} {arguments}\n\n{COMMANDS[self.command][1]}\n\nOptions:\n")
        sys.stdout.write(usage.options(flags, usage.width()))
        raise HelpShown

    def names(self, given: Sequence[str]) -> list[str]:
        """The machines that are meant: those given, else `default` when it exists. All must exist."""
        names = list(dict.fromkeys(given))
        if not names:
            if not self.store.exists("default"):
                raise MachineError('Error: No machine name(s) specified and no "default" machine exists')
            names = ["default"]
        missing = [name for name in names if not self.store.exists(name)]
        if missing:
            raise MachineError("\n".join(str(NoSuchMachine(name)) for name in missing))
        return names

    def name(self, given: Sequence[str]) -> str:
        """The one machine that is meant."""
        if len(given) > 1:
            raise MachineError("Error: Expected one machine name as an argument")
        return self.names(given)[0]

    def each(self, names: Sequence[str], act: several.Act, *, quiet: bool = False) -> list[str]:
        """Do it to every machine, several at once. The names of those with which it worked; all, or Failed is raised.

        One machine's failure is raised as it is. Of several each is printed, in the order of the names. With `quiet`
        nothing is said about them meanwhile.
        """
        if len(names) == 1:
            act(names[0], self.say)
            return list(names)
        terminal = not quiet and sys.stdout.isatty() and len(names) < shutil.get_terminal_size().lines
        faults = several.run(names, act, several.Lines(names, sys.stdout, terminal=terminal))
        for name, fault in faults.items():
            if isinstance(fault, Exception):
                trace(fault)
                self.complain(several.named(name, text_of(fault)))
        for fault in faults.values():
            if not isinstance(fault, Exception):
                raise fault
        if faults:
            raise Failed([name for name in names if name not in faults])
        return list(names)


def double_dashed(words: Sequence[str], flags: Sequence[Flag], *, stop: bool = False) -> list[str]:
    """docker-machine takes `-driver` for `--driver`. With `stop`, what follows the first argument is left alone."""
    names = {flag.name: flag for flag in flags if len(flag.name) > 1}
    result: list[str] = []
    words = list(words)
    while words:
        word = words.pop(0)
        if word == "--" or (stop and not word.startswith("-")):
            return [*result, word, *words]
        if word.startswith("-") and not word.startswith("--"):
            name = word[1:].partition("=")[0]
            if name in names:
                word = "-" + word
        result.append(word)
        flag = _flag_of(word, flags)
        if flag and flag.kind and "=" not in word and words:
            result.append(words.pop(0))
    return result


def _flag_of(word: str, flags: Sequence[Flag]) -> Flag | None:
    for flag in flags:
        if word.partition("=")[0] == f"--{flag.name}" or (flag.short and word == f"-{flag.short}"):
            return flag
    return None
