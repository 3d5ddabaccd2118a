"""Control: what users ask of a swarm. Each command is checked against the view of the manager it came to and written
in one commit; being a version check away from wrong, it needs no leader.

Reading order: `validate`, `commit`, `services`, `nodes`, `networks`, `cluster`; `Control` is all of them for the API.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager

from shoal.kit.clock import Clock
from shoal.kit.ids import Ids
from shoal.manager.control.cluster import Clusters, NewToken, fresh_token, initial_objects
from shoal.manager.control.networks import Networks
from shoal.manager.control.nodes import Nodes
from shoal.manager.control.services import Services
from shoal.model.objects import Cluster, Network, Node, Service, ServiceStatus, Task
from shoal.model.swarm_spec import ClusterSpec, NetworkSpec, NodeSpec, ServiceSpec
from shoal.store.base import Store, Subscription

__all__ = ["Control", "initial_objects"]


class Control:
    """Every command of the swarm. Names may be ids, names, or beginnings of ids; failures are `model.errors`."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, new_token: NewToken = fresh_token) -> None:
        self._store = store
        self.services = Services(store, ids)
        self.nodes = Nodes(store, clock)
        self.networks = Networks(store, ids)
        self.clusters = Clusters(store, new_token)

    def subscribe(self) -> AbstractContextManager[Subscription]:
        """Every change of the swarm's objects from now on."""
        return self._store.subscribe()

    # --- services and tasks -------------------------------------------------------------------------------------------

    def list_services(self) -> list[Service]:
        """Every service, by id."""
        return self.services.every()

    def get_service(self, wanted: str) -> Service:
        """The service that `wanted` means."""
        return self.services.get(wanted)

    def service_status(self, service: Service) -> ServiceStatus:
        """The counts that `service ls` shows."""
        return self.services.status(service)

    async def create_service(self, spec: ServiceSpec, *, registry_auth: str = "") -> Service:
        """Create a service; `registry_auth` is the X-Registry-Auth header as it came."""
        return await self.services.create(spec, registry_auth)

    async def update_service(
        self,
        wanted: str,
        version: int,
        spec: ServiceSpec,
        *,
        registry_auth: str = "",
        registry_auth_from: str = "spec",
        rollback: bool = False,
    ) -> Service:
        """Give a service a new spec, or with `rollback` the one before."""
        if rollback:
            return await self.services.roll_back(wanted, version)
        return await self.services.update(
            wanted, version, spec, registry_auth=registry_auth, registry_auth_from=registry_auth_from
        )

    async def remove_service(self, wanted: str) -> None:
        """Remove a service and its tasks."""
        await self.services.remove(wanted)

    def list_tasks(self, *, service_ids: Collection[str] | None = None) -> list[Task]:
        """Every task, or those of some services (which is much quicker in a large swarm), by id."""
        return self.services.tasks(service_ids)

    def get_task(self, wanted: str) -> Task:
        """The task that `wanted` means."""
        return self.services.task(wanted)

    def is_up_to_date(self, task: Task) -> bool:
        """Whether a task is what its service asks for now."""
        return self.services.is_up_to_date(task)

    # --- nodes --------------------------------------------------------------------------------------------------------

    def list_nodes(self) -> list[Node]:
        """Every node, by id."""
        return self.nodes.every()

    def get_node(self, wanted: str) -> Node:
        """The node that `wanted` means; its hostname counts as its name."""
        return self.nodes.get(wanted)

    async def update_node(self, wanted: str, version: int, spec: NodeSpec) -> None:
        """Give a node a new spec: availability, labels, role."""
        await self.nodes.update(wanted, version, spec)

    async def remove_node(self, wanted: str, *, force: bool = False) -> None:
        """Forget a node."""
        await self.nodes.remove(wanted, force=force)

    # --- networks -----------------------------------------------------------------------------------------------------

    def list_networks(self) -> list[Network]:
        """Every network, by id."""
        return self.networks.every()

    def get_network(self, wanted: str) -> Network:
        """The network that `wanted` means."""
        return self.networks.get(wanted)

    def network_of(self, id: str) -> Network | None:
        """The network with this id, None when it is gone."""
        return self._store.view.get(Network, id)

    async def create_network(self, spec: NetworkSpec) -> Network:
        """Create an overlay network."""
        return await self.networks.create(spec)

    async def remove_network(self, wanted: str) -> None:
        """Remove a network that nothing uses."""
        await self.networks.remove(wanted)

    # --- the swarm ----------------------------------------------------------------------------------------------------

    def cluster(self) -> Cluster:
        """The swarm itself, with its join tokens."""
        return self.clusters.get()

    async def update_cluster(
        self,
        version: int,
        spec: ClusterSpec,
        *,
        rotate_worker_token: bool = False,
        rotate_manager_token: bool = False,
        rotate_unlock_key: bool = False,
    ) -> None:
        """Change the swarm's settings, rotate join tokens. There is no unlock key to rotate while nothing is locked."""
        del rotate_unlock_key
        await self.clusters.update(
            version, spec, rotate_worker_token=rotate_worker_token, rotate_manager_token=rotate_manager_token
        )
