"""`machine image build`, `ls` and `rm`: the image that virtual machines boot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shoal.cli import usage
from shoal.cli.flags import Flag
from shoal.cli.machine_command import HelpShown, Session, UsageFault
from shoal.machine.errors import MachineError

_BUILD = """
      --mirror string   Address of a Debian mirror (default: those that apt knows here)
  -v, --verbose         Show what the programs say that make it
"""
_LS = """
      --format string   Pretty-print with a Go template
      --no-trunc        Don't truncate output
  -q, --quiet           Only show the image's ID
"""
_COLUMNS = {"Version": "VERSION", "ID": "IMAGE ID", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT",
            "Size": "SIZE", "Status": "STATUS", "Path": "PATH"}  # fmt: skip
_SHOWN = ("Version", "ID", "CreatedSince", "Size", "Status")


class _Part(Session):
    """`image build` and the others as commands of their own."""

    def __init__(self, whole: Session, name: str) -> None:
        self.__dict__.update(vars(whole))
        self.program, self.command = whole.typed, name

    def help(self, flags: list[Flag], arguments: str) -> None:
        sys.stdout.write(f"Usage: {self.typed} [OPTIONS]\n\n{_PARTS[self.command][1]}\n\nOptions:\n")
        sys.stdout.write(usage.options(flags, usage.width()))
        raise HelpShown

    def only_options(self, words: list[str], lines: str = "") -> Any:
        """The options of a command that takes no arguments."""
        given = self.options(words, lines, "")
        if given.args:
            raise UsageFault(f'"{self.typed}" accepts no arguments.', self.typed)
        return given


def image(session: Session, words: list[str]) -> int:
    """Find out which of its commands is meant."""
    if not words or words[0] in ("-h", "--help", "help"):
        rows = "".join(f"  {name:<7} {text}\n" for name, (_, text) in _PARTS.items())
        sys.stdout.write(
            f"Usage: {session.typed} COMMAND\n\nThe image that virtual machines boot\n\n"
            f"Commands:\n{rows}\nRun '{session.typed} COMMAND --help' for more information on a command.\n"
        )
        return 0
    name = {"list": "ls", "remove": "rm"}.get(words[0], words[0])
    if name not in _PARTS:
        raise UsageFault(f"{session.program}: '{session.command} {words[0]}' is not a command.", session.typed)
    return _PARTS[name][0](_Part(session, name), words[1:])


def _build(session: _Part, words: list[str]) -> int:
    from shoal.machine.image import build

    given = session.only_options(words, _BUILD)
    tell = session.complain if given.flag("verbose") else lambda line: None
    build(session.store.root, session.say, mirror=given.text("mirror"), tell=tell)
    return 0


def _ls(session: _Part, words: list[str]) -> int:
    from shoal.machine.image import cache
    from shoal.ui.tables import aligned

    given = session.only_options(words, _LS)
    form, path = given.text("format"), cache.location(session.store.root)
    rows = [_row(path, full=given.flag("no-trunc"))] if path.exists() else []
    if given.flag("quiet") and not form:
        sys.stdout.write("".join(f"{row['ID']}\n" for row in rows))
    elif not form or form == "table":
        lines = ["\t".join(_COLUMNS[name] for name in _SHOWN)]
        sys.stdout.write(aligned([*lines, *("\t".join(row[name] for name in _SHOWN) for row in rows)]))
    else:
        sys.stdout.write(_templated(form, rows))
    return 0


def _templated(form: str, rows: list[dict[str, str]]) -> str:
    from shoal.kit.gotemplate import Template, TemplateError
    from shoal.kit.gotemplate_values import json
    from shoal.ui.tables import aligned

    if form == "json":
        return "".join(f"{json(row)}\n" for row in rows)
    text = form.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    try:
        template = Template(text)
        lines = [template.render(row) for row in rows]
        if form.startswith("table "):
            return aligned([template.render(_COLUMNS), *lines])
    except TemplateError as fault:
        raise MachineError(f"Template parsing error: {fault}") from fault
    return "".join(f"{line}\n" for line in lines)


def _row(path: Path, *, full: bool) -> dict[str, str]:
    from shoal.kit.units import ago, human_size
    from shoal.machine.image import cache, sources

    row = dict.fromkeys(_COLUMNS, "<none>") | {"Size": human_size(path.stat().st_size), "Path": str(path)}
    try:
        found = cache.inspect(path)
    except MachineError:
        return row | {"Status": "Broken"}
    created = datetime.fromisoformat(found.created)
    return row | {
        "Version": found.version, "ID": f"sha256:{found.digest}" if full else found.digest[:12],
        "CreatedSince": ago(created, datetime.now(UTC)), "CreatedAt": str(created.astimezone()),
        "Status": "Current" if found.version == sources.version() else "Holds another Shoal",
    }  # fmt: skip


def _rm(session: _Part, words: list[str]) -> int:
    from shoal.machine.image import cache

    session.only_options(words)
    path = cache.location(session.store.root)
    if not cache.remove(session.store.root):
        raise MachineError(f"There is no machine image {path}")
    session.say(f"Deleted: {path}")
    return 0


_PARTS: dict[str, tuple[Callable[[_Part, list[str]], int], str]] = {
    "build": (_build, "Make the image from Debian packages and this installation of Shoal"),
    "ls": (_ls, "Show the image of the store"),
    "rm": (_rm, "Remove the image of the store"),
}
RUN = {"image": image}
