"""The node: one object per daemon. It is in no swarm, or has one `Life`; this file is how lives begin and end."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from shoal.agent.remotes import Remote
from shoal.engine.engine import Engine
from shoal.kit.backoff import backoff
from shoal.kit.clock import Clock
from shoal.kit.ids import Ids
from shoal.model import errors
from shoal.model.errors import InvalidArgument, ShoalError, Unavailable
from shoal.model.objects import TLSInfo
from shoal.model.service_logs import LogRequest, LogSelector, ServiceLogLine
from shoal.network.networks import Networks
from shoal.node.addresses import Addresses, join_host, remote
from shoal.node.info import PENDING, SwarmInfo, damaged_info, info_of, joining_info, refused_info
from shoal.node.local import Local, NodeOptions
from shoal.node.requests import InitRequest, JoinRequest, own_addresses
from shoal.node.running import Running
from shoal.node.state import DockerState, StateDirectory, addresses_in, docker_state

if TYPE_CHECKING:
    from shoal.agent.executor import Executor
    from shoal.agent.networks import LocalNetworks
    from shoal.manager.control import Control
    from shoal.node.life import Life

# What only a machine in a swarm needs is imported where it is used: it is a third of all there is to load, and a daemon
# outside a swarm starts without it.

logger = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds that a join, or a new cluster from this manager's data, may take before it is answered; it goes on then."""
FOUNDING = 90.0
"""Seconds that the first manager of a swarm has to start, else nothing is left of it: many times what a small machine
needs."""
FORCE_TIMEOUT = (
    'Timeout was reached before the new cluster was ready. It goes on in the background: use the "docker info" command '
    "to see the current swarm status of your node."
)


