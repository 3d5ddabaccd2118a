"""This node as it is now: certificate, addresses, the managers it knows. They change while it runs."""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as changed

from msgspec.structs import replace

from shoal.agent.executor import Executor
from shoal.agent.remotes import Remote, Remotes
from shoal.ca.files import KeyPair
from shoal.ca.identity import Identity, identity_of
from shoal.ca.issue import peer_name
from shoal.ca.tls import client_context, reload, server_context
from shoal.kit.clock import Clock
from shoal.kit.ids import Ids
from shoal.node.addresses import Addresses, InterfaceAddress, host_of, interfaces, join_host
from shoal.node.state import StateDirectory
from shoal.store.etcd_names import write_names

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeOptions:
    """How to run a node; the defaults are right but for tests."""

    peer_port: int = 2378
    """Where etcd listens for other managers."""
    discovery_port: int = 7946
    """Where nodes find each other after addresses changed; 0: nowhere."""
    hasty: bool = False
    """Fast elections and no fsync, for tests."""
    interfaces: Callable[[], list[InterfaceAddress]] = interfaces
    address_period: float = 3.0
    """Seconds between two looks at the machine's own addresses."""
    executor: Callable[[], Executor] | None = None
    """What runs tasks, if not the engine."""


class Local:
    """Facts about this node, for everything that runs while it is in a swarm."""

    def __init__(
        self,
        state: StateDirectory,
        addresses: Addresses,
        *,
        clock: Clock,
        ids: Ids,
        rng: random.Random,
        options: NodeOptions,
    ) -> None:
        self.state = state
        self.addresses = addresses
        self.clock = clock
        self.ids = ids
        self.rng = rng
        self.options = options
        pair = state.certificates.load()
        if pair is None:
            raise ValueError("the node's certificate is missing or damaged")
        self.pair: KeyPair = pair
        self.identity: Identity = identity_of(pair.certificate)
        self.server_context: ssl.SSLContext = server_context(state.certificates)
        self.member_context: ssl.SSLContext = server_context(state.certificates)
        """For servers that talk to nodes of this swarm only: strangers get no further than the handshake."""
        self.member_context.verify_mode = ssl.CERT_REQUIRED
        self.client_context: ssl.SSLContext = client_context(state.certificates)
        self.remotes = Remotes(state.load_managers(), self._keep_managers)

    @property
    def node_id(self) -> str:
        """This node's id."""
        return self.identity.node_id

    @property
    def manager_addr(self) -> str:
        """`host:port` at which other nodes reach this one's node protocol, when it is a manager."""
        return join_host(self.addresses.advertise, self.addresses.advertise_port)

    @property
    def peer_url(self) -> str:
        """What other managers' etcd dials to reach this one's, wherever it is (see `store.etcd_names`)."""
        return f"https://{peer_name(self.node_id)}:{self.options.peer_port}"

    @property
    def own(self) -> tuple[str, str]:
        """Node id and management address."""
        return self.node_id, self.manager_addr

    def other_managers(self) -> list[str]:
        """The addresses of the managers but this one, in random order."""
        own = self.own if self.identity.is_manager else ("", "")
        others = [remote for remote in self.remotes.all if remote.node_id != own[0] and remote.addr != own[1]]
        self.rng.shuffle(others)
        return [remote.addr for remote in others]

    def write_names(self) -> None:
        """Tell this manager's etcd where the others are now."""
        addresses = {one.node_id: host_of(one.addr) for one in self.remotes.all if one.node_id}
        addresses[self.node_id] = self.addresses.advertise
        write_names(self.state.etcd, {peer_name(id): address for id, address in addresses.items()})

    def _keep_managers(self, managers: list[Remote]) -> None:
        self.state.save_managers(managers)
        if self.state.etcd.exists():
            self.write_names()

    def take(self, pair: KeyPair) -> None:
        """Use a new certificate from now on: on disk, and for every connection that is made after this."""
        self.state.certificates.save(pair)
        reload(self.server_context, self.state.certificates)
        reload(self.member_context, self.state.certificates)
        reload(self.client_context, self.state.certificates)
        self.pair = pair
        self.identity = identity_of(pair.certificate)
        logger.info("certificate renewed, role %s", self.identity.role)

    def move(self, address: str) -> None:
        """The machine has another address now."""
        logger.warning("this machine's address changed from %s to %s", self.addresses.advertise, address)
        self.addresses = changed(self.addresses, advertise=address)
        state = self.state.load()
        if state is not None:
            self.state.save(replace(state, advertise_addr=self.manager_addr, local_addr=address))
