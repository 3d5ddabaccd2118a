"""What happened on this machine: everybody who listens is told, and the last of it can be told again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime

from msgspec.structs import replace

from shoal.kit.clock import ZERO_TIME, Clock
from shoal.model.engine import Actor, Event

_HISTORY = 1024
_QUEUE = 10_000


class Events:
    """The engine's events, and (scope swarm) those that a manager publishes here."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._history: deque[Event] = deque(maxlen=_HISTORY)
        self._listeners: set[asyncio.Queue[Event]] = set()

    def publish(self, event: Event) -> None:
        """Tell everybody. An event without a moment gets the present one. Never waits."""
        if event.moment == ZERO_TIME:
            event = replace(event, moment=self._clock.now())
        self._history.append(event)
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()  # a listener that does not listen loses the oldest
            queue.put_nowait(event)

    def tell(self, kind: str, action: str, id: str, attributes: dict[str, str] | None = None) -> None:
        """Publish a local event about `id`."""
        self.publish(Event(type=kind, action=action, actor=Actor(id=id, attributes=attributes or {})))

    def subscribe(self, since: datetime | None = None, until: datetime | None = None) -> AsyncIterator[Event]:
        """Past events from `since` on, then new ones as they happen, to `until` or for ever.

        Listening begins with the call, not with the first `anext`: nothing in between is missed.
        """
        queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUE)
        if since is not None:
            for event in self._history:
                if event.moment >= since and (until is None or event.moment <= until):
                    queue.put_nowait(event)
        self._listeners.add(queue)
        return self._listen(queue, until)

    async def _listen(self, queue: asyncio.Queue[Event], until: datetime | None) -> AsyncIterator[Event]:
        try:
            while True:
                left = None if until is None else (until - self._clock.now()).total_seconds()
                if left is not None and left <= 0 and queue.empty():
                    return
                try:
                    async with asyncio.timeout(None if left is None else max(0.0, left)):
                        event = await queue.get()
                except TimeoutError:
                    return
                if until is None or event.moment <= until:
                    yield event
        finally:
            self._listeners.discard(queue)
