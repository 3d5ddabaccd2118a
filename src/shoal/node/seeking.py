"""A node that has lost all managers looks for them: it asks the nodes that it remembers, and calls out on its subnets.

What a manager says of itself, proven by its certificate, is used at once. What others say of managers is a hint: it
counts when the manager itself, asked there, confirms it. So no node can lead others astray, only a manager could.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Callable

from shoal.agent.agent import Agent
from shoal.agent.remotes import Remote
from shoal.ca.identity import Identity
from shoal.kit.backoff import backoff
from shoal.kit.clock import nanoseconds
from shoal.kit.tasks import Group
from shoal.node.addresses import host_of
from shoal.node.beacon import Beacon
from shoal.node.discovery import ask, tell
from shoal.node.discovery_limits import Nonces
from shoal.node.discovery_messages import MOST, Message, Refused, is_address, is_fresh, sealed, unsealed
from shoal.node.local import Local

logger = logging.getLogger(__name__)

GRACE = 0.7
"""Seconds without a session after which a node counts as lost; as a rule a little more or less, by chance."""
SHORTEST, LONGEST = 0.7, 15.0
"""Bounds of the wait between two rounds of asking, seconds."""
LOOK = 0.1
"""Seconds between two looks at whether the node is lost."""
ASKED = 5
"""Nodes asked in one round, besides the managers."""
AT_ONCE = 4
"""Hints that are looked into at a time."""
LARGER = 3
"""An answer is at most so many times as large as its question: nobody can be flooded in another's name."""


class Seeker:
    """One per membership. `peers` gives the nodes that were last heard of, by id; `is_lost` tells whether this node
    misses a leader, or as a manager its store."""

    def __init__(
        self, local: Local, agent: Agent, peers: Callable[[], dict[str, str]], is_lost: Callable[[], bool]
    ) -> None:
        self._local = local
        self._is_lost = is_lost
        self._agent = agent
        self._peers = peers
        self._beacon = Beacon(local.addresses.listen, local.options.discovery_port, self._heard)
        self._questions: deque[bytes] = deque(maxlen=8)
        self._nonces = Nonces()
        self._hints: asyncio.Queue[Remote] = asyncio.Queue(32)

    async def run(self) -> None:
        """Listen always, look for managers while there is none; until cancelled."""
        async with Group() as group:
            group.create_task(self._beacon.run())
            group.create_task(self._seek())
            for _ in range(AT_ONCE):
                group.create_task(self._look_into_hints())

    def learn(self, node_id: str, addr: str, by_itself: bool = True) -> None:
        """That manager is at that `host:port` now, as it says itself or the leader does. The agent goes there, if it
        has nobody."""
        if node_id == self._local.node_id or not is_address(addr):
            return
        remotes = self._local.remotes
        if remotes.claim(node_id, addr) if by_itself else remotes.hear(node_id, addr):
            logger.info("manager %s is at %s now", node_id, addr)
            if not self._agent.connected.is_set() or self._agent.remote.node_id == node_id:
                self._agent.renew_session()
        if not self._agent.connected.is_set():
            self._agent.hurry()

    def call(self, *, asks: bool) -> None:
        """Say something to everyone on this machine's subnets: a question, or only that this manager is here."""
        message = self._message(asks=asks)
        if asks:
            self._questions.append(message.nonce)
        self._beacon.broadcast(sealed(message, self._local.pair), self._local.options.interfaces())

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _seek(self) -> None:
        rng = self._local.rng
        while True:
            if not self._is_lost():
                await asyncio.sleep(LOOK)
            elif not await self._is_found(rng.uniform(0.5, 1.5) * GRACE):
                for wait in backoff(SHORTEST, LONGEST):
                    self.call(asks=True)
                    await self._ask_around()
                    if await self._is_found(rng.uniform(0.7, 1.3) * wait):
                        break

    async def _is_found(self, timeout: float) -> bool:
        """Wait until there is nothing to look for any more, or for `timeout` seconds."""
        for _ in range(max(1, round(timeout / LOOK))):
            await asyncio.sleep(LOOK)
            if not self._is_lost():
                return True
        return False

    async def _ask_around(self) -> None:
        """Ask the managers, where they were, and some other nodes; a manager tells the others where it is."""
        local = self._local
        known = {one.node_id: host_of(one.addr) for one in local.remotes.all}
        others = [(id, host) for id, host in self._peers().items() if id not in known]
        local.rng.shuffle(others)
        managers = [(id, host) for id, host in known.items() if id and id != local.node_id]
        targets = managers + [one for one in others[:ASKED] if one[0] != local.node_id]
        if local.identity.is_manager:
            own = [Remote(node_id=local.node_id, addr=local.manager_addr)]
            await asyncio.gather(*(tell(local, id, host, own) for id, host in managers))
        for (id, _), answer in zip(targets, await self._ask(targets), strict=True):
            for one in answer:
                if one.node_id == id:
                    self.learn(id, one.addr)
                else:
                    self._hint(one)

    async def _ask(self, targets: list[tuple[str, str]]) -> list[list[Remote]]:
        return list(await asyncio.gather(*(ask(self._local, id, host) for id, host in targets)))

    def _hint(self, hint: Remote) -> None:
        if hint not in self._local.remotes.all and hint.node_id != self._local.node_id and is_address(hint.addr):
            with contextlib.suppress(asyncio.QueueFull):
                self._hints.put_nowait(hint)

    async def _look_into_hints(self) -> None:
        while True:
            hint = await self._hints.get()
            if any((one.node_id, one.addr) == (hint.node_id, hint.addr) for one in self._local.remotes.all):
                continue
            for one in await ask(self._local, hint.node_id, host_of(hint.addr)):
                if one.node_id == hint.node_id:
                    self.learn(one.node_id, one.addr)

    # --- the beacon ---------------------------------------------------------------------------------------------------

    def _heard(self, datagram: bytes, source: tuple[str, int]) -> None:
        now = self._local.clock.now()
        root = self._local.state.certificates.load_root() or b""
        try:
            sender, message = unsealed(datagram, root, self._local.identity.cluster_id, now)
        except Refused as fault:
            logger.debug("a datagram from %s is not listened to: %s", source[0], fault)
            return
        if sender.node_id == self._local.node_id or not self._is_news(message):
            return
        self._take(sender, message)
        if message.asks and (self._local.identity.is_manager or self._agent.connected.is_set()):
            answer = sealed(self._message(answers=message.nonce), self._local.pair)
            if len(answer) <= LARGER * len(datagram):
                self._beacon.send(answer, source)

    def _is_news(self, message: Message) -> bool:
        if message.answers:
            return message.answers in self._questions
        now = self._local.clock.now()
        return is_fresh(message, now) and self._nonces.is_new(message.nonce, now.timestamp())

    def _take(self, sender: Identity, message: Message) -> None:
        if sender.is_manager and message.addr:
            self.learn(sender.node_id, message.addr)
        if message.answers and not self._agent.connected.is_set():
            for hint in message.managers:
                self._hint(hint)

    def _message(self, *, asks: bool = False, answers: bytes = b"") -> Message:
        local = self._local
        known = [Remote(node_id=one.node_id, addr=one.addr) for one in local.remotes.all if one.node_id]
        return Message(
            nonce=secrets.token_bytes(16),
            moment=nanoseconds(local.clock.now()),
            asks=asks,
            answers=answers,
            addr=local.manager_addr if local.identity.is_manager else "",
            managers=known[:MOST] if answers else [],
        )
