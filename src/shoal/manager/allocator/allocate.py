"""The allocator's pass: networks get subnets, services virtual addresses and ports, tasks and nodes addresses.

Everything in use stands in the store; the address book is made from it. What cannot be had stays as it is, with the
reason in the task's status, and is tried again when anything is freed (as in SwarmKit).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from msgspec.structs import replace

from shoal.manager.allocator.ports import publish
from shoal.manager.changes import Equip, SetStatus, Update
from shoal.manager.draft import Draft
from shoal.model.objects import Endpoint, Network, NetworkAttachment, Node, Service, Task, VirtualIP
from shoal.model.objects import NetworkAddresses as Attachment
from shoal.model.states import TaskState
from shoal.model.swarm_spec import IPAM, EndpointSpec, IPAMConfig, NetworkAttachmentConfig, ServiceSpec


def is_overlay(network: Network) -> bool:
    """Whether addresses on the network are given by the swarm; those of node-local drivers are the nodes' own."""
    return (network.spec.driver or "overlay") == "overlay"


def ingress_of(networks: Iterable[Network]) -> Network | None:
    """The network of the routing mesh, if there is one."""
    return next((network for network in networks if network.spec.ingress), None)


def wants_ingress(endpoint_spec: EndpointSpec | None) -> bool:
    """Whether any port is published through the routing mesh."""
    return any(port.publish_mode == "ingress" for port in (endpoint_spec or EndpointSpec()).ports)


def networks_of(spec: ServiceSpec) -> list[NetworkAttachmentConfig]:
    """The networks that a service asks for; the old place is honoured when the new one is empty."""
    return spec.task_template.networks or spec.networks


# --- networks ---------------------------------------------------------------------------------------------------------


def allocate_networks(draft: Draft) -> None:
    """Give every overlay that lacks them a subnet and a VXLAN id; the ingress network comes first."""
    waiting = [network for network in draft.all(Network) if is_overlay(network) and not is_allocated(network)]
    for network in sorted(waiting, key=lambda one: (not one.spec.ingress, one.created_at, one.id)):
        allocated = allocated_network(draft, network)
        if allocated is not None:
            subnet = allocated.ipam.config[0].subnet
            draft.do(Update(thing=allocated, because=f"network {network.spec.name} gets {subnet}"))


def is_allocated(network: Network) -> bool:
    """Whether tasks may use the network."""
    configs = network.ipam.config
    return not is_overlay(network) or (network.vxlan_id > 0 and bool(configs) and all(c.subnet for c in configs))


def allocated_network(draft: Draft, network: Network) -> Network | None:
    """`network` with all it needs; None when the address pools, or the VXLAN ids, are used up."""
    cluster = draft.cluster
    pools = cluster.default_addr_pool if cluster else ["10.0.0.0/8"]
    size = cluster.subnet_size if cluster else 24
    wanted = network.spec.ipam or IPAM()
    configs = [config for config in wanted.config if config.subnet]
    if not any(ipaddress.ip_network(config.subnet, strict=False).version == 4 for config in configs):
        subnet = free_subnet(pools, size, draft.books.addresses.subnets())
        if subnet is None:
            return None
        configs = [IPAMConfig(subnet=str(subnet)), *configs]
    vxlan_id = network.vxlan_id or draft.books.addresses.free_vxlan_id()
    if vxlan_id is None:
        return None
    ipam = IPAM(driver=wanted.driver or "default", options=wanted.options, config=[_with_gateway(c) for c in configs])
    return replace(network, driver="overlay", vxlan_id=vxlan_id, ipam=ipam)


