"""What the store holds: cluster, node, service, task, network. Each is a spec plus the facts the system found.

JSON of these is what the Engine API prints, except for the fields marked *private*, which `api.present` leaves out,
and task states, which it prints as words.
Versions are global revisions of the store, so gaps are normal.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import field

from shoal.model.base import ZERO_TIME, Full, Struct
from shoal.model.states import TaskState
from shoal.model.swarm_spec import (
    IPAM,
    ClusterSpec,
    Driver,
    EndpointSpec,
    GenericResource,
    NetworkSpec,
    NodeSpec,
    Platform,
    PortConfig,
    ResourceRequirements,
    Resources,
    ServiceSpec,
    TaskSpec,
)


class Version(Struct, frozen=True, omit_defaults=False):
    """The store's revision at which an object was last written."""

    index: int = 0


class Object(Struct, frozen=True, omit_defaults=False):
    """What every stored object has."""

    id: str
    version: Version = Version()
    created_at: datetime = ZERO_TIME
    updated_at: datetime = ZERO_TIME
    spec_since: int = 0
    """*Private.* The store's revision just before its spec was last changed: who read it later has seen that spec."""


# --- node -------------------------------------------------------------------------------------------------------------


class Plugin(Full, frozen=True):
    """A driver that a node offers: `Network/overlay`."""

    type: str
    name: str


class EngineDescription(Struct, frozen=True):
    """The container engine of a node."""

    engine_version: str = ""
    labels: dict[str, str] = {}
    plugins: list[Plugin] = []


class TLSInfo(Struct, frozen=True):
    """Which root a node trusts (PEM) and who issued its certificate (DER)."""

    trust_root: str = ""
    cert_issuer_subject: bytes = b""
    cert_issuer_public_key: bytes = b""


class NodeDescription(Struct, frozen=True):
    """What a node says of itself."""

    hostname: str = ""
    platform: Platform = Platform()
    resources: Resources = Resources()
    engine: EngineDescription = EngineDescription()
    tls_info: TLSInfo = TLSInfo()


class NodeStatus(Struct, frozen=True, omit_defaults=False):
    """`unknown`, `down`, `ready` or `disconnected`; the address its session came from."""

    state: str = "unknown"
    message: str = ""
    addr: str = ""


class ManagerStatus(Struct, frozen=True):
    """Of managers only. `addr` is the management address with port."""

    leader: bool = False
    reachability: str = "unknown"
    addr: str = ""


class Certificate(Struct, frozen=True):
    """*Private.* A node's certificate on its way: role asked for, issuance state, CSR and certificate in PEM."""

    role: str = "worker"
    state: str = "unknown"
    csr: bytes = b""
    pem: bytes = b""
    error: str = ""


class NetworkAddresses(Struct, frozen=True):
    """*Private.* The addresses (CIDR) that somebody holds on a network."""

    network_id: str
    addresses: list[str] = []


class Node(Object, frozen=True):
    """A machine of the swarm. Its identity is its certificate, never its address."""

    spec: NodeSpec = NodeSpec()
    description: NodeDescription = NodeDescription()
    status: NodeStatus = NodeStatus()
    manager_status: ManagerStatus | None = None
    role: str = "worker"
    """*Private.* The role it has; `spec.role` is the role it should have."""
    certificate: Certificate = Certificate()
    """*Private.*"""
    attachments: list[NetworkAddresses] = []
    """*Private.* Its own address on each overlay that it takes part in."""
    member_id: int = 0
    """*Private.* Of managers: the etcd member."""
    is_shoal: bool = False
    """*Private.* Speaks `shoal.v1`; a real Docker Engine does not."""
    down_since: datetime | None = None
    """*Private.* When it was last found down."""


# --- service ----------------------------------------------------------------------------------------------------------


class VirtualIP(Struct, frozen=True):
    """A service's address (CIDR) on one network."""

    network_id: str = ""
    addr: str = ""


class Endpoint(Struct, frozen=True):
    """What the allocator gave a service."""

    spec: EndpointSpec = EndpointSpec()
    ports: list[PortConfig] = []
    virtual_ips: list[VirtualIP] = field(name="VirtualIPs", default_factory=list)


class UpdateStatus(Struct, frozen=True):
    """How far a rolling update is: updating, paused, completed, rollback_started, rollback_paused,
    rollback_completed."""

    state: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    message: str = ""


class ServiceStatus(Full, frozen=True):
    """Counts for `service ls`; computed on read, never stored."""

    running_tasks: int = 0
    desired_tasks: int = 0
    completed_tasks: int = 0


