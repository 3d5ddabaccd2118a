"""Go durations and byte sizes as docker writes and reads them, and times as people say them."""

from __future__ import annotations

import re
from datetime import datetime

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?b)?", re.IGNORECASE)


def parse_duration(text: str) -> int:
    """A Go duration such as `1m30s`, `1.5h` or `0` in nanoseconds. Raises ValueError."""
    sign, body = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if body == "0":
        return 0
    parts = _DURATION.findall(body)
    nanoseconds = sum(float(number) * _NANOSECONDS[unit] for number, unit in parts)
    if not parts or "".join(number + unit for number, unit in parts) != body or nanoseconds >= 2**63:
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * round(nanoseconds)


def format_duration(nanoseconds: int) -> str:
    """`nanoseconds` as Go prints a duration: `1h0m0s`, `1.5s`, `100ms`, `0s`."""
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if left < 10**9:
        for unit, size in (("ms", 10**6), ("µs", 10**3), ("ns", 1)):
            if left >= size:
                return f"{sign}{_decimal(left, size)}{unit}"
        return "0s"
    hours, left = divmod(left, _NANOSECONDS["h"])
    minutes, left = divmod(left, _NANOSECONDS["m"])
    prefix = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{prefix}{_decimal(left, 10**9)}s"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    fraction = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


def parse_bytes(text: str) -> int:
    """A size such as `50M`, `1.5gb` or `1024` in bytes; units are powers of 1024. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"invalid size: '{text}'")
    number, unit, _ = match.groups()
    size = float(number) * 1024 ** " kmgtp".index(unit.lower() or " ")
    if size >= 2**63:
        raise ValueError(f"invalid size: '{text}'")
    return int(size)


def human_size(size: float) -> str:
    """Bytes as `docker images` shows them: four significant digits, powers of 1000 (`7.05MB`)."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if size < 1000 or unit == "PB":
            return f"{size:.4g}{unit}" if unit == "B" else f"{size:.3g}{unit}"
        size /= 1000
    raise AssertionError


def binary_size(size: float) -> str:
    """Bytes in powers of 1024, four significant digits (`1.944GiB`), as `docker info` and `stats` show them."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024 or unit == "PiB":
            return f"{size:.4g}{unit}"
        size /= 1024
    raise AssertionError


def human_duration(seconds: float) -> str:
    """A span of time as docker says it: `Less than a second`, `About a minute`, `3 hours`, `2 weeks`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"


def ago(moment: datetime, now: datetime) -> str:
    """`3 minutes ago`, from `moment` to `now`."""
    return f"{human_duration((now - moment).total_seconds())} ago"
