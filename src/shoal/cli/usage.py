"""Help texts: laid out as docker lays them out, 80 columns wide or as wide as the terminal."""

from __future__ import annotations

import os
import sys

from shoal.cli import tree
from shoal.cli.flags import Flag

_SLOP = 5  # a last word may stand this far over the edge rather than alone on a line


def width() -> int:
    """Columns of the terminal, 80 without one."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return 80


def options(flags: list[Flag], columns: int) -> str:
    """The lines of `Options:`: names, type, meaning, aligned and wrapped."""
    heads = [_head(flag) for flag in flags]
    margin = max(map(len, heads), default=0) + 3
    return "".join(
        f"{head:<{margin}}{wrapped(flag.help, margin, columns)}\n" for head, flag in zip(heads, flags, strict=True)
    )


def _head(flag: Flag) -> str:
    names = f"  -{flag.short}, --{flag.name}" if flag.short else f"      --{flag.name}"
    return f"{names} {flag.kind}" if flag.kind else names


def wrapped(text: str, margin: int, columns: int) -> str:
    """`text` in the space right of `margin`; on a line of its own where that is too narrow."""
    room, lead = columns - 1 - margin, ""
    if room < 24:
        margin, room = 16, columns - 17
        lead = "\n" + " " * margin
    lines: list[str] = []
    while text:
        line, text = _first_line(text, room - _SLOP)
        lines.append(line.replace("\n", "\n" + " " * margin))
    return lead + ("\n" + " " * margin).join(lines)


def _first_line(text: str, room: int) -> tuple[str, str]:
    if room + _SLOP > len(text):
        return text, ""
    head = text[:room]
    space = max(head.rfind(blank) for blank in " \t\n")
    if space <= 0:
        return text, ""
    newline = head.rfind("\n")
    cut = newline if 0 < newline < space else space
    return text[:cut], text[cut + 1 :]


def command_help(program: str, path: str, arguments: str, flags: list[Flag]) -> str:
    """What `COMMAND --help` prints."""
    entry = tree.find(path)
    text = f"Usage:  {program} {path}{' ' + arguments if arguments else ''}\n\n{entry.long or entry.short}\n"
    names = tree.all_names(path)
    if len(names) > 1:
        text += "\nAliases:\n  " + ", ".join(f"{program} {name}" for name in names) + "\n"
    if flags:
        text += "\nOptions:\n" + options(flags, width())
    return text


def group_help(program: str, group: str) -> str:
    """What `GROUP --help`, and the group alone, print."""
    rows = "".join(f"  {name:<11} {short}\n" for name, short in tree.commands_of(group))
    return (
        f"Usage:  {program} {group} COMMAND\n\n{tree.GROUPS[group].short}\n\nCommands:\n{rows}\n"
        f"Run '{program} {group} COMMAND --help' for more information on a command.\n"
    )


def root_help(program: str, flags: list[Flag]) -> str:
    """What `--help` alone prints."""
    text = f"Usage:  {program} [OPTIONS] COMMAND\n\nA self-sufficient runtime for containers, one machine or a swarm\n"
    for title, rows in tree.sections():
        text += f"\n{title}:\n" + "".join(f"  {name:<11} {short}\n" for name, short in rows)
    return (
        text
        + "\nGlobal Options:\n"
        + options(flags, width())
        + f"\nRun '{program} COMMAND --help' for more information on a command.\n"
    )
