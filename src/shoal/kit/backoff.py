"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Iterator


def backoff(first: float, limit: float, *, factor: float = 2.0, rng: random.Random | None = None) -> Iterator[float]:
    """Endless waits in seconds: `first`, growing by `factor`, never above `limit`.

    With `rng` each wait is drawn evenly between 0 and that bound ("full jitter"), so that many waiters spread out.
    """
    bound = first
    while True:
        yield rng.uniform(0, bound) if rng else bound
        bound = min(limit, bound * factor)
