"""Waiting for something to become true, with a deadline: what tests use instead of sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], T | Awaitable[T]], timeout: float = 60.0, interval: float = 0.02) -> T:
    """Poll `condition` (plain or async) until it is true and return its value; AssertionError after `timeout` s."""
    deadline = time.monotonic() + timeout
    while True:
        over = time.monotonic() > deadline
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value  # type: ignore[return-value]
        assert not over, f"still not true after {timeout} s: {condition}"
        await asyncio.sleep(interval)


def until_sync(condition: Callable[[], T], timeout: float = 60.0, interval: float = 0.02) -> T:
    """`until` for tests without an event loop."""
    deadline = time.monotonic() + timeout
    over = False  # asked before the condition: a stall between the two costs nothing
    while not (value := condition()):
        assert not over, f"still not true after {timeout} s: {condition}"
        over = time.monotonic() > deadline
        time.sleep(interval)
    return value
