"""Small grammars that several commands share: times, names, labels, sizes as docker's tables show them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from shoal.kit.units import human_duration, parse_duration

Json = dict[str, Any]
"""An object of the API."""


def short(identifier: str, full: bool = False) -> str:
    """The first twelve characters of an id, without `sha256:`."""
    return identifier if full else identifier.removeprefix("sha256:")[:12]


def cut(text: str, limit: int) -> str:
    """`text`, its end replaced by an ellipsis where it is longer than `limit`."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key in which numbers count as numbers: `web2` before `web10`."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def moment(text: str) -> datetime | None:
    """The time in an API answer; None for never."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text)


def since(when: datetime) -> str:
    """`3 minutes ago`."""
    return f"{human_duration((datetime.now(UTC) - when).total_seconds())} ago"


def since_epoch(seconds: float) -> str:
    """`3 minutes ago`, for a Unix time."""
    return f"{human_duration(time.time() - seconds)} ago"


def go_time(text: str) -> str:
    """A time of the API as Go prints one: `2026-01-02 03:04:05.123 +0000 UTC`."""
    match = re.fullmatch(r"(\d+-\d+-\d+)T([\d:]+)(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    if not match:
        return text
    day, clock, fraction, zone = match.groups()
    fraction = (fraction or "").rstrip("0").rstrip(".")
    return f"{day} {clock}{fraction} {'+0000 UTC' if zone == 'Z' else zone.replace(':', '') + ' ' + zone}"


def when_query(text: str) -> str | None:
    """`since` and `until` as the API wants them: seconds. `10m` counts back from now; RFC 3339 times and plain
    seconds are taken too. Raises ValueError."""
    if not text:
        return None
    try:
        return f"{time.time() - parse_duration(text) / 1e9:.9f}"
    except ValueError:
        pass
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return text
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"failed to parse value as time or duration: {text!r}".replace("'", '"')) from None
    return f"{(parsed if parsed.tzinfo else parsed.astimezone()).timestamp():.9f}"


def image_name(reference: str) -> str:
    """An image as listings show it: without the digest where there is a tag, without docker.io's prefixes."""
    name, _, _ = reference.partition("@")
    if ":" in name.rpartition("/")[2]:
        reference = name
    return reference.removeprefix("docker.io/").removeprefix("library/")


def labels_text(labels: Mapping[str, str] | None) -> str:
    """`a=1,b=2`."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def pairs(values: Iterable[str]) -> dict[str, str]:
    """`k=v` arguments as a mapping; a key alone has an empty value."""
    return {key: value for key, _, value in (text.partition("=") for text in values)}


def read_environment(values: Iterable[str], files: Iterable[str], environ: Mapping[str, str]) -> list[str]:
    """`--env-file`s, then `--env`s; a name alone takes the caller's value, or is left out.

    Raises ValueError for a line that is not one, OSError for a file that cannot be read.
    """
    found: list[str] = []
    lines = [line for path in files for line in _file_lines(path)]
    for text in [*lines, *values]:
        name, equals, _ = text.partition("=")
        if not name:
            raise ValueError(f"invalid environment variable: {text}")
        if equals:
            found.append(text)
        elif name in environ:
            found.append(f"{name}={environ[name]}")
    return found


def _file_lines(path: str) -> list[str]:
    with open(path, encoding="utf-8-sig") as file:
        lines = [line.rstrip("\n").lstrip() for line in file]
    kept = [line for line in lines if line and not line.startswith("#")]
    for line in kept:
        name = line.partition("=")[0]
        if any(blank in name for blank in " \t"):
            raise ValueError(f"poorly formatted environment: variable '{name}' contains whitespaces")
    return kept


def read_labels(values: Iterable[str], files: Iterable[str] = ()) -> dict[str, str]:
    """`--label-file`s, then `--label`s."""
    return pairs([*(line for path in files for line in _file_lines(path)), *values])


def unique(values: Iterable[str]) -> list[str]:
    """The values, each once, in order."""
    return list(dict.fromkeys(values))