class Node:
    """See docs/design.md. Use as an async context: entering takes up a swarm that this machine was in."""

    def __init__(  # noqa: PLR0917 - the daemon's parts, in the order of docs/design.md
        self,
        state_dir: Path,
        engine: Engine | None,
        networks: Networks | LocalNetworks | None,
        clock: Clock,
        ids: Ids,
        options: NodeOptions | None = None,
    ) -> None:
        self._state = StateDirectory(state_dir)
        self._engine = engine
        self._networks = networks
        self._clock = clock
        self._ids = ids
        self._options = options or NodeOptions()
        self._rng = random.SystemRandom()
        self._running = Running()
        self._life: Life | None = None
        self._apart = SwarmInfo()
        """What there is to say while there is no life."""
        self._busy = asyncio.Lock()

    async def __aenter__(self) -> Node:
        self._state.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._running.__aenter__()
        if self._state.leaving:
            logger.warning("this node was ended while it left its swarm, and leaves it now")
            await self._clear()
        elif not self._state.present:
            self._state.wipe()  # what an init left that did not come to its end
        else:
            self._take_up()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._running.__aexit__(*failure)

    def _take_up(self) -> None:
        """Go on in the swarm that this machine is in. A node that cannot does not keep the daemon from the rest."""
        try:
            state = self._state.load()
            assert state is not None
            if state.join_in_progress:
                self._apart = joining_info()
                self._running.start(self._pursue(state))
            else:
                self._begin(addresses_in(state))
        except (ShoalError, ValueError, OSError) as fault:
            logger.exception("this node's part in its swarm cannot be taken up")
            self._apart = damaged_info(fault, self._state.path)

    # --- what the API asks --------------------------------------------------------------------------------------------

    async def init(self, request: InitRequest) -> str:
        """Begin a swarm; returns this node's id. Raises what docker raises."""
        return await self._running.undisturbed(self._init(request))

    async def join(self, request: JoinRequest) -> None:
        """Join a swarm, in the role that the token grants. Raises what docker raises."""
        await self._running.undisturbed(self._enter(request))

    async def leave(self, force: bool = False) -> None:
        """Leave the swarm: what it runs here is removed, and everything this node knew of it."""
        await self._running.undisturbed(self._leave(force))

    @property
    def control(self) -> Control:
        """The control commands. Raises Unavailable, in docker's words, when this is no manager (or not yet)."""
        life = self._life
        if life is None:
            raise Unavailable(errors.NOT_IN_SWARM)
        if life.manager is None:
            raise Unavailable(errors.MANAGER_NOT_READY if life.local.identity.is_manager else errors.NOT_A_MANAGER)
        return life.manager.control

    async def service_logs(self, selector: LogSelector, request: LogRequest) -> AsyncIterator[ServiceLogLine]:
        """The lines of services' tasks, as they come. Raises Unavailable when this is no manager."""
        self.control  # noqa: B018 - for its errors
        assert self._life is not None and self._life.manager is not None
        from shoal.node import logs

        return logs.lines(self._life.manager, selector, request)

    def swarm_info(self) -> SwarmInfo:
        """This node's part in a swarm."""
        return info_of(self._life) if self._life is not None else self._apart

    # --- beginning and ending -----------------------------------------------------------------------------------------

    def _check_free(self) -> None:
        if self._life is not None or self._state.present:
            raise Unavailable(errors.ALREADY_IN_SWARM)

    async def _init(self, request: InitRequest) -> str:
        from shoal.node.founding import found

        async with self._busy:
            if self._life is not None and request.force_new_cluster:
                return await self._force_new_cluster(self._life)
            self._check_free()
            addresses = own_addresses(request, self._options.interfaces())
            founding = await asyncio.to_thread(
                found, request, join_host(addresses.advertise, addresses.advertise_port), self._clock.now(), self._ids
            )
            try:
                self._state.certificates.save_root(founding.cluster.root_ca.certificate)
                self._state.certificates.save(founding.pair)
                life = self._begin(addresses, founding=founding)
                async with asyncio.timeout(FOUNDING):
                    await life.started()
                self._state.save(docker_state(addresses))
            except BaseException as fault:
                await self._forget()
                if isinstance(fault, TimeoutError):
                    raise Unavailable("the swarm's first manager did not start in time") from fault
                raise
            return life.local.node_id

    async def _enter(self, request: JoinRequest) -> None:
        from shoal.ca.tokens import parse_token
        from shoal.node.founding import availability

        async with self._busy:
            self._check_free()
            addrs = [remote(addr) for addr in request.remote_addrs]
            if not addrs:
                raise InvalidArgument("at least 1 remote address is needed to join")
            parse_token(request.join_token)
            state = replace(
                docker_state(own_addresses(request, self._options.interfaces(), addrs[0])),
                remote_addr=",".join(addrs),
                join_in_progress=True,
                join_token=request.join_token,
                availability=availability(request.availability),
            )
            self._state.save(state)
            self._apart = joining_info()
            attempt = self._running.start(self._join(state))
            await asyncio.wait([attempt], timeout=PATIENCE)
            if not attempt.done():
                self._running.start(self._pursue(state, attempt))
                raise Unavailable(errors.JOIN_TIMEOUT)
            if attempt.exception() is not None:
                await self._forget()
            attempt.result()

    async def _leave(self, force: bool) -> None:
        from shoal.node import departure

        async with self._busy:
            life = self._life
            if life is None and not self._state.present:
                raise Unavailable(errors.NOT_PART_OF_SWARM)
            if life is not None and not force and self._apart.local_node_state != PENDING:
                departure.check(life)
            self._state.mark_leaving()
            if life is not None:
                await departure.say_goodbye(life)
            await self._clear()

    def _begin(self, addresses: Addresses, **how: Any) -> Life:
        local = Local(self._state, addresses, clock=self._clock, ids=self._ids, rng=self._rng, options=self._options)
        if local.identity.is_manager:
            local.remotes.be(*local.own)
        from shoal.node.life import Life

        self._life = Life(local, self._executor(), self._networks, **how)
        self._running.start(self._live(self._life))
        return self._life

    def _executor(self) -> Executor:
        if self._options.executor is not None:
            return self._options.executor()
        from shoal.agent.containers import EngineExecutor
        from shoal.ca.root import tls_info

        assert self._engine is not None
        networks = cast("Networks", self._networks)

        def trust() -> TLSInfo:
            return tls_info(self._state.certificates.load_root() or b"")

        return EngineExecutor(self._engine, networks.find, tls=trust)

    async def _live(self, life: Life) -> None:
        for wait in backoff(0.1, 30.0):
            try:
                await life.run()
            except (Exception, BaseExceptionGroup):
                logger.exception("the swarm part of this daemon failed and is started again")
            await asyncio.sleep(wait)

    async def _join(self, state: DockerState) -> None:
        """Get a certificate, unless an earlier try got one, and live."""
        from shoal.node.joining import fetch_root, request_certificate

        addrs = state.remote_addr.split(",")
        if self._state.certificates.load() is None:
            bundle = await fetch_root(addrs, state.join_token)
            _, pair = await request_certificate(addrs, bundle, state.join_token, state.availability)
            self._state.certificates.save_root(bundle)
            self._state.save_managers([Remote(addr=addr) for addr in addrs])
            self._state.certificates.save(pair)  # the last: with it a join that is taken up again asks for nothing
        life = self._begin(addresses_in(state))
        await life.started()
        self._state.save(replace(state, join_in_progress=False, join_token="", remote_addr=addrs[0]))
        self._apart = SwarmInfo()

    async def _pursue(self, state: DockerState, attempt: Awaitable[None] | None = None) -> None:
        """Join, beginning with an attempt that is under way, until it succeeds or the token is refused."""
        from shoal.node.joining import REFUSALS

        for wait in backoff(0.5, 30.0):
            try:
                await (attempt or self._join(state))
                return
            except Exception as fault:
                logger.warning("the join did not succeed: %s", fault, exc_info=not isinstance(fault, ShoalError))
                if isinstance(fault, REFUSALS) and self._state.certificates.load() is None:
                    await self._forget(refused_info(fault))
                    return
                self._apart = joining_info(fault)
            attempt = None
            await self._end()
            await asyncio.sleep(wait)

    async def _force_new_cluster(self, life: Life) -> str:
        """Make this manager the only one, with all data kept."""
        if not life.local.identity.is_manager:
            raise Unavailable(errors.NOT_A_MANAGER)
        await self._end()
        life = self._begin(life.local.addresses, force_new_cluster=True)
        try:
            async with asyncio.timeout(PATIENCE):
                await life.started()
        except TimeoutError as fault:
            raise Unavailable(FORCE_TIMEOUT) from fault
        return life.local.node_id

    async def _end(self) -> None:
        """End everything that runs here, but the caller."""
        await self._running.end()
        self._life = None

    async def _forget(self, apart: SwarmInfo | None = None) -> None:
        """End everything that runs here, and be in no swarm."""
        await self._end()
        self._apart = apart or SwarmInfo()
        self._state.wipe()

    async def _clear(self) -> None:
        """Remove what the swarm ran here, and everything this node knew of it."""
        from shoal.node import departure

        life = self._life
        await self._end()
        await departure.clear(
            life.leave if life is not None else self._executor().remove_all,
            *([self._networks.leave_swarm] if isinstance(self._networks, Networks) else []),
        )
        await self._forget()
