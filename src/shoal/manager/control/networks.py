"""Commands on the swarm's networks: create and remove."""

from __future__ import annotations

import ipaddress

from msgspec.structs import replace

from shoal.kit.ids import Ids
from shoal.manager.allocator.allocate import ingress_of, networks_of, wants_ingress
from shoal.manager.control.commit import across_the_wire, commit_newest
from shoal.model import names
from shoal.model.errors import Conflict, FailedPrecondition, InvalidArgument, PermissionDenied, Unimplemented
from shoal.model.names import check_service_name
from shoal.model.objects import Network, Service, Task
from shoal.model.swarm_spec import IPAM, IPAMConfig, NetworkSpec
from shoal.network.local import check_mtu
from shoal.store.base import Delete, Put, Store, Write
from shoal.store.view import View

PREDEFINED = "com.docker.swarm.predefined"
"""The label of the networks `bridge` and `host`, which stand for each node's own."""
_RESERVED = ("bridge", "host", "none", "default")


class Networks:
    """Networks of the swarm, as users see and change them."""

    def __init__(self, store: Store, ids: Ids) -> None:
        self._store, self._ids = store, ids

    def every(self) -> list[Network]:
        """Every network, by id; the predefined ones too."""
        return self._store.view.all(Network)

    def get(self, wanted: str) -> Network:
        """By id, name, or beginning of an id. Raises NotFound, InvalidArgument when ambiguous."""
        found = self._store.view.get(Network, wanted)
        return found or names.find("network", self.every(), wanted, "spec.name")

    async def create(self, spec: NetworkSpec) -> Network:
        """A new overlay network. Raises InvalidArgument, PermissionDenied, Conflict, Unimplemented."""
        if spec.name in _RESERVED:
            raise PermissionDenied(f"{spec.name} is a pre-defined network and cannot be created")
        id = self._ids.object_id()
        with across_the_wire():
            check_service_name(spec.name)
            _check(spec)
            _check_subnets(self._store.view, spec.ipam or IPAM())
        if self._store.view.named(Network, spec.name) is not None:
            raise Conflict(f"network with name {spec.name} already exists")
        ingress = ingress_of(self.every()) if spec.ingress else None
        if ingress is not None:
            raise Conflict(f"rpc error: code = AlreadyExists desc = ingress network ({ingress.id}) is already present")
        spec = replace(spec, driver=spec.driver or "overlay", scope="swarm")
        await self._store.commit([Put(thing=Network(id=id, spec=spec))])
        return self.get(id)

    async def remove(self, wanted: str) -> None:
        """Remove a network that nothing uses. Raises NotFound, FailedPrecondition."""
        network_id = self.get(wanted).id

        def decide() -> list[Write]:
            newest = self._store.view.get(Network, network_id)
            if newest is None:
                return []
            _check_unused(self._store.view, newest)
            return [Delete(thing=newest)]

        with across_the_wire():
            await commit_newest(self._store, decide)


def _check(spec: NetworkSpec) -> None:
    if spec.config_only or spec.config_from.network:
        raise Unimplemented("networks that only hold a configuration are not supported in a swarm")
    if spec.enable_ipv6 or not spec.enable_ipv4:
        raise Unimplemented("IPv6 is not supported: networks have IPv4 only")
    if spec.encrypted:
        raise Unimplemented('the option "encrypted" is not supported: traffic between the nodes would go in clear')
    if spec.driver not in ("", "overlay"):
        raise InvalidArgument(f'network driver "{spec.driver}" cannot span a swarm: use overlay')
    check_mtu(spec.options)
    if spec.ingress and spec.attachable:
        raise InvalidArgument("ingress network cannot be attachable")
    if spec.ingress and spec.internal:
        raise InvalidArgument("ingress network cannot be internal")
    if spec.ipam is not None and spec.ipam.driver not in ("", "default"):
        raise InvalidArgument(f'IPAM driver "{spec.ipam.driver}" is not supported')


def _check_subnets(view: View, ipam: IPAM) -> None:
    """Subnets, ranges and gateways must make sense, and overlap nothing that the swarm has."""
    asked = [_subnet(config) for config in ipam.config if config.subnet]
    for subnet in asked:
        if subnet.version == 6:
            raise InvalidArgument(f"invalid subnet {subnet}: IPv6 is not supported")
    used = [(_subnet(config), network) for network in view.all(Network) for config in network.ipam.config]
    for index, subnet in enumerate(asked):
        if any(subnet.overlaps(other) for other in asked[:index] if other.version == subnet.version):
            raise InvalidArgument("invalid network config: its subnets overlap")
        for other, network in used:
            if other.version == subnet.version and subnet.overlaps(other):
                raise InvalidArgument(
                    f"invalid pool request: Pool overlaps with other one on this address space: {subnet} and {other} "
                    f"of network {network.spec.name}"
                )


def _subnet(config: IPAMConfig) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        subnet = ipaddress.ip_network(config.subnet, strict=False)
    except ValueError:
        raise InvalidArgument(f"invalid CIDR address: {config.subnet}") from None
    if subnet.version == 4 and subnet.prefixlen > 29:
        raise InvalidArgument(
            f"invalid subnet {config.subnet}: it has room for no tasks, use a mask of at most 29 bits"
        )
    try:
        if config.ip_range and not _inside(config.ip_range, subnet):
            raise InvalidArgument(f"no matching subnet for range {config.ip_range}")
        for address in [config.gateway, *config.auxiliary_addresses.values()]:
            if address and ipaddress.ip_address(address.split("/")[0]) not in subnet:
                raise InvalidArgument(f"no matching subnet for gateway {address}")
    except ValueError as fault:
        raise InvalidArgument(f"invalid network config: {fault}") from None
    return subnet


def _inside(text: str, subnet: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    inner = ipaddress.ip_network(text, strict=False)
    return inner.version == subnet.version and inner[0] in subnet and inner[-1] in subnet


def _check_unused(view: View, network: Network) -> None:
    if network.spec.labels.get(PREDEFINED) == "true":
        raise FailedPrecondition(
            f"network {network.id} ({network.spec.name}) is a swarm predefined network and cannot be removed"
        )
    for service in view.all(Service):
        if network.spec.ingress and wants_ingress(service.spec.endpoint_spec):
            raise FailedPrecondition(f"ingress network cannot be removed because service {service.id} depends on it")
        if any(target.target == network.id for target in networks_of(service.spec)):
            raise FailedPrecondition(f"network {network.id} is in use by service {service.id}")
    for task in view.all(Task) if not network.spec.ingress else []:
        if not task.service_id and not task.status.state.terminal and _on(task, network):
            raise FailedPrecondition(f"network {network.id} is in use by task {task.id}")


def _on(task: Task, network: Network) -> bool:
    return any(attachment.network_id == network.id for attachment in task.networks_attachments)
