"""The state of a swarm network, derived from the store: who is where, and which networks a change touches. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from shoal.model.names import task_name
from shoal.model.netstate import EndpointRecord, NetworkSnapshot, PeerRecord, ServiceRecord
from shoal.model.objects import Network, Node, Service, Task
from shoal.model.states import TaskState
from shoal.model.swarm_spec import NetworkAttachmentConfig
from shoal.store.view import Changed, View


def snapshot(view: View, network: Network, tasks: Iterable[Task]) -> NetworkSnapshot:
    """All of `network` as `view` has it; `tasks` are those attached to it (more do no harm)."""
    endpoints = [record for task in tasks for record in [endpoint(view, network.id, task)] if record is not None]
    services = [
        record for service in view.all(Service) for record in [service_record(view, network, service)] if record
    ]
    return NetworkSnapshot(
        network=network,
        revision=view.revision,
        services=services,
        endpoints=sorted(endpoints, key=lambda record: record.task_id),
        peers=[peer for node in view.all(Node) for peer in [_peer(network.id, node)] if peer is not None],
    )


def endpoint(view: View, network_id: str, task: Task) -> EndpointRecord | None:
    """The task's record on the network; None while, or once, it has no place there."""
    attachment = next((held for held in task.networks_attachments if held.network_id == network_id), None)
    address = _bare(attachment.addresses[0]) if attachment and attachment.addresses else ""
    if attachment is None or not address or not task.node_id or _over(task):
        return None
    node = view.get(Node, task.node_id)
    return EndpointRecord(
        task_id=task.id,
        service_id=task.service_id,
        name=task.name or task_name(task),
        node_id=task.node_id,
        address=address,
        aliases=attachment.aliases,
        active=_serving(task) and node is not None and node.status.state != "down",
    )


def _over(task: Task) -> bool:
    return task.status.state < TaskState.ASSIGNED or task.status.state.terminal


def _serving(task: Task) -> bool:
    return task.status.state == TaskState.RUNNING and task.desired_state < TaskState.SHUTDOWN


def service_record(view: View, network: Network, service: Service) -> ServiceRecord | None:
    """The service's record on the network; None when it is not on it."""
    vip = next((_bare(held.addr) for held in service.endpoint.virtual_ips if held.network_id == network.id), "")
    config = next(
        (wanted for wanted in _wanted(service) if wanted.target in (network.id, network.spec.name)),
        None,
    )
    if not vip and config is None:
        return None
    ingress = [port for port in service.endpoint.ports if port.publish_mode == "ingress"]
    return ServiceRecord(
        id=service.id,
        name=service.spec.name,
        vip=vip,
        aliases=config.aliases if config else [],
        ports=ingress if network.spec.ingress else [],
    )


def _wanted(service: Service) -> list[NetworkAttachmentConfig]:
    return [*service.spec.task_template.networks, *service.spec.networks]


def _peer(network_id: str, node: Node) -> PeerRecord | None:
    held = next((held for held in node.attachments if held.network_id == network_id), None)
    if held is None or not held.addresses or not node.status.addr:
        return None
    return PeerRecord(node_id=node.id, underlay=node.status.addr, address=_bare(held.addresses[0]))


def _bare(address: str) -> str:
    return address.partition("/")[0]


def touched(view: View, changes: Iterable[Changed]) -> set[str]:
    """The networks whose snapshot may differ after `changes`, by id."""
    found: set[str] = set()
    for change in changes:
        thing = change.thing
        if isinstance(thing, Network):
            found.add(thing.id)
        elif isinstance(thing, Task):
            found |= _touched_by_task(view, change.old, change.new)
        elif isinstance(thing, Service):
            found |= _touched_by_service(view, change.old, change.new)
        elif isinstance(thing, Node):
            found |= _touched_by_node(change.old, change.new)
    return found


def _touched_by_task(view: View, old: object, new: object) -> set[str]:
    versions = [task for task in (old, new) if isinstance(task, Task)]
    networks = {held.network_id for task in versions for held in task.networks_attachments}
    if len(versions) < 2:
        return {id for id in networks if endpoint(view, id, versions[0]) is not None}
    return {id for id in networks if endpoint(view, id, versions[0]) != endpoint(view, id, versions[1])}


def _touched_by_service(view: View, old: object, new: object) -> set[str]:
    versions = [service for service in (old, new) if isinstance(service, Service)]
    networks: set[str] = set()
    for service in versions:
        networks |= {held.network_id for held in service.endpoint.virtual_ips}
        for wanted in _wanted(service):
            network = view.get(Network, wanted.target) or view.named(Network, wanted.target)
            networks |= {network.id} if network else set()
    known = [network for id in networks for network in [view.get(Network, id)] if network is not None]
    if len(versions) < 2:
        return {network.id for network in known}
    return {
        network.id
        for network in known
        if service_record(view, network, versions[0]) != service_record(view, network, versions[1])
    }


def _touched_by_node(old: object, new: object) -> set[str]:
    versions = [node for node in (old, new) if isinstance(node, Node)]
    networks = {held.network_id for node in versions for held in node.attachments}
    if len(versions) < 2 or _up(versions[0]) != _up(versions[1]):
        return networks
    return {id for id in networks if _peer(id, versions[0]) != _peer(id, versions[1])}


def _up(node: Node) -> bool:
    return node.status.state != "down"
