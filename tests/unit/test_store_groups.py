"""Task groups that fail and are cancelled at once."""

from __future__ import annotations

import asyncio

import pytest

from shoal.kit.tasks import Group, background
from shoal.kit.virtual import run_virtual


async def _fails(after: float) -> None:
    await asyncio.sleep(after)
    raise ValueError("failed")


async def _fails_when_cancelled() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("failed")


def test_a_cancelled_group_that_also_fails_is_cancelled() -> None:
    """Who handles a group's failures and goes on can still be cancelled, even if the group fails just then."""

    async def stubborn() -> None:
        while True:
            try:
                async with Group() as group:
                    group.create_task(_fails_when_cancelled())
            except BaseExceptionGroup:
                continue

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(stubborn())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()

    run_virtual(main())


def test_a_failed_group_leaves_its_task_as_it_was() -> None:
    """After a group failed, the task is not half cancelled: timeouts around it work."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                with pytest.raises(BaseExceptionGroup):
                    async with Group() as group:
                        group.create_task(_fails(1))
                with pytest.raises(ValueError, match="failed"):
                    async with background(_fails(1)):
                        await asyncio.sleep(2)
                task = asyncio.current_task()
                assert task is not None
                assert task.cancelling() == 0
                await asyncio.sleep(10)

    run_virtual(main())
