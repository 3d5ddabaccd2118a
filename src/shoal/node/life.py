"""What runs while this machine is in a swarm: the agent always, the manager's side as long as its certificate says
manager, and the renewal of that certificate.

A change of role is nothing but a certificate that is renewed and says another role. The leader tells a node the role
that it has now; a node whose certificate says otherwise asks for a new one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from shoal.agent.agent import Agent
from shoal.agent.executor import Executor
from shoal.agent.networks import LocalNetworks
from shoal.agent.session import News
from shoal.ca.files import KeyPair
from shoal.ca.issue import new_csr
from shoal.ca.renewal import expired, renewal_moment
from shoal.kit.backoff import backoff
from shoal.kit.tasks import Bell, background
from shoal.model.errors import PermissionDenied, ShoalError
from shoal.model.objects import Node
from shoal.network.networks import Networks
from shoal.node import discovery
from shoal.node.addresses import moved
from shoal.node.founding import Founding
from shoal.node.joining import renew_certificate
from shoal.node.local import Local
from shoal.node.manager_side import ManagerSide, run_manager
from shoal.node.seeking import Seeker
from shoal.store.etcd_process import MemberRemoved

logger = logging.getLogger(__name__)

EXPIRED = "Swarm certificates have expired. To replace them, leave the swarm and join again."
ROLE_PATIENCE = 16.0
"""Seconds that a manager whose store was taken away waits to hear that it is a worker, before it asks."""


class Life:
    """One membership of a swarm. `run` it; `started` tells when the node takes part, or why it cannot."""

    def __init__(
        self,
        local: Local,
        executor: Executor,
        networks: LocalNetworks | None,
        *,
        founding: Founding | None = None,
        force_new_cluster: bool = False,
    ) -> None:
        self.local = local
        self.manager: ManagerSide | None = None
        self.error = ""
        """What keeps the node from taking part, in the user's words."""
        self.active = False
        """Whether the node has taken part since this life began."""
        self.agent = Agent(
            executor,
            local.remotes,
            node_id=local.node_id,
            directory=local.state.worker,
            context=local.client_context,
            clock=local.clock,
            rng=local.rng,
            networks=networks,
            listen=self._hear,
            troubled=self._troubled,
            log=logger.info,
        )
        peers = networks.peers if isinstance(networks, Networks) else dict
        self._seeker = Seeker(local, self.agent, peers, self._is_lost)
        self._founding = founding
        self._force_new_cluster = force_new_cluster
        self._first_try = True
        self._heard = False
        self._role = local.identity.role
        self._rotate = False
        self._leaving = False
        self._ask = Bell()
        self._renewed = Bell()
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def started(self) -> None:
        """Wait until the node takes part. Raises ShoalError when its manager's side cannot even start."""
        await asyncio.shield(self._started)

    async def run(self) -> None:
        """Live, until cancelled."""
        async with self.agent, background(self.agent.run(), self._renew(), self._follow_address(), *self._discovery()):
            waits = backoff(0.1, 30.0)
            while True:
                if not self.local.identity.is_manager:
                    self._note_start()
                    await self._renewed.wait()
                elif await self._be_manager():
                    waits = backoff(0.1, 30.0)
                else:
                    await asyncio.sleep(next(waits))

    async def leave(self) -> None:
        """Remove what the swarm runs here. Cancel `run` first."""
        await self.agent.leave()

    # --- roles --------------------------------------------------------------------------------------------------------

    async def _be_manager(self) -> bool:
        """Be a manager until the certificate says otherwise; False when that failed."""
        try:
            async with run_manager(self.local, self._founding, force_new_cluster=self._force_new_cluster) as side:
                self.manager = side
                self._founding, self._force_new_cluster = None, False
                self.local.remotes.be(*self.local.own)
                self.error = ""
                self._note_start()
                while self.local.identity.is_manager:
                    await self._renewed.wait()
        except (Exception, BaseExceptionGroup) as fault:
            self.manager = None
            if not _is_removal(fault):
                self._manager_failed(fault)
                return False
            logger.info("the other managers removed this one")
        finally:
            self.manager = None
        self.local.state.forget_store()
        if self.local.identity.is_manager and not await self._renewed.wait(ROLE_PATIENCE):
            self._rotate = True
            self._ask.ring()
            await self._renewed.wait(ROLE_PATIENCE)
        return True

    def _manager_failed(self, fault: BaseException) -> None:
        while isinstance(fault, BaseExceptionGroup):
            fault = fault.exceptions[0]
        if self._first_try and not self._started.done():
            self._started.set_exception(fault if isinstance(fault, ShoalError) else ShoalError(str(fault)))
            self._started.exception()
        self.error = str(fault)
        known = isinstance(fault, ShoalError)
        logger.warning("the manager's side of this node ended: %s", fault, exc_info=None if known else fault)

    def _note_start(self) -> None:
        self._first_try = False
        ready = self._heard and (self.manager is not None or not self.local.identity.is_manager)
        if ready:
            self.active = True
            if not self._started.done():
                self._started.set_result(None)

    # --- what the leader says -----------------------------------------------------------------------------------------

    def keep_role(self) -> None:
        """The node leaves: a manager stays one, whatever role it is told, until it has given up its vote."""
        self._leaving = True

    def _hear(self, news: News) -> None:
        self._heard = True
        if not self._leaving:
            self._role = news.node.role
        self._rotate |= news.node.certificate.state == "rotate"
        self.error = ""
        self._note_start()
        if self._rotate or self._role != self.local.identity.role:
            self._ask.ring()

    def _troubled(self, fault: ShoalError) -> None:
        logger.debug("no session with the leader: %s", fault)
        if isinstance(fault, PermissionDenied):
            self.error = str(fault)

    # --- the certificate ----------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        moment = renewal_moment(self.local.pair.certificate, self.local.rng)
        waits = backoff(0.5, 30.0, rng=self.local.rng)
        while True:
            now = self.local.clock.now()
            if now < moment and not self._rotate and self._role == self.local.identity.role:
                await self._ask.wait((moment - now).total_seconds())
                continue
            try:
                self.local.take(await self._new_certificate())
            except (ShoalError, OSError) as fault:
                if expired(self.local.pair.certificate, now):
                    self.error = EXPIRED
                logger.warning("the node's certificate could not be renewed: %s", fault)
                await self._ask.wait(next(waits))
                continue
            self._rotate = False
            self._role = self.local.identity.role
            moment = renewal_moment(self.local.pair.certificate, self.local.rng)
            waits = backoff(0.5, 30.0, rng=self.local.rng)
            self._renewed.ring()
            self.agent.renew_session()

    async def _new_certificate(self) -> KeyPair:
        """From this manager's own store if it is one, else from another manager."""
        side, node_id = self.manager, self.local.node_id
        if side is not None:
            key, csr = await asyncio.to_thread(new_csr)
            await side.protocol.certificates.renew(node_id, csr)
            node = side.store.view.get(Node, node_id)
            if node is not None and node.certificate.csr == csr:
                return KeyPair(node.certificate.pem, key)
        return await renew_certificate(self.local.other_managers(), self.local.state.certificates)

    # --- where everybody is -------------------------------------------------------------------------------------------

    def _discovery(self) -> list[Coroutine[Any, Any, None]]:
        if not self.local.options.discovery_port:
            return []
        return [discovery.serve(self.local, self._seeker.learn), self._seeker.run()]

    def _is_lost(self) -> bool:
        """No session with a leader; or a manager whose store is not up, or whose etcd has lost the others."""
        if not self.agent.connected.is_set():
            return True
        return self.local.identity.is_manager and (self.manager is None or not self.manager.store.following)

    # --- the machine's address ----------------------------------------------------------------------------------------

    async def _follow_address(self) -> None:
        while True:
            address = moved(self.local.addresses, self.local.options.interfaces())
            if address != self.local.addresses.advertise:
                self.local.move(address)
                if self.local.identity.is_manager:
                    self.local.remotes.be(*self.local.own)
                if self.manager is not None:
                    self.manager.look.ring()
                self.agent.renew_session()
            await asyncio.sleep(self.local.options.address_period)


def _is_removal(fault: BaseException) -> bool:
    if isinstance(fault, BaseExceptionGroup):
        return any(_is_removal(one) for one in fault.exceptions)
    return isinstance(fault, MemberRemoved)
