"""The agent of one node: finds the leader, keeps a session with it, and runs what it is assigned.

Containers do not depend on any of this: they go on while managers are away, while the daemon restarts, and when the
agent is cancelled. Only `leave` removes them.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from shoal import __version__
from shoal.agent.disk import TaskFiles
from shoal.agent.executor import Executor
from shoal.agent.logs import LogPublisher
from shoal.agent.networks import LocalNetworks, NetworkListener
from shoal.agent.remotes import Remote, Remotes
from shoal.agent.reports import Reporter
from shoal.agent.session import News, Redescribe, Session
from shoal.agent.worker import OutOfStep, Worker
from shoal.kit.clock import Clock
from shoal.kit.tasks import Bell, Group
from shoal.model.errors import ShoalError
from shoal.wire.grpc import TRANSPORT_ERRORS, channel, from_grpc

SHORTEST, LONGEST = 0.1, 8.0
"""Bounds of the wait between two sessions, seconds."""


class Agent:
    """Use as a context, then `run` it:

        async with Agent(executor, remotes, node_id=..., directory=state / "worker", context=tls, ...) as agent:
            await agent.run()

    `listen` gets every session message (`News`): the node's own record (role, certificate state), the managers, the
    root. `troubled` gets each failure to hold a session; `PermissionDenied` with "was removed from swarm" is final.
    `context` may be reloaded in place when the certificate is renewed; `renew_session` then takes it into use.
    """

    def __init__(
        self,
        executor: Executor,
        remotes: Remotes,
        *,
        node_id: str,
        directory: Path,
        context: ssl.SSLContext | None,
        clock: Clock,
        rng: random.Random,
        networks: LocalNetworks | None = None,
        listen: Callable[[News], None] = lambda _: None,
        troubled: Callable[[ShoalError], None] = lambda _: None,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.remotes = remotes
        self.remote = Remote()
        """The manager that it has a session with, or tries to have one with."""
        self._executor = executor
        self._context = context
        self._rng = rng
        self._listen = listen
        self._troubled = troubled
        self._log = log
        self._reporter = Reporter()
        self.worker = Worker(executor, TaskFiles(directory / "tasks"), self._reporter, clock)
        self.networks = NetworkListener(networks, node_id, log) if networks is not None else None
        self._publisher = LogPublisher(executor, lambda: self.worker.tasks)
        self.worker.on_tasks = self._publisher.tasks_changed
        self._session_id = ""
        self._connected = asyncio.Event()
        self._waits = self._backoff()
        self._renew = asyncio.Event()
        self._hurry = Bell()

    async def __aenter__(self) -> Agent:
        await self.worker.__aenter__()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.worker.__aexit__(*failure)  # type: ignore[arg-type]

    @property
    def connected(self) -> asyncio.Event:
        """Set while there is a session with the leader."""
        return self._connected

    def renew_session(self) -> None:
        """Begin a new session soon: the certificate or the managers' addresses have changed."""
        self._renew.set()

    def hurry(self) -> None:
        """A manager may be there again: do not wait for the next try."""
        self._waits = self._backoff()
        self._hurry.ring()

    async def run(self) -> None:
        """Hold a session, one after another, until cancelled."""
        while True:
            try:
                await self._hold()
            except Redescribe:
                continue
            except ShoalError as fault:
                self._troubled(fault)
            await self._hurry.wait(next(self._waits))

    async def leave(self) -> None:
        """The node leaves its swarm: remove all tasks and their containers. Cancel `run` first."""
        await self.worker.remove_everything()

    async def _hold(self) -> None:
        """One session. Raises Redescribe, or what went wrong as a ShoalError."""
        self.remote = remote = self.remotes.pick(self._rng)
        self._renew.clear()
        session: Session | None = None
        try:
            async with channel(remote.addr, self._context) as to_leader:
                session = Session(
                    to_leader,
                    self.worker,
                    self._reporter,
                    describe=self._executor.describe,
                    listen=self._hear,
                    networks=self.networks,
                    logs=self._publisher,
                )

                def established() -> None:
                    self._session_id = session.id
                    self.remotes.worked(remote)
                    self._waits = self._backoff()
                    self._connected.set()

                async with Group() as group:
                    group.create_task(self._stop_for_renewal())
                    group.create_task(session.run(self._session_id, __version__, established))
        except BaseExceptionGroup as failures:
            fault = _first(failures)
            if isinstance(fault, Redescribe):
                raise fault from None
            silent = session is None or not session.reached or isinstance(fault, TimeoutError)
            self.remotes.failed(remote, silent=silent)
            if isinstance(fault, OutOfStep):
                self._session_id = ""
            raise _as_shoal(fault) from fault
        finally:
            self._connected.clear()

    async def _stop_for_renewal(self) -> None:
        await self._renew.wait()
        raise Redescribe

    def _hear(self, news: News) -> None:
        self.remotes.replace(news.managers)
        self._listen(news)

    def _backoff(self) -> Iterator[float]:
        bound = SHORTEST
        while True:
            yield self._rng.uniform(0, bound)
            bound = min(LONGEST, bound * 2 + 0.1)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that brought the group down; a bug among them comes first, and a cancellation is passed on."""
    leaves: list[BaseException] = []
    queue: list[BaseException] = [failures]
    while queue:
        fault = queue.pop(0)
        if isinstance(fault, BaseExceptionGroup):
            queue = [*fault.exceptions, *queue]
        else:
            leaves.append(fault)
    expected = (*TRANSPORT_ERRORS, ShoalError, Redescribe, OutOfStep)
    unexpected = [fault for fault in leaves if not isinstance(fault, expected)]
    if unexpected:
        raise unexpected[0]
    return next((fault for fault in leaves if isinstance(fault, Redescribe)), leaves[0])


def _as_shoal(fault: BaseException) -> ShoalError:
    if isinstance(fault, ShoalError):
        return fault
    if isinstance(fault, OutOfStep):
        return ShoalError("assignments were lost on the way")
    return from_grpc(fault)
