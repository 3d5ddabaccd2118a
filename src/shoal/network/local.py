"""The networks of this engine: bridge, host, none, and the users' own bridges. On disk, in one file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Network
from pathlib import Path

from msgspec.structs import replace

from shoal.kit.clock import Clock
from shoal.kit.files import write_atomic
from shoal.kit.ids import Ids
from shoal.model import names
from shoal.model.base import Struct, decode, encode
from shoal.model.engine import LocalNetwork
from shoal.model.errors import Conflict, InvalidArgument, NotFound, PermissionDenied, Unimplemented
from shoal.model.swarm_spec import IPAMConfig, NetworkSpec
from shoal.network import pools

PREDEFINED = ("bridge", "host", "none")
GATEWAY = "docker_gwbridge"
"""The bridge through which containers on overlays reach the outside; made when the first one needs it."""

BRIDGE_NAME = "com.docker.network.bridge.name"
ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4"
MTU = "com.docker.network.driver.mtu"
LEAST_MTU, MOST_MTU = 68, 65535
"""RFC 791's least, and the most that Linux lets a bridge have."""


class _File(Struct, frozen=True):
    networks: list[LocalNetwork] = []


class LocalNetworks:
    """The store. `subnets_in_use` tells which subnets the host has already, `is_free` whether a device's name is."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        ids: Ids,
        *,
        subnets_in_use: Callable[[], Iterable[IPv4Network]],
        is_free: Callable[[str], bool],
    ) -> None:
        self._path = path
        self._clock = clock
        self._ids = ids
        self._subnets_in_use = subnets_in_use
        self._is_free = is_free
        self._networks: dict[str, LocalNetwork] = {}

    def load(self) -> None:
        """Read the file; make the three predefined networks when there is none yet."""
        if self._path.exists():
            self._networks = {item.id: item for item in decode(self._path.read_bytes(), _File).networks}
        present = {item.name for item in self._networks.values()}
        for name in PREDEFINED:
            if name not in present:
                self._add(self._predefined(name))
        self._save()

    def every(self) -> list[LocalNetwork]:
        """All of them, oldest first."""
        return list(self._networks.values())

    def find(self, wanted: str) -> LocalNetwork:
        """By name, id or the beginning of an id; NotFound `network x not found`."""
        found: LocalNetwork = names.find("network", self.every(), wanted, "name")
        return found

    def get(self, network_id: str) -> LocalNetwork | None:
        """By its whole id."""
        return self._networks.get(network_id)

    def create(self, spec: NetworkSpec) -> LocalNetwork:
        """A bridge of the user's. Conflict, InvalidArgument or PermissionDenied with docker's words."""
        if not spec.name.strip():
            raise InvalidArgument("invalid network name: name is empty")
        if spec.name in (*PREDEFINED, "default"):
            raise PermissionDenied(f"operation is not permitted on predefined {spec.name} network")
        if any(item.name == spec.name for item in self._networks.values()):
            raise Conflict(f"network with name {spec.name} already exists")
        driver = spec.driver or "bridge"
        if driver in ("host", "null"):
            raise PermissionDenied(f'only one instance of "{driver}" network is allowed')
        if driver != "bridge":
            raise NotFound(f'could not find plugin {driver} in v1 plugin registry: plugin "{driver}" not found')
        if spec.ipam and spec.ipam.driver not in ("", "default"):
            raise NotFound(f"could not find plugin {spec.ipam.driver}: plugin not found")
        _check(spec)
        self._check_bridge_name(spec.options.get(BRIDGE_NAME, ""))
        network = LocalNetwork(
            id=self._ids.hex_id(),
            name=spec.name,
            created=self._clock.now(),
            ipam=pools.complete(spec.ipam, self._taken(bool(spec.ipam and spec.ipam.config)), pools.LOCAL_POOLS[1:]),
            internal=spec.internal,
            attachable=spec.attachable,
            options=spec.options,
            labels=spec.labels,
        )
        self._add(network)
        self._save()
        return network

    def gateway(self) -> LocalNetwork:
        """The network `docker_gwbridge`, made when there is none."""
        for item in self._networks.values():
            if item.name == GATEWAY:
                return item
        options = {ICC: "false", MASQUERADE: "true"}
        if self._is_free(GATEWAY):
            options[BRIDGE_NAME] = GATEWAY
        return self.create(NetworkSpec(name=GATEWAY, options=options))

    def remove(self, network: LocalNetwork) -> None:
        """Forget a network of the user's."""
        self._networks.pop(network.id, None)
        self._save()

    def _predefined(self, name: str) -> LocalNetwork:
        network = LocalNetwork(id=self._ids.hex_id(), name=name, created=self._clock.now())
        if name != "bridge":
            return replace(network, driver="null" if name == "none" else "host")
        ipam = pools.complete(None, self._taken(False), pools.LOCAL_POOLS)
        device = "docker0" if self._is_free("docker0") else bridge_name(network.id)
        options = {
            "com.docker.network.bridge.default_bridge": "true",
            ICC: "true",
            MASQUERADE: "true",
            HOST_BINDING: "0.0.0.0",
            BRIDGE_NAME: device,
            MTU: "1500",
        }
        return replace(network, ipam=ipam, options=options)

    def _check_bridge_name(self, device: str) -> None:
        if len(device) > 15 or "/" in device or any(character.isspace() for character in device):
            raise InvalidArgument(f"invalid bridge name: {device}")
        if device and any(device_of(item) == device for item in self._networks.values()):
            raise Conflict(f"networks have same bridge name: {device}")

    def _taken(self, chosen: bool) -> list[IPv4Network]:
        """Subnets of our networks; unless the user chose one, the host's routes are avoided as well."""
        own = [pools.parse_subnet(config.subnet) for item in self._networks.values() for config in item.ipam.config]
        return own if chosen else own + list(self._subnets_in_use())

    def _add(self, network: LocalNetwork) -> None:
        self._networks[network.id] = network

    def _save(self) -> None:
        write_atomic(self._path, encode(_File(networks=self.every())))


