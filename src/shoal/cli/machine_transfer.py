"""export and import: files for their owner alone, encrypted with a passphrase where one is given."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from shoal.cli.machine_command import Session, UsageFault
from shoal.machine import sealed, transfer
from shoal.machine.errors import MachineError

VARIABLE = "MACHINE_PASSPHRASE"

_EXPORT = f"""
      --access                   Only give access to the machine: a client certificate and an ssh key of its own
  -e, --encrypt                  Encrypt the file; the passphrase comes from the terminal or [${VARIABLE}]
  -o, --output string            File to write; it must not exist (default "NAME.machine")
      --passphrase-file string   File whose first line is the passphrase; implies --encrypt
"""
_IMPORT = f"""
      --name string              Name of the machine here, instead of the one it had
      --passphrase-file string   File whose first line is the passphrase, instead of terminal or [${VARIABLE}]
"""


def export(session: Session, words: list[str]) -> int:
    """Write a machine, or access to it, to one file."""
    given = session.options(words, _EXPORT, "[NAME]")
    name = session.name(given.args)
    target = Path(given.text("output") if given.changed("output") else f"{name}.machine")
    passphrase = ""
    if given.flag("encrypt") or given.changed("passphrase-file"):
        passphrase = _passphrase(given.text("passphrase-file"), twice=True)
    write = transfer.export_access if given.flag("access") else transfer.export_whole

    def fill(sink: IO[bytes]) -> None:
        write(session.store, name, sink, session.say, datetime.now(UTC))

    try:
        _write(target, fill, passphrase)
    except FileExistsError as fault:
        raise MachineError(f"{target} exists already: name another file with --output") from fault
    except MachineError as fault:
        raise MachineError(f"Error exporting machine: {fault}") from fault
    what = f'Access to "{name}"' if given.flag("access") else f'"{name}"'
    session.say(f"{what} was written to {target}. Whoever has this file {'and the passphrase ' if passphrase else ''}"
                "can do everything on the machine.")  # fmt: skip
    if not given.flag("access"):
        session.say("Use it in one place only: what is done with it there is not known here.")
    return 0


def _write(target: Path, fill: Callable[[IO[bytes]], None], passphrase: str) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if passphrase:
                sealer = sealed.Sealer(file, passphrase)
                fill(sealer)  # type: ignore[arg-type]
                sealer.close()
            else:
                fill(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink()
        raise


def import_(session: Session, words: list[str]) -> int:
    """Take a machine from such a file."""
    given = session.options(words, _IMPORT, "FILE")
    if len(given.args) != 1:
        raise UsageFault("Error: Expected one file as an argument", session.typed)
    source = Path(given.args[0])
    with source.open("rb") as file:
        stream: IO[bytes] = file
        if file.read(len(sealed.MAGIC)) == sealed.MAGIC:
            stream = sealed.Opener(file, _passphrase(given.text("passphrase-file"), twice=False))  # type: ignore[assignment]
        else:
            file.seek(0)
        try:
            name = transfer.import_machine(session.store, stream, given.text("name"), session.say)
        except MachineError as fault:
            raise MachineError(f"Error importing {source}: {fault}") from fault
    session.say(f'Machine "{name}" was imported.')
    session.say(
        "To see how to connect your Docker Client to the Docker Engine running on this virtual machine, run: "
        f"{session.program} env {name}"
    )
    return 0


def _passphrase(file: str, *, twice: bool) -> str:
    """The passphrase: from the file, else the environment, else asked for. It is never an argument."""
    if file:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
        found = lines[0] if lines else ""
    elif VARIABLE in os.environ:
        found = os.environ[VARIABLE]
    elif sys.stdin.isatty():
        found = getpass.getpass("Passphrase: ")
        if twice and found != getpass.getpass("Once more: "):
            raise MachineError("the passphrases differ")
    else:
        raise MachineError(f"a passphrase is needed: set {VARIABLE}, or name a file with --passphrase-file")
    if not found:
        raise MachineError("the passphrase is empty")
    return found


RUN = {"export": export, "import": import_}
