"""The swarm's networks on this node: the managers' snapshots, kept on disk, and the kernel brought to them.

A node that cannot reach a manager keeps serving from its last snapshot, also after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from shoal.kit.backoff import backoff
from shoal.kit.files import write_atomic
from shoal.model import names
from shoal.model.base import Struct, decode, encode
from shoal.model.errors import NotFound, ShoalError
from shoal.model.netstate import NetworkSnapshot, NetworkUpdate
from shoal.model.objects import Network
from shoal.network import mesh, places, segments
from shoal.network.fabric import Fabric
from shoal.network.kernel import conntrack
from shoal.network.overlays import Overlays
from shoal.network.places import Place
from shoal.network.segments import Segment
from shoal.network.services import Services
from shoal.network.threads import Threads

log = logging.getLogger(__name__)


class _State(Struct, frozen=True):
    """What is on disk."""

    node_id: str = ""
    data_path_port: int = 4789
    snapshots: list[NetworkSnapshot] = []


class Swarm:
    """Applies updates. An overlay exists here while a container is on it; ingress always."""

    def __init__(
        self,
        path: Path,
        *,
        fabric: Fabric,
        overlays: Overlays,
        services: Services,
        threads: Threads,
        snapshots: dict[str, NetworkSnapshot],
    ) -> None:
        self._path = path
        self._fabric = fabric
        self._overlays = overlays
        self._services = services
        self._threads = threads
        self._snapshots = snapshots
        self._state = _State()
        self._segments: dict[str, Segment] = {}
        self._users: dict[str, set[str]] = {}
        self._mtus: dict[str, int] = {}
        self._unfinished = False  # an update was cut short, or failed in part: the next one looks at everything
        self._failed = False
        self._pauses, self._rest = backoff(1, 60), 0  # calls of `mend` that do nothing
        self._turn = asyncio.Lock()  # one update after the other
        self._lock = asyncio.Lock()  # nobody else changes segments meanwhile
        self._arrived = asyncio.Condition()

    @property
    def active(self) -> bool:
        """Whether there is anything of a swarm here."""
        return bool(self._snapshots or self._segments)

    def peers(self) -> dict[str, str]:
        """The nodes on the ingress network, so all of the swarm, by id: where each was when last heard of."""
        ingress = (one for one in self._snapshots.values() if one.network.spec.ingress)
        return {peer.node_id: peer.underlay for snapshot in ingress for peer in snapshot.peers if peer.underlay}

    async def restore(self, users: dict[str, set[str]]) -> None:
        """Take up the last good state. `users`: which containers are on which overlay."""
        if self._path.exists():
            self._state = await self._threads.run(self._read)
        self._snapshots.update({snapshot.network.id: snapshot for snapshot in self._state.snapshots})
        self._users = users
        async with self._lock:
            for network_id in self._snapshots:
                await self._settle(network_id)
            if not any(not segment.ingress for segment in self._segments.values()):
                await self._threads.run(self._overlays.end)
            await self._mesh()
        self._unfinished = self._failed

    def _read(self) -> _State:
        """What was known last. The managers tell all of it again, so a damaged file is none."""
        try:
            return decode(self._path.read_bytes(), _State)
        except (ShoalError, OSError) as fault:
            log.error("%s cannot be read: %s", self._path, fault)
            return _State()

    async def apply(self, update: NetworkUpdate, node_id: str) -> None:
        """Bring this node to `update`. What did not change is not touched; doing it twice does no more."""
        async with self._turn:
            await self._apply(update, node_id)

    async def mend(self) -> None:
        """Try again what could not be done, or was cut short. What goes on failing is tried at ever fewer of the calls,
        at last at one of sixty."""
        if not self._unfinished:
            self._pauses, self._rest = backoff(1, 60), 0
        elif self._rest > 0:
            self._rest -= 1
        elif not self._turn.locked():
            self._rest = round(next(self._pauses))
            await self.apply(NetworkUpdate(revision=0, data_path_port=self._state.data_path_port), self._state.node_id)

    async def _apply(self, update: NetworkUpdate, node_id: str) -> None:
        async with self._lock:
            before = dict(self._snapshots)
            after = segments.merged(before, update)
            everything = self._unfinished or (node_id, update.data_path_port) != (
                self._state.node_id,
                self._state.data_path_port,
            )
            changed = {key for key in before.keys() | after.keys() if everything or before.get(key) != after.get(key)}
            self._state = _State(node_id=node_id, data_path_port=update.data_path_port, snapshots=list(after.values()))
            self._unfinished, self._failed = True, False
            if changed:
                try:
                    await self._threads.run(write_atomic, self._path, encode(self._state), durable=False)
                except OSError as fault:  # a full disk keeps nobody from being reached
                    self._failed = True
                    log.error("the swarm's networks are not on disk: %s", fault)
            self._snapshots.clear()
            self._snapshots.update(after)
            for network_id in sorted(changed):
                await self._settle(network_id)
            await self._mesh()
        async with self._arrived:
            self._arrived.notify_all()
        await self._services.follow(changed)
        await self._forget_withdrawn(before, after, changed)
        self._unfinished = self._failed

    async def leave(self) -> None:
        """Forget the swarm and remove everything that `apply` made. Idempotent."""
        async with self._lock:
            changed = set(self._snapshots)
            self._snapshots.clear()
            self._state = _State()
            self._users.clear()
            await self._fabric.mesh(None)
            for segment in self._segments.values():
                await self._threads.run(self._overlays.remove, segment)
            self._segments.clear()
            await self._threads.run(self._overlays.end)
            await self._threads.run(self._path.unlink, missing_ok=True)
            self._unfinished = False
        await self._services.follow(changed)

    def every(self) -> list[Network]:
        """The networks that this node was told of."""
        return [snapshot.network for snapshot in self._snapshots.values()]

    def network(self, wanted: str) -> Network:
        """A swarm network by name, id or the beginning of an id; NotFound."""
        found: Network = names.find("network", self.every(), wanted, "spec.name")
        return found

    def place(self, wanted: str) -> Place:
        """The same as a place for containers."""
        network = self.network(wanted)
        held = self._segments.get(network.id)
        return places.of_swarm(network, held.mtu if held else self._segment(self._snapshots[network.id]).mtu)

    async def wait_for(self, network_id: str, timeout: float) -> None:
        """Wait until a network is known here, or `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self._arrived:
                await self._arrived.wait_for(lambda: network_id in self._snapshots)
        except TimeoutError:
            pass

    async def use(self, network_id: str, container_id: str) -> None:
        """A container comes to an overlay: make it when it is not here yet."""
        async with self._lock:
            if network_id not in self._snapshots:
                raise NotFound(f"network {network_id} not found")
            self._users.setdefault(network_id, set()).add(container_id)
            if network_id not in self._segments:
                await self._settle(network_id)
            if network_id not in self._segments:
                raise ShoalError(f"cannot create the overlay network {network_id} on this node: see the daemon's log")

    async def unuse(self, network_id: str, container_id: str) -> None:
        """A container has left an overlay: remove it after the last one. Idempotent."""
        async with self._lock:
            users = self._users.get(network_id, set())
            users.discard(container_id)
            if not users:
                self._users.pop(network_id, None)
                await self._settle(network_id)

    def is_ingress(self, network_id: str) -> bool:
        """Whether it is the ingress network, whose bridge is in the node's namespace."""
        if held := self._segments.get(network_id):
            return held.ingress
        snapshot = self._snapshots.get(network_id)
        return bool(snapshot and snapshot.network.spec.ingress)

    async def _settle(self, network_id: str) -> None:
        """Make, change or remove a network here, as its snapshot and its users want it."""
        held = self._segments.get(network_id)
        snapshot = self._snapshots.get(network_id)
        new = self._segment(snapshot) if snapshot else held if self._users.get(network_id) else None
        if new and not (self._users.get(network_id) or (new.ingress and new.address)):
            new = None
        if new == held:
            return
        try:
            if new is None:
                assert held
                del self._segments[network_id]
                await self._threads.run(self._overlays.remove, held)
                return
            if held:
                await self._threads.run(self._overlays.update, held, new)
            else:
                await self._threads.run(self._overlays.make, new)
            self._segments[network_id] = new
        except (OSError, ShoalError):
            # `mend` or the next update tries again from the beginning; other networks must not suffer.
            self._segments.pop(network_id, None)
            self._failed = True
            log.exception("cannot bring network %s up to date", network_id)

    async def _forget_withdrawn(
        self, before: dict[str, NetworkSnapshot], after: dict[str, NetworkSnapshot], changed: set[str]
    ) -> None:
        """Datagrams that a client keeps sending through the mesh must not go on to a task that is withdrawn.

        Asking for all flows costs the kernel 10 ms, so only where datagrams are published.
        """
        gone: set[str] = set()
        for network_id in changed & after.keys():
            ports = [port for service in after[network_id].services for port in service.ports]
            if any(port.protocol == "udp" for port in ports):
                gone |= segments.withdrawn(before.get(network_id), after[network_id])
        if gone:
            await self._threads.run(conntrack.forget_datagrams, self._fabric.node.namespace, gone, self._threads.reaper)

    def _segment(self, snapshot: NetworkSnapshot) -> Segment:
        own = segments.own_peer(snapshot, self._state.node_id)
        local = own.underlay if own else ""
        if local and local not in self._mtus:
            self._mtus[local] = self._overlays.underlay_mtu(local)
        mtu = segments.overlay_mtu(snapshot, self._mtus.get(local, 1500))
        return segments.segment(snapshot, self._state.node_id, self._state.data_path_port, mtu)

    async def _mesh(self) -> None:
        ingress = next((item for item in self._snapshots.values() if item.network.spec.ingress), None)
        held = self._segments.get(ingress.network.id) if ingress else None
        rules = mesh.mesh_rules(ingress, self._state.node_id, held.mtu) if ingress and held else None
        try:
            await self._fabric.mesh(rules)
        except (OSError, ShoalError):
            self._failed = True
            log.exception("cannot bring the routing mesh up to date")
