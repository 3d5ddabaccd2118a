"""How much discovery listens to: so many messages from one address and in all, and each message once."""

from __future__ import annotations

from collections import OrderedDict

from shoal.node.discovery_messages import SKEW

PER_SOURCE = 5.0
"""Messages per second from one address, in the long run."""
BURST = 10.0
"""Messages from one address at once."""
IN_ALL = 40
"""Times as many from all addresses together."""
REMEMBERED = 4096
"""Addresses and nonces that are remembered."""


class Limits:
    """Token buckets by source address, and one for all. `now` is in seconds, of any clock that does not jump."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, source: str, now: float) -> bool:
        """Whether one more message from `source` is listened to now."""
        return self._take(source, now, 1) and self._take("", now, IN_ALL)

    def _take(self, name: str, now: float, times: int) -> bool:
        tokens, then = self._buckets.pop(name, (BURST * times, now))
        tokens = min(BURST * times, tokens + (now - then) * PER_SOURCE * times)
        self._buckets[name] = (max(0.0, tokens - 1), now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return tokens >= 1


class Nonces:
    """Nonces that were seen while a message could still be fresh."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def is_new(self, nonce: bytes, now: float) -> bool:
        """Whether it was not seen before. While very many are remembered, nothing is: a flood gains nothing."""
        while self._seen and next(iter(self._seen.values())) < now - 2 * SKEW.total_seconds():
            self._seen.popitem(last=False)
        if nonce in self._seen or len(self._seen) >= REMEMBERED:
            return False
        self._seen[nonce] = now
        return True
