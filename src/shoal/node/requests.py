"""What POST /swarm/init and POST /swarm/join are asked."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.model.base import Struct
from shoal.model.swarm_spec import ClusterSpec
from shoal.node.addresses import Addresses, InterfaceAddress, address_towards, resolve

DEFAULT_LISTEN = "0.0.0.0:2377"


class InitRequest(Struct, frozen=True):
    """Begin a swarm. Addresses are `ip`, `interface` or either with `:port`; empty means: find out."""

    listen_addr: str = ""
    advertise_addr: str = ""
    data_path_addr: str = ""
    data_path_port: int = 0
    default_addr_pool: list[str] = []
    subnet_size: int = 0
    force_new_cluster: bool = False
    auto_lock_managers: bool = False
    availability: str = ""
    spec: ClusterSpec = ClusterSpec()


class JoinRequest(Struct, frozen=True):
    """Join a swarm through any of its managers."""

    listen_addr: str = ""
    advertise_addr: str = ""
    data_path_addr: str = ""
    remote_addrs: list[str] = []
    join_token: str = ""
    availability: str = ""


def own_addresses(
    request: InitRequest | JoinRequest, system: Sequence[InterfaceAddress], towards: str = ""
) -> Addresses:
    """Where the node is to listen and what it advertises, on a machine with the addresses `system`.

    A joining node that names no address advertises the one from which it reaches the manager at `towards`.
    """
    listen, advertise = request.listen_addr or DEFAULT_LISTEN, request.advertise_addr
    if towards and not advertise and listen.startswith(("0.0.0.0", "[::]")):
        advertise = address_towards(towards)
    return resolve(listen, advertise, request.data_path_addr, system)
