"""`Networks`: everything about networks that the rest of a daemon uses, one per daemon."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from ipaddress import IPv4Network
from pathlib import Path
from random import Random
from types import TracebackType

from shoal.kit.clock import Clock, SystemClock
from shoal.kit.ids import Ids, RandomIds
from shoal.kit.tasks import background
from shoal.model.container import EndpointSettings
from shoal.model.engine import LocalNetwork
from shoal.model.errors import NotFound, PermissionDenied, ShoalError
from shoal.model.netstate import NetworkSnapshot, NetworkUpdate
from shoal.model.objects import Network
from shoal.model.swarm_spec import NetworkSpec
from shoal.network.catalogue import Catalogue
from shoal.network.fabric import Fabric
from shoal.network.files import values
from shoal.network.kernel import links, routes
from shoal.network.kernel.namespaces import Namespace
from shoal.network.kernel.netlink import Netlink
from shoal.network.local import GATEWAY, PREDEFINED, LocalNetworks
from shoal.network.overlays import Overlays
from shoal.network.places import of_local
from shoal.network.resolver import Resolver
from shoal.network.sandbox import Sandbox, SandboxRequest
from shoal.network.sandboxes import Sandboxes
from shoal.network.services import Services, is_address
from shoal.network.shelf import Shelf
from shoal.network.swarm import Swarm
from shoal.network.threads import Threads

log = logging.getLogger(__name__)

CARE = 5.0
"""Seconds between looks at whether all is still there."""


class Networks:
    """Networks and sandboxes of one node. Use as `async with`; on entry everything is found again or put right.

    `state_dir` survives a reboot, `run_dir` need not. `netns` is the path of the node's namespace, the daemon's own by
    default; `etc` is where the host's resolv.conf and hosts are. On exit, what serves containers goes on serving;
    without any, nothing is left behind.
    """

    def __init__(
        self,
        state_dir: str | Path,
        run_dir: str | Path,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        netns: str | Path | None = None,
        etc: str | Path = "/etc",
        rng: Random | None = None,
    ) -> None:
        self._state_dir = Path(state_dir)
        self._run_dir = Path(run_dir)
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._netns = netns
        self._etc = Path(etc)
        self._rng = rng or Random()
        self._scope = AsyncExitStack()

    async def __aenter__(self) -> Networks:
        async with AsyncExitStack() as scope:
            self._threads = Threads()
            scope.callback(self._threads.close)
            self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            namespace = Namespace.at(self._netns) if self._netns else Namespace.own()
            scope.callback(namespace.close)
            self._local = LocalNetworks(
                self._state_dir / "local.json",
                self._clock,
                self._ids,
                subnets_in_use=lambda: _subnets_in_use(namespace),
                is_free=lambda device: _is_free(namespace, device),
            )
            self._local.load()
            self._fabric = Fabric(namespace, f"shoal_{self._local.find('bridge').id[:8]}", self._threads)
            scope.callback(self._fabric.close)
            group = await scope.enter_async_context(background())
            resolver = Resolver(namespace, group, self._host_servers, self._rng)
            scope.callback(resolver.close)
            overlays = Overlays(self._fabric.node, self._run_dir / "netns" / "overlay")
            scope.callback(overlays.close)
            snapshots: dict[str, NetworkSnapshot] = {}
            services = Services(resolver, self._threads, snapshots)
            swarm_file = self._state_dir / "swarm.json"
            self._swarm = Swarm(
                swarm_file,
                fabric=self._fabric,
                overlays=overlays,
                services=services,
                threads=self._threads,
                snapshots=snapshots,
            )
            self._catalogue = Catalogue(
                self._local,
                self._swarm,
                fabric=self._fabric,
                overlays=overlays,
                services=services,
                threads=self._threads,
                etc=self._etc,
            )
            self._sandboxes = Sandboxes(Shelf(self._run_dir), self._catalogue, self._threads, self._ids)
            users = await self._sandboxes.load()
            await self._sandboxes.restore_bridges()
            await self._swarm.restore(users)
            await self._fabric.begin()
            # At once, so that another engine on this host sees the name and the subnet taken.
            await self._fabric.bridge(of_local(self._local.find("bridge")))
            await self._sandboxes.restore_services()
            group.create_task(self._care())
            self._scope = scope.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._scope:
            if not self._sandboxes.every() and not self._swarm.active:
                await self._fabric.clear()

    async def _care(self) -> None:
        """What somebody else took away comes back, and what could not be done is tried again."""
        while True:
            await asyncio.sleep(CARE)
            try:
                await self._fabric.mend()
                await self._swarm.mend()
            except (OSError, ShoalError) as fault:
                log.warning("networks cannot be mended yet: %s", fault)

    def of_swarm(self) -> list[LocalNetwork]:
        """The swarm's networks that reach this node: what a worker can show of them."""
        return [_as_local(network) for network in self._swarm.every()]

    def list(self) -> list[LocalNetwork]:
        """The networks of this engine: bridge, host, none and the users' own bridges."""
        return self._local.every()

    def find(self, wanted: str) -> LocalNetwork:
        """A network by name, id or the beginning of an id, local or of the swarm. NotFound: `network x not found`."""
        try:
            return self._local.find(wanted)
        except NotFound:
            return _as_local(self._swarm.network(wanted))

    async def create(self, spec: NetworkSpec) -> LocalNetwork:
        """A bridge of the user's, at once. Refusals have docker's status and words."""
        network = self._local.create(spec)
        try:
            await self._fabric.bridge(of_local(network))
        except BaseException:
            self._local.remove(network)
            raise
        return network

    async def remove(self, wanted: str) -> None:
        """Remove a bridge of the user's. PermissionDenied while containers use it, or when it is predefined."""
        network = self._local.find(wanted)
        if network.name in PREDEFINED:
            raise PermissionDenied(f"{network.name} is a pre-defined network and cannot be removed")
        if attached := self.attached(network.id):
            users = ", ".join(
                f'name:"{item.dns_names[0] if item.dns_names else key[:12]}" id:"{key[:12]}"'
                for key, item in attached.items()
            )
            raise PermissionDenied(
                f"error while removing network: network {network.name} has active endpoints ({users})"
            )
        self._local.remove(network)
        await self._fabric.no_bridge(of_local(network))

    async def open(self, request: SandboxRequest) -> Sandbox:
        """A container's namespace with its links, addresses, routes, names and published ports.

        The one that the container has already, if it has one. A failure leaves nothing behind.
        """
        return await self._sandboxes.open(request)

    async def close(self, container_id: str) -> None:
        """Remove a container's sandbox. Idempotent."""
        await self._sandboxes.close(container_id)

    async def connect(self, container_id: str, network: str, endpoint: EndpointSettings) -> EndpointSettings:
        """Put a running container on one more network and return what it got there."""
        return await self._sandboxes.connect(container_id, self._catalogue.find(network), endpoint)

    async def disconnect(self, container_id: str, network: str) -> None:
        """Take a running container off a network."""
        await self._sandboxes.disconnect(container_id, self._catalogue.find(network))

    async def apply(self, update: NetworkUpdate, node_id: str) -> None:
        """Bring the swarm's networks on this node to what a manager says: overlays, VIPs, mesh and names.

        Kept on disk, and served from there while no manager is heard. Idempotent.
        """
        await self._swarm.apply(update, node_id)

    def peers(self) -> dict[str, str]:
        """The nodes of the swarm by id, and the address of each, as last heard; also after a restart."""
        return self._swarm.peers()

    async def leave_swarm(self) -> None:
        """Remove everything that `apply` made, and docker_gwbridge when no container is on it. Idempotent."""
        await self._swarm.leave()
        for network in self._local.every():
            if network.name == GATEWAY and not self.attached(network.id):
                await self.remove(network.id)

    def attached(self, network_id: str) -> dict[str, EndpointSettings]:
        """Who is on a network here: container id -> its endpoint, for `network inspect`."""
        return self._sandboxes.attached(network_id)

    def _host_servers(self) -> Sequence[str]:
        servers = values(self._catalogue.host_file("resolv.conf"), "nameserver")
        return [server for server in servers if is_address(server)]


def _as_local(network: Network) -> LocalNetwork:
    spec = network.spec
    return LocalNetwork(
        id=network.id,
        name=spec.name,
        created=network.created_at,
        driver=network.driver or "overlay",
        scope="swarm",
        enable_ipv6=spec.enable_ipv6,
        ipam=network.ipam,
        internal=spec.internal,
        attachable=spec.attachable,
        ingress=spec.ingress,
        options=spec.options,
        labels=spec.labels,
    )


def _subnets_in_use(namespace: Namespace) -> list[IPv4Network]:
    with namespace.entered():
        netlink = Netlink()
    try:
        return list(routes.networks_in_use(netlink))
    finally:
        netlink.close()


def _is_free(namespace: Namespace, device: str) -> bool:
    with namespace.entered():
        netlink = Netlink()
    try:
        return links.find(netlink, device) is None
    finally:
        netlink.close()
