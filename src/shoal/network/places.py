"""A network as a container attaches to it, be it a local bridge or an overlay of the swarm."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from shoal.model.engine import LocalNetwork
from shoal.model.errors import InvalidArgument
from shoal.model.objects import Network
from shoal.network import local, pools
from shoal.network.tables import BridgeRules

_NOWHERE = IPv4Network("0.0.0.0/32")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an interface can be. `kind` is `bridge`, `overlay`, `host` or `none`; `device` its bridge interface."""

    id: str
    name: str
    kind: str
    device: str = ""
    subnet: IPv4Network = _NOWHERE
    within: IPv4Network | None = None
    gateway: str = ""
    reserved: frozenset[IPv4Address] = frozenset()
    mtu: int = 1500
    internal: bool = False
    attachable: bool = False
    talk: bool = True
    masquerade: bool = True

    @property
    def is_default_bridge(self) -> bool:
        """The predefined `bridge`: no names, no addresses of the user's choice."""
        return self.kind == "bridge" and self.name == "bridge"

    @property
    def is_gateway(self) -> bool:
        """`docker_gwbridge`."""
        return self.kind == "bridge" and self.name == local.GATEWAY

    def rules(self) -> BridgeRules:
        """What the node's firewall must know of a local bridge."""
        return BridgeRules(self.device, (str(self.subnet),), self.internal, self.masquerade, self.talk)


def of_local(network: LocalNetwork) -> Place:
    """The place of a network of this engine."""
    if network.driver != "bridge":
        return Place(network.id, network.name, "none" if network.driver == "null" else "host")
    pool = local.pool_of(network)
    return Place(
        id=network.id,
        name=network.name,
        kind="bridge",
        device=local.device_of(network),
        subnet=IPv4Network(pool.subnet),
        within=IPv4Network(pool.ip_range) if pool.ip_range else None,
        gateway=pool.gateway,
        reserved=frozenset(IPv4Address(address) for address in pool.auxiliary_addresses.values()),
        mtu=local.mtu_of(network.options),
        internal=network.internal,
        talk=local.flag(network, local.ICC),
        masquerade=local.flag(network, local.MASQUERADE),
    )


def of_swarm(network: Network, mtu: int) -> Place:
    """The place of an overlay; `mtu` is what the way between the nodes leaves over."""
    configs = [config for config in network.ipam.config if config.subnet]
    if not configs:
        raise InvalidArgument(f"network {network.spec.name} has no address pool")
    return Place(
        id=network.id,
        name=network.spec.name,
        kind="overlay",
        device=overlay_bridge(network.vxlan_id),
        subnet=pools.parse_subnet(configs[0].subnet),
        gateway=configs[0].gateway,
        mtu=mtu,
        internal=network.spec.internal,
        attachable=network.spec.attachable,
    )


def overlay_bridge(vxlan_id: int) -> str:
    """The bridge of an overlay."""
    return f"ovbr-{vxlan_id:06x}"
