"""Structured concurrency: small additions to `asyncio.TaskGroup`. No coroutine lives outside a group."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


class Group(asyncio.TaskGroup):
    """`asyncio.TaskGroup` as it is from Python 3.13 on.

    Before, a group that failed at the moment at which its task was cancelled raised the failure only, so that whoever
    handles failures and goes on could never be cancelled; and one that failed while it was waiting for its tasks left
    a count behind that broke `asyncio.timeout` and `Task.cancelling`.
    """

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        asked = self._parent_cancel_requested  # type: ignore[attr-defined]
        try:
            await super().__aexit__(kind, fault, trace)
        except BaseExceptionGroup:
            task = self._parent_task  # type: ignore[attr-defined]
            if sys.version_info < (3, 13) and task is not None:
                if self._parent_cancel_requested and not asked:  # type: ignore[attr-defined]
                    task.uncancel()
                if task.cancelling():
                    raise asyncio.CancelledError from None
            raise


@asynccontextmanager
async def background(*coroutines: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.TaskGroup]:
    """A scope in which `coroutines` run beside the body; leaving the body, however, cancels and awaits them.

    A coroutine that fails cancels the body and the failure comes out of the scope. The group is yielded, so that
    the body can add more.
    """
    try:
        async with Group() as group:
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


async def to_its_end(call: asyncio.Future[T]) -> T:
    """Wait for what a thread does: a waiter that is cancelled goes when the call has ended, which cannot be stopped."""
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        call.exception()  # heard: nobody is left who could be told
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
