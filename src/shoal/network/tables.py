"""Which nftables rules a node and a sandbox have. Pure: state in, `Table` out.

The recipes: published ports and the mesh are DNAT by map (the same cost for one port and for a thousand), backends
take turns by `numgen inc`, and nobody's source address is changed unless the answer would not find its way back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shoal.network.ruleset import Chain, Elements, Table

PORTS = "meta l4proto { tcp, udp, sctp }"
_OVERHEAD = 40  # IPv4 and TCP headers: what an MSS leaves out of an MTU


@dataclass(frozen=True, slots=True)
class BridgeRules:
    """A bridge in the node's namespace. `masquerade`: its containers reach the outside under the node's address."""

    name: str
    subnets: tuple[str, ...]
    internal: bool = False
    masquerade: bool = True
    talk: bool = True
    """Whether its containers may reach each other."""


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the host that leads to one container. `host_ip` empty: on every address."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class MeshPort:
    """A port of every node that leads to the backends in turn, at `port` of each."""

    protocol: str
    published: int
    backends: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class MeshRules:
    """The routing mesh: the ingress bridge and the ports."""

    bridge: str
    subnet: str
    mtu: int
    ports: tuple[MeshPort, ...] = ()


def node_table(
    name: str, bridges: Sequence[BridgeRules], published: Iterable[PublishedPort], mesh: MeshRules | None
) -> Table:
    """Everything that a node does in its own namespace."""
    bridges = sorted(bridges, key=lambda bridge: bridge.name)
    names = [bridge.name for bridge in bridges] + ([mesh.bridge] if mesh else [])
    talking = [bridge.name for bridge in bridges if bridge.talk] + ([mesh.bridge] if mesh else [])
    everywhere: dict[str, str] = {}
    somewhere: dict[str, str] = {}
    for port in published:
        key, value = f"{port.protocol} . {port.host_port}", f"{port.address} . {port.port}"
        if port.host_ip:
            somewhere[f"{port.host_ip} . {key}"] = value
        else:
            everywhere[key] = value
    ways: dict[str, str] = {}
    chains: dict[str, Chain] = {}
    for service in mesh.ports if mesh else ():
        if service.backends:
            chain = f"mesh_{service.protocol}_{service.published}"
            chains[chain] = Chain((f"meta l4proto {service.protocol} {in_turn(service.backends)} : {service.port}",))
            ways[f"{service.protocol} . {service.published}"] = f"goto {chain}"
    lead = (
        f"{PORTS} dnat ip to ip daddr . meta l4proto . th dport map @somewhere",
        f"{PORTS} fib daddr type local dnat ip to meta l4proto . th dport map @everywhere",
        f"{PORTS} fib daddr type local meta l4proto . th dport vmap @mesh",
    )
    sets = {
        "bridges": Elements("ifname", {f'"{bridge}"': "" for bridge in names}),
        "within": Elements("ifname . ifname", {f'"{bridge}" . "{bridge}"': "" for bridge in talking}),
        "internal": Elements("ifname", {f'"{bridge.name}"': "" for bridge in bridges if bridge.internal}),
        "somewhere": Elements("ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service", somewhere),
        "everywhere": Elements("inet_proto . inet_service : ipv4_addr . inet_service", everywhere),
        "mesh": Elements("inet_proto . inet_service : verdict", ways),
    }
    chains |= {
        # route_localnet lets answers to 127.0.0.1 back in; nothing else that claims such an address may come.
        "guard": Chain(
            ("iifname @bridges ip daddr 127.0.0.0/8 drop",), "type filter hook prerouting priority -300; policy accept;"
        ),
        "pre": Chain(lead, "type nat hook prerouting priority -100; policy accept;"),
        "out": Chain(lead, "type nat hook output priority -100; policy accept;"),
        "forward": Chain(_FORWARD, "type filter hook forward priority 0; policy accept;"),
        "post": Chain(tuple(_source_rules(bridges, mesh)), "type nat hook postrouting priority 100; policy accept;"),
    }
    if mesh:
        clamp = f"tcp flags & (syn | rst) == syn tcp option maxseg size set {mesh.mtu - _OVERHEAD}"
        chains["mss_in"] = Chain(
            (f'iifname "{mesh.bridge}" {clamp}',), "type filter hook prerouting priority -150; policy accept;"
        )
        chains["mss_out"] = Chain(
            (f'oifname "{mesh.bridge}" {clamp}',), "type filter hook postrouting priority -150; policy accept;"
        )
    return Table(name, chains, sets)


_FORWARD = (
    "ct state established,related accept",
    "oifname @bridges ct status dnat accept",
    "iifname . oifname @within accept",
    "iifname @internal drop",
    # What remains towards a bridge is neither an answer nor published: other bridges, or a neighbour of the host.
    "oifname @bridges drop",
)


def _source_rules(bridges: Sequence[BridgeRules], mesh: MeshRules | None) -> Iterable[str]:
    """When a source address must change: only where the answer could not come back by itself."""
    if mesh:
        local = ", ".join([mesh.subnet, *(subnet for bridge in bridges for subnet in bridge.subnets)])
        to_mesh = f'oifname "{mesh.bridge}" ct status dnat'
        yield f"{to_mesh} fib saddr type local masquerade fully-random"
        yield f"{to_mesh} ip saddr {{ {local} }} masquerade fully-random"
    for bridge in bridges:
        yield f'oifname "{bridge.name}" ip saddr 127.0.0.0/8 masquerade'
        for subnet in bridge.subnets:
            yield f'oifname "{bridge.name}" ip saddr {subnet} ct status dnat masquerade'
            if bridge.masquerade and not bridge.internal:
                yield f'oifname != "{bridge.name}" ip saddr {subnet} masquerade'


def in_turn(backends: Sequence[str]) -> str:
    """The DNAT statement that gives each new connection to the next of `backends`."""
    places = ", ".join(f"{place} : {backend}" for place, backend in enumerate(backends))
    return f"dnat ip to numgen inc mod {len(backends)} map {{ {places} }}"


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """A service's address on one network, and who is behind it; nobody means refused."""

    address: str
    backends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IngressEnd:
    """A sandbox on the ingress network: its interface there, that network's subnet, and the address from which the
    container speaks to the outside (the one that its default route prefers)."""

    interface: str
    subnet: str
    outward: str


