"""Calls that fail and are cancelled at once."""

from __future__ import annotations

import asyncio

from shoal.kit.virtual import run_virtual
from shoal.wire.grpc import isolated


def test_a_call_that_fails_while_its_task_is_cancelled_does_not_hide_that() -> None:
    """A task that goes on after failed calls can be cancelled at any moment, even when a call fails just then."""

    async def call() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("connection lost")

    async def stubborn() -> None:
        while True:
            try:
                await isolated(call())
            except OSError:
                continue

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(stubborn())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()

    run_virtual(main())


def test_a_call_that_cancels_its_own_task_leaves_the_caller_alone() -> None:
    """grpclib ends calls by cancelling their task: the caller's is not touched, failures and results come through."""

    async def call() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            raise OSError("connection lost") from None

    async def main() -> None:
        own = asyncio.current_task()
        assert own is not None
        for _ in range(3):
            try:
                await isolated(call())
            except OSError:
                assert own.cancelling() == 0
        assert await isolated(asyncio.sleep(1, "result")) == "result"

    run_virtual(main())
