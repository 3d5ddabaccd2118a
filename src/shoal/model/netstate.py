"""What a node must know of a swarm network to serve it: pushed by managers, applied by `network`, kept on disk.

One `NetworkSnapshot` is all of one network; a change to a network resends that network and no other. Everything in it
derives from the task table, so a node that applies the newest snapshot has the whole truth. MAC addresses are not
sent: an address `a.b.c.d` on an overlay always has the MAC `02:42:` and its four bytes in hexadecimal.
"""

from __future__ import annotations

from shoal.model.base import Struct
from shoal.model.objects import Network
from shoal.model.swarm_spec import PortConfig


class ServiceRecord(Struct, frozen=True):
    """A service on one network. `vip` (no prefix length) is empty in `dnsrr` mode."""

    id: str
    name: str
    vip: str = ""
    aliases: list[str] = []
    ports: list[PortConfig] = []
    """Published through the mesh; only on the ingress network's snapshot."""


class EndpointRecord(Struct, frozen=True):
    """A task on one network. Only `active` ones (running and not about to stop) answer to names and get traffic;
    the others are listed so that every node knows the way to them."""

    task_id: str
    service_id: str
    name: str
    """The container's name, `web.1.<task id>`."""
    node_id: str
    address: str
    """Without prefix length."""
    aliases: list[str] = []
    active: bool = False


class PeerRecord(Struct, frozen=True):
    """A node that takes part in one network."""

    node_id: str
    underlay: str
    """Where its VXLAN packets go."""
    address: str
    """Its own address inside the network (no prefix length): the gateway of the mesh on that node."""


class NetworkSnapshot(Struct, frozen=True):
    """All of one network at one revision of the store."""

    network: Network
    revision: int
    services: list[ServiceRecord] = []
    endpoints: list[EndpointRecord] = []
    peers: list[PeerRecord] = []


class NetworkUpdate(Struct, frozen=True):
    """A message to a node. With `complete`, networks that are not in it are gone; else `removed` names those."""

    revision: int
    complete: bool = False
    snapshots: list[NetworkSnapshot] = []
    removed: list[str] = []
    data_path_port: int = 4789


def mac_of(address: str) -> str:
    """The MAC that an IPv4 address has on every Shoal and Docker overlay: `02:42:0a:00:00:05` for 10.0.0.5."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))
