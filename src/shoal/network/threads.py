"""A few threads for calls that block: they change namespaces, so they are not shared with anybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from shoal.kit.tasks import to_its_end
from shoal.network.kernel.nft import Reaper

T = TypeVar("T")


class Threads:
    """Runs plain functions in threads and waits for them."""

    def __init__(self, count: int = 4) -> None:
        self._pool = ThreadPoolExecutor(count, "shoal-network")
        self.reaper = Reaper()

    async def run(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call `function` in a thread. Cancelled, it still waits for the end: half a change helps nobody."""
        loop = asyncio.get_running_loop()
        return await to_its_end(loop.run_in_executor(self._pool, lambda: function(*arguments, **options)))

    def close(self) -> None:
        """End the threads once they are idle."""
        self._pool.shutdown()
        self.reaper.close()
