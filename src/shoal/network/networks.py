"""`Networks`: everything about networks that the rest of a daemon uses, one per daemon."""

from __future__ import annotations

from contextlib import AsyncExitStack
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType

from shoal.kit.clock import Clock, SystemClock
from shoal.kit.ids import Ids, RandomIds
from shoal.model.container import EndpointSettings
from shoal.model.engine import LocalNetwork
from shoal.model.errors import PermissionDenied
from shoal.model.swarm_spec import NetworkSpec
from shoal.network.catalogue import Catalogue
from shoal.network.fabric import Fabric
from shoal.network.kernel import links, routes
from shoal.network.kernel.namespaces import Namespace
from shoal.network.kernel.netlink import Netlink
from shoal.network.local import PREDEFINED, LocalNetworks
from shoal.network.places import of_local
from shoal.network.sandbox import Sandbox, SandboxRequest
from shoal.network.sandboxes import Sandboxes
from shoal.network.shelf import Shelf
from shoal.network.threads import Threads


class Networks:
    """Networks and sandboxes of one node. Use as `async with`; on entry everything is found again or put right.

    `state_dir` survives a reboot, `run_dir` need not. `netns` is the path of the node's namespace, the daemon's own by
    default. On exit, what serves containers goes on serving; without any, nothing is left behind.
    """

    def __init__(
        self,
        state_dir: str | Path,
        run_dir: str | Path,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        netns: str | Path | None = None,
    ) -> None:
        self._state_dir = Path(state_dir)
        self._run_dir = Path(run_dir)
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._netns = netns
        self._scope = AsyncExitStack()

    async def __aenter__(self) -> Networks:
        async with AsyncExitStack() as scope:
            self._threads = Threads()
            scope.callback(self._threads.close)
            self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            namespace = Namespace.at(self._netns) if self._netns else Namespace.own()
            scope.callback(namespace.close)
            self._local = LocalNetworks(
                self._state_dir / "local.json", self._clock, self._ids, lambda: _subnets_in_use(namespace)
            )
            self._local.load(lambda: _is_free(namespace, "docker0"))
            self._fabric = Fabric(namespace, f"shoal_{self._local.find('bridge').id[:8]}", self._threads)
            scope.callback(self._fabric.close)
            self._catalogue = Catalogue(self._local, self._fabric, self._threads)
            self._sandboxes = Sandboxes(Shelf(self._run_dir), self._catalogue, self._threads, self._ids)
            await self._sandboxes.restore()
            self._scope = scope.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._scope:
            if not list(self._sandboxes.every()):
                await self._fabric.clear()

    def list(self) -> list[LocalNetwork]:
        """The networks of this engine: bridge, host, none and the users' own bridges."""
        return self._local.every()

    def find(self, wanted: str) -> LocalNetwork:
        """A network by name, id or the beginning of an id. NotFound: `network x not found`."""
        return self._local.find(wanted)

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

    def attached(self, network_id: str) -> dict[str, EndpointSettings]:
        """Who is on a network here: container id -> its endpoint, for `network inspect`."""
        return self._sandboxes.attached(network_id)


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
