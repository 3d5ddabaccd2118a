"""`docker top`: the machine's ps, cut down to the processes of one container."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from shoal.engine import process
from shoal.model.errors import InvalidArgument, ShoalError


class Table(NamedTuple):
    """What ps printed: titles and rows."""

    titles: list[str]
    processes: list[list[str]]


def top(arguments: str, pids: Collection[int]) -> Table:
    """Run `ps <arguments>` and keep the rows of `pids`. Blocking. Raises ShoalError with ps's own words."""
    words = arguments.split() or ["-ef"]  # without a shell's quotes, as in docker
    try:
        done = process.run(["ps", *words])
    except FileNotFoundError as fault:
        raise ShoalError("ps is missing on this machine: install the package procps") from fault
    if done.code:
        raise ShoalError(f"ps: {done.stderr.decode(errors='replace').strip() or done.code}")
    return select(done.stdout.decode(errors="replace"), pids)


def select(text: str, pids: Collection[int]) -> Table:
    """The rows of ps's output whose PID is one of `pids`. Raises InvalidArgument when there is no such column."""
    lines = text.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output")
    column, rows = titles.index("PID"), []
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) > column and fields[column].isdigit() and int(fields[column]) in pids:
            rows.append(fields)
    return Table(titles, rows)
