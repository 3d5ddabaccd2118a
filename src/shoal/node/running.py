"""What runs on a node beside the requests that started it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from shoal.kit.tasks import background

T = TypeVar("T")


class Running:
    """Coroutines that outlive the request that began them. Use as a context: leaving it cancels them."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Running:
        self._group = await self._stack.enter_async_context(background())
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._stack.__aexit__(*failure)  # type: ignore[arg-type]

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Run it until it is through, or until `end`. The future gets the outcome, and nobody needs to look at it."""
        task, outcome = self._begin(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return outcome

    async def undisturbed(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it to its end, past `end`, and also when who waits for it here goes away; returns what it returns."""
        return await asyncio.shield(self._begin(coroutine)[1])

    async def end(self) -> None:
        """Cancel everything that was started (but the caller, if it was) and wait for it."""
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, coroutine: Coroutine[Any, Any, T]) -> tuple[asyncio.Task[None], asyncio.Future[T]]:
        assert self._group is not None
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        task = self._group.create_task(_settled(coroutine, outcome))

        def end(_: asyncio.Task[None]) -> None:
            """For a task that is cancelled, which may be before it has begun."""
            coroutine.close()
            outcome.cancel()

        task.add_done_callback(end)
        return task, outcome


async def _settled(coroutine: Coroutine[Any, Any, T], outcome: asyncio.Future[T]) -> None:
    try:
        outcome.set_result(await coroutine)
    except Exception as fault:
        outcome.set_exception(fault)
        outcome.exception()
