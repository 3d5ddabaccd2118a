"""A manager's port: every service of the node protocol, and the leader's part of them."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from shoal.kit.clock import Clock
from shoal.kit.ids import Ids
from shoal.kit.tasks import background
from shoal.manager.certificates import NodeCertificates, RootService
from shoal.manager.dispatcher.service import DispatcherService, NetworksService
from shoal.manager.logbroker import LogBroker, LogBrokerService, LogsService
from shoal.manager.membership import ManagersService, Membership
from shoal.store.base import Fence, Store
from shoal.wire.grpc import NodeServer


class NodeProtocol:
    """The node protocol of one manager.

        protocol = NodeProtocol(store, clock, ids, rng, own=lambda: (node_id, "192.168.99.101:2377"), membership=...)
        host, port = await protocol.start("0.0.0.0", 2377, server_context)
        await protocol.lead(fence)        # under the leadership's scope; until cancelled
        await protocol.close()

    Certificates are served on every manager; sessions, networks and logs only while `lead` runs, and otherwise answer
    UNAVAILABLE.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: Ids,
        rng: random.Random,
        *,
        own: Callable[[], tuple[str, str]],
        membership: Membership | None = None,
        others: Sequence[Any] = (),
    ) -> None:
        """`others` are further services to offer on the same port."""
        self.certificates = NodeCertificates(store, clock, ids)
        self.dispatcher = DispatcherService(store, clock, ids, rng, own)
        self.logs = LogBroker(store, ids)
        handlers = [
            RootService(store),
            self.certificates,
            self.dispatcher,
            NetworksService(self.dispatcher),
            LogBrokerService(store, self.logs),
            LogsService(store, self.logs),
            *others,
        ]
        self._server = NodeServer([*handlers, ManagersService(store, membership)] if membership else handlers)

    async def start(self, host: str, port: int, context: ssl.SSLContext | None) -> tuple[str, int]:
        """Listen; returns host and port."""
        return await self._server.start(host, port, context)

    async def lead(self, fence: Fence | None) -> None:
        """Be the leader until cancelled. Raises NotLeader when the fence is stale."""
        async with background(self.logs.lead()):
            await self.dispatcher.lead(fence, [self.logs.observe])

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        await self._server.close()