@dataclass(frozen=True, slots=True)
class Gate:
    """An ingress node as a sandbox sees it: its MAC, the mark of connections that came through it, and its ports."""

    mac: str
    mark: int
    ports: tuple[tuple[str, int, int], ...]
    """Protocol, the port it uses, the container's port that this means."""


SANDBOX_TABLE = "shoal"


def sandbox_table(
    dns: tuple[int, int] | None,
    addresses: Iterable[VirtualAddress] = (),
    ingress: IngressEnd | None = None,
    gates: Iterable[Gate] = (),
) -> Table:
    """What a container's namespace does: names (`dns`: the UDP and TCP port of our resolver), VIPs, the mesh's ends."""
    chains: dict[str, Chain] = {}
    sets: dict[str, Elements] = {}
    out: list[str] = []
    if dns:
        out += [
            f"ip daddr 127.0.0.11 {protocol} dport 53 dnat to 127.0.0.11:{port}"
            for protocol, port in zip(("udp", "tcp"), dns, strict=True)
        ]
    ways: dict[str, str] = {}
    dead: dict[str, str] = {}
    for virtual in addresses:
        if virtual.backends:
            chain = "vip_" + virtual.address.replace(".", "_")
            chains[chain] = Chain((in_turn(virtual.backends),))
            ways[virtual.address] = f"goto {chain}"
        else:
            dead[virtual.address] = ""
    if ways or dead:
        sets["vips"] = Elements("ipv4_addr : verdict", ways)
        sets["dead"] = Elements("ipv4_addr", dead)
        out.append("ip daddr vmap @vips")
        chains["refuse"] = Chain(
            ("ip daddr @dead meta l4proto tcp reject with tcp reset", "ip daddr @dead reject"),
            "type filter hook output priority 0; policy accept;",
        )
    if out:
        chains["out"] = Chain(tuple(out), "type nat hook output priority -100; policy accept;")
    if ingress:
        _add_ingress(chains, sets, ingress, gates)
    return Table(SANDBOX_TABLE, chains, sets)


def _add_ingress(chains: dict[str, Chain], sets: dict[str, Elements], end: IngressEnd, gates: Iterable[Gate]) -> None:
    """Answers leave through the node where the question came in; equal connections through two nodes stay apart.

    A datagram server that listens on every address answers from the address that its route to the client prefers. So
    datagrams from outside are led to just that address, else their answers would belong to no known flow.
    """
    marks: dict[str, str] = {}
    ports: dict[str, str] = {}
    datagrams: dict[str, str] = {}
    for gate in gates:
        marks[gate.mac] = f"{gate.mark:#x}"
        for protocol, port, target in gate.ports:
            ports[f"{gate.mac} . {protocol} . {port}"] = str(target)
            if protocol == "udp" and end.outward:
                datagrams[f"{gate.mac} . {port}"] = f"{end.outward} . {target}"
    sets["gates"] = Elements("ether_addr : mark", marks)
    sets["gate_ports"] = Elements("ether_addr . inet_proto . inet_service : inet_service", ports)
    sets["gate_datagrams"] = Elements("ether_addr . inet_service : ipv4_addr . inet_service", datagrams)
    came = f'iifname "{end.interface}"'
    chains["mark_gate"] = Chain(
        (f"{came} ct state new ct mark set ether saddr map @gates",),
        "type filter hook prerouting priority -150; policy accept;",
    )
    chains["back_through"] = Chain(
        ("ct mark != 0 meta mark set ct mark",), "type route hook output priority -150; policy accept;"
    )
    chains["arrive"] = Chain(
        (
            f"{came} ip saddr != {end.subnet} meta l4proto udp dnat ip to ether saddr . udp dport map @gate_datagrams",
            f"{came} {PORTS} redirect to :ether saddr . meta l4proto . th dport map @gate_ports",
        ),
        "type nat hook prerouting priority -100; policy accept;",
    )