def _check(spec: NetworkSpec) -> None:
    """What would be without effect is refused by its name."""
    if spec.enable_ipv6:
        raise Unimplemented("--ipv6 is not supported: networks have IPv4 only")
    if not spec.enable_ipv4:
        raise Unimplemented("--ipv4=false is not supported: networks have IPv4 only")
    check_mtu(spec.options)
    if spec.config_only:
        raise Unimplemented("--config-only is not supported: a network cannot hold a configuration only")
    if spec.config_from.network:
        raise Unimplemented("--config-from is not supported: give the network its configuration itself")


def bridge_name(network_id: str) -> str:
    """The interface of a network of the user's: `br-` and twelve digits of its id."""
    return f"br-{network_id[:12]}"


def device_of(network: LocalNetwork) -> str:
    """The bridge's interface; empty for `host` and `none`."""
    if network.driver != "bridge":
        return ""
    return network.options.get(BRIDGE_NAME) or bridge_name(network.id)


def mtu_of(options: Mapping[str, str], default: int = 1500) -> int:
    """The MTU that the options of a network ask for."""
    return _mtu(options.get(MTU, "")) or default


def check_mtu(options: Mapping[str, str]) -> None:
    """The MTU among a network's options must be one that a bridge can have; 0 leaves the choice to us."""
    text = options.get(MTU, "0")
    if _mtu(text) is None:
        raise InvalidArgument(f'invalid MTU "{text}": use a number from {LEAST_MTU} to {MOST_MTU}')


def _mtu(text: str) -> int | None:
    number = int(text) if text.isascii() and text.isdecimal() else -1
    return number if number == 0 or LEAST_MTU <= number <= MOST_MTU else None


def flag(network: LocalNetwork, option: str) -> bool:
    """An option that is on unless it says no."""
    return network.options.get(option, "true").lower() not in ("false", "0", "no")


def pool_of(network: LocalNetwork) -> IPAMConfig:
    """The pool that containers get their addresses from."""
    if not network.ipam.config:
        raise InvalidArgument(f"network {network.name} has no address pool")
    return network.ipam.config[0]