class Service(Object, frozen=True):
    """A service: the spec, the one before it, and what the system made of them."""

    spec: ServiceSpec = ServiceSpec()
    previous_spec: ServiceSpec | None = None
    endpoint: Endpoint = Endpoint()
    update_status: UpdateStatus | None = None
    service_status: ServiceStatus | None = None
    spec_version: int = 0
    """*Private.* Rises with each spec; comparable with `Task.spec_version` only."""
    previous_spec_version: int = 0
    """*Private.*"""
    registry_auth: str = ""
    """*Private.* X-Registry-Auth as it came; never printed, encrypted at rest."""
    previous_registry_auth: str = ""
    """*Private.*"""


# --- task -------------------------------------------------------------------------------------------------------------


class ContainerStatus(Struct, frozen=True):
    """The container of a task on its node."""

    container_id: str = ""
    pid: int = 0
    exit_code: int = 0


class PortStatus(Struct, frozen=True):
    """The host ports that a task really bound."""

    ports: list[PortConfig] = []


class TaskStatus(Struct, frozen=True, omit_defaults=False):
    """What the agent saw. `timestamp` is the agent's clock, `applied_at` (*private*) the manager's."""

    timestamp: datetime = ZERO_TIME
    state: TaskState = TaskState.NEW
    message: str = ""
    err: str = ""
    container_status: ContainerStatus | None = None
    port_status: PortStatus | None = None
    applied_at: datetime | None = None


class NetworkAttachment(Struct, frozen=True):
    """A task on one network: which, with which addresses (CIDR) and names."""

    network_id: str = ""
    """*Private.* The API prints the whole network here, as `Network`."""
    addresses: list[str] = []
    aliases: list[str] = []
    driver_opts: dict[str, str] = {}


class Task(Object, frozen=True):
    """One run of one slot of a service. It never changes node or spec: change means replacement."""

    name: str = ""
    labels: dict[str, str] = {}
    spec: TaskSpec = TaskSpec()
    service_id: str = ""
    slot: int = 0
    node_id: str = ""
    status: TaskStatus = TaskStatus()
    desired_state: TaskState = TaskState.RUNNING
    networks_attachments: list[NetworkAttachment] = []
    generic_resources: list[GenericResource] = []
    spec_version: int = 0
    """*Private.* The service's `spec_version` at creation."""
    service_name: str = ""
    """*Private.* Snapshot of the service's name and labels at creation."""
    service_labels: dict[str, str] = {}
    """*Private.*"""
    endpoint_spec: EndpointSpec | None = None
    """*Private.* Snapshot; a change of it makes the task dirty."""
    endpoint: Endpoint = Endpoint()
    """*Private.* The service's endpoint when the task was allocated: a worker learns its ports from it."""
    registry_auth: str = ""
    """*Private.*"""
    log_driver: Driver | None = None
    """*Private.* The task's own, else the cluster's default."""


# --- network ----------------------------------------------------------------------------------------------------------


class Network(Object, frozen=True):
    """A swarm network with what the allocator gave it."""

    spec: NetworkSpec = NetworkSpec()
    driver: str = "overlay"
    vxlan_id: int = 0
    ipam: IPAM = IPAM()


# --- cluster ----------------------------------------------------------------------------------------------------------


class JoinTokens(Struct, frozen=True):
    """What admits a node, per role."""

    worker: str = ""
    manager: str = ""


class RootCA(Struct, frozen=True):
    """*Private.* The swarm's root: certificate and key in PEM. The key is only ever in the store."""

    certificate: bytes = b""
    key: bytes = b""


class Cluster(Object, frozen=True):
    """The swarm itself; there is exactly one."""

    spec: ClusterSpec = ClusterSpec()
    tls_info: TLSInfo = TLSInfo()
    root_rotation_in_progress: bool = False
    data_path_port: int = 4789
    default_addr_pool: list[str] = field(default_factory=lambda: ["10.0.0.0/8"])
    subnet_size: int = 24
    join_tokens: JoinTokens = JoinTokens()
    """Printed by GET /swarm only."""
    root_ca: RootCA = RootCA()
    removed_nodes: dict[str, datetime] = {}
    """*Private.* Certificates (node id) that may not come back, until when."""


StoreObject = Cluster | Node | Service | Task | Network
"""Anything the store holds."""


def requirements(task: Task) -> ResourceRequirements:
    """What `task` asks of a node; empty when it asks nothing."""
    return task.spec.resources or ResourceRequirements()
