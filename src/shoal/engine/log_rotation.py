"""Keeping logs within `max-size` and `max-file`: conmon writes, we rename and have it open the file anew."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from pathlib import Path

from shoal.engine.context import Context, log
from shoal.kit.units import parse_bytes
from shoal.model.container import LogConfig
from shoal.model.errors import InvalidArgument

_EVERY = 5.0
"""Seconds between two looks at the sizes: a log may be larger for that long."""


def limits(config: LogConfig) -> tuple[int, int]:
    """(bytes, files): `max-size` (0 is no limit) and `max-file` (1 is docker's default).

    Raises InvalidArgument for options that are none, or that this driver does not have.
    """
    known = {"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode",
             "max-buffer-size"}  # fmt: skip
    for key in config.config:
        if key not in known and config.type != "none":
            raise InvalidArgument(f"unknown log opt '{key}' for {config.type} log driver")
    size_text, count_text = config.config.get("max-size", "0"), config.config.get("max-file", "1")
    try:
        size = 0 if size_text == "-1" else parse_bytes(size_text)
    except ValueError as fault:
        raise InvalidArgument(f"invalid size: '{size_text}'") from fault
    if not count_text.isdigit() or int(count_text) < 1:
        raise InvalidArgument("max-file cannot be less than 1")
    return size, int(count_text)


async def keep_rotating(context: Context) -> None:
    """Look after every running container's log, for ever."""
    while True:
        await asyncio.sleep(_EVERY)
        for entry in context.records.all():
            if context.running(entry):
                try:
                    rotate(context, entry.id, Path(entry.container.log_path), entry.container.host_config.log_config)
                except OSError as fault:
                    log.warning("rotating the log of %s: %s", entry.id[:12], fault)


def rotate(context: Context, id: str, path: Path, config: LogConfig) -> bool:
    """Rotate one log if it is too large and still written; no line is lost. Returns whether it was.

    conmon may end before it has opened a new file: then `<log>` and `<log>.1` stay one file, which readers read once,
    and the next rotation, if the container starts again, has only conmon to ask.
    """
    size, count = limits(config)
    if not size or not path.exists() or path.stat().st_size < size:
        return False
    newest = Path(f"{path}.1")
    if not (newest.exists() and newest.samefile(path)):
        _shift(path, count)
    try:
        context.conmon.control(id, "2 0 0")
    except OSError as fault:
        if fault.errno in (errno.ENXIO, errno.ENOENT):  # the container has ended
            return False
        raise
    return True


def _shift(path: Path, count: int) -> None:
    """Every file gets the next number, the one with the highest is gone; the log itself keeps its name, too."""
    for number in range(count - 1, 0, -1):
        source = path if number == 1 else Path(f"{path}.{number - 1}")
        if not source.exists():
            continue
        target = Path(f"{path}.{number}")
        if number == 1:  # the name stays until conmon has put a new file in its place
            with suppress(FileNotFoundError):
                target.unlink()
            os.link(source, target)
        else:
            source.replace(target)
