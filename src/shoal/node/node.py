"""The node: one object per daemon. It is in no swarm, or has one `Life`; this file is how lives begin and end."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from shoal.agent.remotes import Remote
from shoal.engine.engine import Engine
from shoal.kit.backoff import backoff
from shoal.kit.clock import Clock
from shoal.kit.ids import Ids
from shoal.kit.tasks import background
from shoal.model import errors
from shoal.model.errors import InvalidArgument, ShoalError, Unavailable
from shoal.model.objects import Node as NodeObject
from shoal.model.objects import TLSInfo
from shoal.model.service_logs import LogRequest, LogSelector, ServiceLogLine
from shoal.network.networks import Networks
from shoal.node.addresses import Addresses, address_towards, join_host, remote, resolve
from shoal.node.info import ACTIVE, ERROR, INACTIVE, PENDING, TWO_MANAGERS, RemoteManager, SwarmInfo
from shoal.node.local import Local, NodeOptions
from shoal.node.requests import DEFAULT_LISTEN, InitRequest, JoinRequest
from shoal.node.state import DockerState, StateDirectory, addresses_in, docker_state

if TYPE_CHECKING:
    from shoal.agent.networks import LocalNetworks
    from shoal.manager.control import Control
    from shoal.node.life import Life

# What only a machine in a swarm needs is imported where it is used: it is a third of all there is to load, and a daemon
# outside a swarm starts without it.

logger = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds that init and join may take before they answer; a join goes on after that."""


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
        self._stack = AsyncExitStack()
        self._group: asyncio.TaskGroup | None = None
        self._life: Life | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._joining = False
        self._busy = asyncio.Lock()

    async def __aenter__(self) -> Node:
        self._state.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._group = await self._stack.enter_async_context(background())
        state = self._state.load()
        if state is None:
            self._state.wipe()  # what an init left that did not come to its end
        elif state.join_in_progress:
            self._spawn(self._resume_join(state))
        else:
            self._begin(addresses_in(state))
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._stack.__aexit__(*failure)  # type: ignore[arg-type]

    # --- what the API asks --------------------------------------------------------------------------------------------

    async def init(self, request: InitRequest) -> str:
        """Begin a swarm; returns this node's id. Raises what docker raises."""
        from shoal.node.founding import found

        async with self._busy:
            if self._life is not None and request.force_new_cluster:
                return await self._force_new_cluster()
            self._check_free()
            addresses = self._resolve(request.listen_addr, request.advertise_addr, request.data_path_addr)
            founding = await asyncio.to_thread(
                found, request, join_host(addresses.advertise, addresses.advertise_port), self._clock.now(), self._ids
            )
            self._state.certificates.save_root(founding.cluster.root_ca.certificate)
            self._state.certificates.save(founding.pair)
            life = self._begin(addresses, founding=founding)
            try:
                async with asyncio.timeout(PATIENCE):
                    await life.started()
            except BaseException as fault:
                await self._end()
                self._state.wipe()
                if isinstance(fault, TimeoutError):
                    raise Unavailable("the swarm's first manager did not start in time") from fault
                raise
            self._state.save(docker_state(addresses))
            return life.local.node_id

    async def join(self, request: JoinRequest) -> None:
        """Join a swarm, in the role that the token grants. Raises what docker raises."""
        from shoal.ca.tokens import parse_token
        from shoal.node.founding import availability

        async with self._busy:
            self._check_free()
            addrs = [remote(addr) for addr in request.remote_addrs]
            if not addrs:
                raise InvalidArgument("at least 1 remote address is needed to join")
            parse_token(request.join_token)
            state = replace(
                docker_state(self._resolve_towards(request, addrs[0])),
                remote_addr=",".join(addrs),
                join_in_progress=True,
                join_token=request.join_token,
                availability=availability(request.availability),
            )
            self._state.save(state)
            outcome = self._spawn(self._join(state))
            done, _ = await asyncio.wait([outcome], timeout=PATIENCE)
            if not done:
                raise Unavailable(errors.JOIN_TIMEOUT)
            if outcome.exception() is not None:
                await self._end()
                self._state.wipe()
            outcome.result()

    async def leave(self, force: bool = False) -> None:
        """Leave the swarm: what it runs here is removed, and everything this node knew of it."""
        from shoal.node import departure

        async with self._busy:
            if self._life is None and not self._joining:
                raise Unavailable(errors.NOT_PART_OF_SWARM)
            life = self._life
            if life is not None and not force:
                departure.check(life)
            if life is not None:
                await departure.say_goodbye(life)
            await self._end()
            if life is not None:
                await life.leave()
            if isinstance(self._networks, Networks):
                await self._networks.leave_swarm()
            self._state.wipe()

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
        life = self._life
        if life is None:
            return SwarmInfo(local_node_state=PENDING if self._joining else INACTIVE)
        local, side = life.local, life.manager
        nodes = side.store.view.all(NodeObject) if side is not None else []
        managers = [node for node in nodes if node.spec.role == "manager"]
        shown = life.error if not life.active or "removed" in life.error or "expired" in life.error else ""
        return SwarmInfo(
            node_id=local.node_id,
            node_addr=local.addresses.advertise,
            local_node_state=ERROR if shown else ACTIVE if life.active else PENDING,
            control_available=side is not None,
            error=shown,
            remote_managers=[
                RemoteManager(node_id=one.node_id, addr=one.addr) for one in local.remotes.all if one.node_id
            ],
            nodes=len(nodes),
            managers=len(managers),
            cluster=side.store.view.cluster if side is not None else None,
            warnings=[TWO_MANAGERS] if len(managers) == 2 else [],
        )

    # --- beginning and ending -----------------------------------------------------------------------------------------

    def _check_free(self) -> None:
        if self._life is not None or self._joining or self._state.load() is not None:
            raise Unavailable(errors.ALREADY_IN_SWARM)

    def _resolve(self, listen: str, advertise: str, data_path: str) -> Addresses:
        return resolve(listen or DEFAULT_LISTEN, advertise, data_path, self._options.interfaces())

    def _resolve_towards(self, request: JoinRequest, addr: str) -> Addresses:
        """A joining node that names no address advertises the one from which it reaches the manager."""
        advertise = request.advertise_addr
        if not advertise and (request.listen_addr or DEFAULT_LISTEN).startswith(("0.0.0.0", "[::]")):
            advertise = address_towards(addr)
        return self._resolve(request.listen_addr, advertise, request.data_path_addr)

    def _begin(self, addresses: Addresses, **how: Any) -> Life:
        local = Local(self._state, addresses, clock=self._clock, ids=self._ids, rng=self._rng, options=self._options)
        if local.identity.is_manager:
            local.manager_moved(*local.own)
        from shoal.node.life import Life

        self._life = Life(local, self._executor(local), self._networks, **how)
        self._spawn(self._live(self._life))
        return self._life

    def _executor(self, local: Local) -> Any:
        if self._options.executor is not None:
            return self._options.executor()
        from shoal.agent.containers import EngineExecutor
        from shoal.ca.root import tls_info

        assert self._engine is not None
        networks = cast("Networks", self._networks)

        def trust() -> TLSInfo:
            return tls_info(local.state.certificates.load_root() or b"")

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

        self._joining = True
        try:
            addrs = state.remote_addr.split(",")
            if self._state.certificates.load() is None:
                bundle = await fetch_root(addrs, state.join_token)
                _, pair = await request_certificate(addrs, bundle, state.join_token, state.availability)
                self._state.certificates.save_root(bundle)
                self._state.certificates.save(pair)
                self._state.save_managers([Remote(addr=addr) for addr in addrs])
            life = self._begin(addresses_in(state))
            await life.started()
            self._state.save(replace(state, join_in_progress=False, join_token="", remote_addr=addrs[0]))
        finally:
            self._joining = False

    async def _resume_join(self, state: DockerState) -> None:
        for wait in backoff(0.5, 30.0):
            try:
                await self._join(state)
                return
            except ShoalError as fault:
                logger.warning("the join that was interrupted did not succeed yet: %s", fault)
                await self._end(but_this=True)
                await asyncio.sleep(wait)

    async def _force_new_cluster(self) -> str:
        """Make this manager the only one, with all data kept."""
        life = self._life
        assert life is not None
        if not life.local.identity.is_manager:
            raise Unavailable(errors.NOT_A_MANAGER)
        addresses = life.local.addresses
        await self._end()
        life = self._begin(addresses, force_new_cluster=True)
        async with asyncio.timeout(PATIENCE):
            await life.started()
        return life.local.node_id

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Run beside everything else; the future gets the outcome, and nobody needs to look at it."""
        assert self._group is not None
        outcome = asyncio.get_running_loop().create_future()
        self._tasks.append(self._group.create_task(_settled(coroutine, outcome)))
        return outcome

    async def _end(self, *, but_this: bool = False) -> None:
        """Cancel everything that runs here (with `but_this`, not the caller) and wait for it."""
        own = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not own or not but_this]
        self._tasks = [task for task in self._tasks if task not in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._life = None


async def _settled(coroutine: Coroutine[Any, Any, Any], outcome: asyncio.Future[Any]) -> None:
    try:
        outcome.set_result(await coroutine)
    except Exception as fault:
        outcome.set_exception(fault)
        outcome.exception()
    finally:
        outcome.cancel()
