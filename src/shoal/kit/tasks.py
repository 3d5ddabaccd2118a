"""Structured concurrency: small additions to `asyncio.TaskGroup`. No coroutine lives outside a group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(*coroutines: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.TaskGroup]:
    """A scope in which `coroutines` run beside the body; leaving the body, however, cancels and awaits them.

    A coroutine that fails cancels the body and the failure comes out of the scope. The group is yielded, so that
    the body can add more.
    """
    try:
        async with asyncio.TaskGroup() as group:
            started = [group.create_task(coroutine) for coroutine in coroutines]
            members: set[asyncio.Task[Any]] = set(started)
            create = group.create_task

            def remember(coroutine: Any, **options: Any) -> asyncio.Task[Any]:
                task = create(coroutine, **options)
                members.add(task)
                task.add_done_callback(members.discard)
                return task

            group.create_task = remember  # type: ignore[method-assign, assignment]
            try:
                yield group
            finally:
                for task in members:
                    task.cancel()
    except BaseExceptionGroup as failures:
        if len(failures.exceptions) == 1:
            raise failures.exceptions[0] from None
        raise


class Bell:
    """Something changed: `ring` never waits, and any number of rings before `wait` count as one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter, now or at its next `wait`."""
        self._event.set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for a ring, or `timeout` seconds; True when it rang. The ring is used up."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True
