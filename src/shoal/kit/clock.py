"""Time as an argument: `Clock` says what time it is, so that decisions and tests never ask the computer.

Sleeping goes through `asyncio`, which already has an injectable clock: its event loop. A test that wants virtual
time runs on `shoal.kit.virtual.VirtualLoop` with a `LoopClock`, and nothing in it ever really waits.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol

ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)
"""The Engine API's "never": 0001-01-01T00:00:00Z."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


class SystemClock:
    """The computer's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class LoopClock:
    """The running event loop's time, counted from `start`: real under a real loop, virtual under a virtual one."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start

    def now(self) -> datetime:
        return self._start + timedelta(seconds=asyncio.get_running_loop().time())


def nanoseconds(moment: datetime) -> int:
    """`moment` as integer nanoseconds since 1970, exact to the microsecond that a datetime holds."""
    delta = moment - EPOCH
    return ((delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1000


def from_nanoseconds(value: int) -> datetime:
    """The aware UTC datetime of `value` nanoseconds since 1970, cut to microseconds."""
    return EPOCH + timedelta(microseconds=value // 1000)
