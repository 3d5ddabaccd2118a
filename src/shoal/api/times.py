"""Times in queries: `since` and `until`, as seconds, as RFC 3339, or as a span before now."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from shoal.kit.clock import EPOCH
from shoal.kit.units import parse_duration
from shoal.model.errors import InvalidArgument

_SECONDS = re.compile(r"(-?\d+)(?:\.(\d{1,9})\d*)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?)?")


def parse_time(text: str, now: datetime) -> datetime | None:
    """The moment that `text` means: `1700000000.5`, `2026-01-02T03:04:05Z`, or `10m` before `now`.

    None for an empty text or 0, which mean "no limit". Raises InvalidArgument.
    """
    if text in ("", "0"):
        return None
    seconds = _SECONDS.fullmatch(text)
    if seconds:
        micros = int((seconds[2] or "").ljust(6, "0")[:6])
        try:
            return EPOCH + timedelta(seconds=int(seconds[1]), microseconds=micros)
        except OverflowError:
            raise InvalidArgument(f"value {text} is out of range for a timestamp") from None
    if _DATE.fullmatch(text):
        return _date(text)
    try:
        return now - timedelta(microseconds=parse_duration(text) / 1000)
    except (ValueError, OverflowError):
        raise InvalidArgument(f'failed to parse value as time or duration: "{text}"') from None


def _date(text: str) -> datetime:
    clock = text[11:]
    text = text + ":00" if re.fullmatch(r"\d{2}", clock) else text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(f'failed to parse value as time or duration: "{text}"') from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def log_timestamp(moment: datetime) -> str:
    """What stands before a log line: RFC 3339 with nine digits, `2026-01-02T03:04:05.000000000Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}000Z"