def free_subnet(pools: list[str], size: int, used: list[ipaddress.IPv4Network]) -> ipaddress.IPv4Network | None:
    """The first subnet of `size` bits in `pools` that overlaps none of `used`."""
    step = 2 ** (32 - size)
    for text in pools:
        pool = ipaddress.ip_network(text, strict=False)
        spans = sorted((int(one.network_address), int(one.broadcast_address)) for one in used if one.version == 4)
        start, end = int(pool.network_address), int(pool.broadcast_address)
        for low, high in spans:
            if start + step - 1 < low:
                break
            if high >= start:
                start = (high // step + 1) * step
        if start + step - 1 <= end:
            return ipaddress.IPv4Network((start, size))
    return None


def first_ipam(pools: list[str], size: int) -> IPAM:
    """The addresses of the first network of all."""
    return IPAM(config=[_with_gateway(IPAMConfig(subnet=str(free_subnet(pools, size, []))))])


def _with_gateway(config: IPAMConfig) -> IPAMConfig:
    if config.gateway:
        return config
    subnet = ipaddress.ip_network(config.subnet, strict=False)
    first = ipaddress.ip_network(config.ip_range, strict=False) if config.ip_range else subnet
    base = int(subnet.network_address)
    gateway = int(first.network_address) + (1 if int(first.network_address) == base else 0)
    return replace(config, subnet=str(subnet), gateway=str(ipaddress.ip_address(gateway)))


# --- services ---------------------------------------------------------------------------------------------------------


def allocate_service(draft: Draft, service: Service) -> str:
    """Give a service its ports and virtual addresses, or take what it lost; returns what stands in the way."""
    spec = service.spec.endpoint_spec or EndpointSpec()
    ports, obstacle = publish(service, draft.books.ports)
    if obstacle:
        return obstacle
    wanted, obstacle = _wanted_networks(draft, networks_of(service.spec), spec)
    if obstacle:
        return obstacle
    held = {vip.network_id: vip for vip in service.endpoint.virtual_ips}
    vips: list[VirtualIP] = []
    if (spec.mode or "vip") == "vip":
        for network in wanted:
            if not is_overlay(network):
                continue
            address = held[network.id].addr if network.id in held else _take(draft, network)
            if address is None:
                return _exhausted(network)
            vips.append(VirtualIP(network_id=network.id, addr=address))
    endpoint = Endpoint(spec=replace(spec, mode=spec.mode or "vip"), ports=ports, virtual_ips=vips)
    if endpoint != service.endpoint:
        because = f"service {service.spec.name} gets {', '.join(vip.addr for vip in vips) or 'no address of its own'}"
        draft.do(Update(thing=replace(service, endpoint=endpoint), because=because))
    return ""


def _wanted_networks(
    draft: Draft, targets: list[NetworkAttachmentConfig], endpoint_spec: EndpointSpec | None
) -> tuple[list[Network], str]:
    """The networks of a service or task, ingress first, or why they cannot be had yet."""
    found = []
    if wants_ingress(endpoint_spec):
        ingress = ingress_of(draft.all(Network))
        if ingress is None:
            return [], "service needs ingress network, but no ingress network is present"
        found.append(ingress)
    for target in targets:
        network = draft.get(Network, target.target)
        if network is None:
            return [], f"network {target.target} not found"
        if network not in found:
            found.append(network)
    for network in found:
        if not is_allocated(network):
            return [], f"no subnet is free for network {network.spec.name}"
    return found, ""


def _take(draft: Draft, network: Network) -> str | None:
    return draft.books.addresses.pool(network.id).free()


def _exhausted(network: Network) -> str:
    subnets = ", ".join(config.subnet for config in network.ipam.config)
    return f"no address is free on network {network.spec.name} ({subnets})"


# --- tasks ------------------------------------------------------------------------------------------------------------


def allocate_tasks(draft: Draft, services: Iterable[str]) -> None:
    """Allocate the services in `services`, then every NEW task; PENDING ones have all that they need."""
    obstacles: dict[str, str] = {}
    for id in sorted(services):
        service = draft.get(Service, id)
        if service is not None:
            obstacles[id] = allocate_service(draft, service)
    for id in sorted(draft.books.unassigned):
        task = draft.get(Task, id)
        if task is None or task.status.state != TaskState.NEW or task.desired_state > TaskState.COMPLETE:
            continue
        service = draft.get(Service, task.service_id)
        if service is None:
            continue
        if service.id not in obstacles:
            obstacles[service.id] = allocate_service(draft, service)
            service = draft.get(Service, service.id) or service
        obstacle = obstacles[service.id] or _equip(draft, task, service)
        if obstacle:
            change = SetStatus(
                task_id=id, state=TaskState.NEW, message=task.status.message, err=obstacle, because=obstacle
            )
            draft.do(change)


def _equip(draft: Draft, task: Task, service: Service) -> str:
    targets = task.spec.networks or service.spec.networks
    networks, obstacle = _wanted_networks(draft, targets, task.endpoint_spec)
    if obstacle:
        return obstacle
    asked = {target.target: target for target in targets}
    attachments = []
    for network in networks:
        address = _take(draft, network) if is_overlay(network) else ""
        if address is None:
            return _exhausted(network)
        config = asked.get(network.id, NetworkAttachmentConfig())
        attachments.append(
            NetworkAttachment(
                network_id=network.id,
                addresses=[address] if address else [],
                aliases=config.aliases,
                driver_opts=config.driver_opts,
            )
        )
    because = "it has the addresses it needs" if attachments else "it needs no addresses"
    draft.do(Equip(task_id=task.id, attachments=attachments, endpoint=service.endpoint, because=because))
    return ""


# --- nodes ------------------------------------------------------------------------------------------------------------


def allocate_nodes(draft: Draft) -> set[str]:
    """Every node has an address on the ingress network and on each overlay of its tasks, and on no other.

    Looks at the nodes whose tasks moved since the last time, and returns them.
    """
    loads = draft.books.loads
    moved, loads.moved = loads.moved, set()
    ingress = ingress_of(draft.all(Network))
    for id in sorted(moved):
        node = draft.get(Node, id)
        if node is None:
            continue
        wanted = [network_id for network_id, count in sorted(loads.of(id).networks.items()) if count > 0]
        if ingress is not None and is_allocated(ingress) and ingress.id not in wanted:
            wanted.insert(0, ingress.id)
        held = {attachment.network_id: attachment for attachment in node.attachments}
        attachments = []
        for network_id in wanted:
            network = draft.get(Network, network_id)
            if network is None:
                continue
            address = held[network_id].addresses if network_id in held else [_take(draft, network) or ""]
            if address[0]:
                attachments.append(Attachment(network_id=network_id, addresses=address))
        if attachments != node.attachments:
            because = f"node {node.description.hostname or id} takes part in {len(attachments)} networks"
            draft.do(Update(thing=replace(node, attachments=attachments), because=because))
    return moved
