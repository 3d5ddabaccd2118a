"""Commands on the swarm itself, and the objects that a new one begins with."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from shoal.ca.tokens import make_token, new_secret
from shoal.kit.ids import Ids
from shoal.manager.allocator.addresses import FIRST_VXLAN_ID
from shoal.manager.allocator.allocate import first_ipam
from shoal.manager.control.commit import across_the_wire, check_version, commit_newest
from shoal.manager.control.networks import PREDEFINED
from shoal.model.errors import InvalidArgument, NotFound, Unimplemented
from shoal.model.objects import Cluster, JoinTokens, Network, RootCA, TLSInfo
from shoal.model.swarm_spec import CAConfig, ClusterSpec, NetworkSpec, RaftConfig
from shoal.store.base import Put, Store, Write

HOUR = 3600 * 10**9
NewToken = Callable[[bytes], str]
"""A fresh join token for the root with this PEM."""


def fresh_token(bundle: bytes) -> str:
    """A join token with a new secret half."""
    return make_token(bundle, new_secret())


class Clusters:
    """The swarm itself, as users see and change it."""

    def __init__(self, store: Store, new_token: NewToken) -> None:
        self._store, self._new_token = store, new_token

    def get(self) -> Cluster:
        """The swarm."""
        cluster = self._store.view.cluster
        if cluster is None:
            raise NotFound("cluster default not found")
        return cluster

    async def update(
        self, version: int, spec: ClusterSpec, *, rotate_worker_token: bool, rotate_manager_token: bool
    ) -> None:
        """Replace the spec; give out new join tokens. Raises InvalidArgument, Unimplemented, OutOfSequence."""

        def decide() -> list[Write]:
            cluster = self.get()
            check_version(cluster, version)
            tokens, root = cluster.join_tokens, cluster.root_ca.certificate
            if rotate_worker_token:
                tokens = replace(tokens, worker=self._new_token(root))
            if rotate_manager_token:
                tokens = replace(tokens, manager=self._new_token(root))
            return [Put(thing=replace(cluster, spec=checked_spec(spec, cluster.spec), join_tokens=tokens))]

        with across_the_wire():
            await commit_newest(self._store, decide)


def checked_spec(spec: ClusterSpec, before: ClusterSpec) -> ClusterSpec:
    """`spec` with what it leaves open taken from `before`. Raises InvalidArgument, Unimplemented."""
    if spec.name not in ("", "default"):
        raise InvalidArgument("modification of cluster name is not allowed")
    if spec.dispatcher.heartbeat_period < 0:
        raise InvalidArgument("heartbeat time period cannot be a negative duration")
    if spec.ca_config.node_cert_expiry and spec.ca_config.node_cert_expiry < HOUR:
        raise InvalidArgument("minimum certificate expiry time is: 1h0m0s")
    if spec.encryption_config.auto_lock_managers:
        raise Unimplemented("autolock is not supported by this version of Shoal: it comes in a later version")
    _check_ca(spec.ca_config, before.ca_config)
    limit = spec.orchestration.task_history_retention_limit
    if limit is None:
        limit = before.orchestration.task_history_retention_limit
    return replace(
        spec,
        name="default",
        orchestration=replace(spec.orchestration, task_history_retention_limit=5 if limit is None else limit),
        raft=_raft(spec.raft, before.raft),
    )


def _check_ca(asked: CAConfig, before: CAConfig) -> None:
    if asked.external_cas or asked.signing_ca_cert or asked.signing_ca_key:
        raise Unimplemented(
            "own and external CAs are not supported by this version of Shoal: they come in a later version"
        )
    if asked.force_rotate != before.force_rotate:
        raise Unimplemented(
            "rotating the root CA is not supported by this version of Shoal: it comes in a later version"
        )


def _raft(asked: RaftConfig, before: RaftConfig) -> RaftConfig:
    return replace(
        asked,
        snapshot_interval=asked.snapshot_interval or before.snapshot_interval,
        election_tick=asked.election_tick or before.election_tick,
        heartbeat_tick=asked.heartbeat_tick or before.heartbeat_tick,
    )


def initial_objects(
    ids: Ids,
    *,
    cluster_id: str,
    root_ca: RootCA,
    tls_info: TLSInfo,
    join_tokens: JoinTokens,
    spec: ClusterSpec,
    default_addr_pool: Sequence[str] = (),
    subnet_size: int = 0,
    data_path_port: int = 0,
) -> list[Cluster | Network]:
    """What a new swarm begins with: itself, the ingress network, and the two networks that stand for the nodes' own.

    Empty and zero mean the default. The ingress network has its subnet already: nobody else can have taken one.
    Raises InvalidArgument, Unimplemented for what `swarm init` may not ask.
    """
    pool, size = check_pool(default_addr_pool, subnet_size)
    port = data_path_port or 4789
    if not 1024 <= port <= 49151:
        raise InvalidArgument(f"invalid data path port number {port}: Must be between 1024 and 49151")
    cluster = Cluster(
        id=cluster_id,
        spec=checked_spec(spec, ClusterSpec()),
        tls_info=tls_info,
        data_path_port=port,
        default_addr_pool=pool,
        subnet_size=size,
        join_tokens=join_tokens,
        root_ca=root_ca,
    )
    ingress = Network(
        id=ids.object_id(),
        spec=NetworkSpec(name="ingress", driver="overlay", scope="swarm", ingress=True),
        vxlan_id=FIRST_VXLAN_ID,
        ipam=first_ipam(pool, size),
    )
    own = [
        Network(
            id=ids.object_id(),
            spec=NetworkSpec(name=name, driver=name, scope="swarm", labels={PREDEFINED: "true"}),
            driver=name,
        )
        for name in ("bridge", "host")
    ]
    return [cluster, ingress, *own]


def check_pool(pools: Sequence[str], size: int) -> tuple[list[str], int]:
    """Address pools and the mask length of the subnets cut from them, defaults filled in. Raises InvalidArgument."""
    size = size or 24
    if size > 29:
        raise InvalidArgument(f"subnet size is out of range: {size}. Must be at most 29")
    checked: list[ipaddress.IPv4Network] = []
    for text in pools or ["10.0.0.0/8"]:
        try:
            pool = ipaddress.IPv4Network(text, strict=False)
        except ValueError:
            raise InvalidArgument(f"invalid CIDR address: {text}") from None
        if pool.prefixlen > size:
            raise InvalidArgument(f"invalid CIDR value. Subnet size {size} must be larger than the pool {text}")
        if any(pool.overlaps(other) for other in checked):
            raise InvalidArgument(f"address pool {text} overlaps with another one")
        checked.append(pool)
    return [str(pool) for pool in checked], size
