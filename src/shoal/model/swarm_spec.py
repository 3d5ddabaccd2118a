"""What the user asks of the swarm: specs, as the Engine API's JSON has them (Docker Engine API 1.41-1.50).

None of these is ever edited by the system: resolved facts stand beside them, in `objects`. Absent (`None`) differs
from zero where the API says so (`UpdateConfig.Parallelism`, restart delays).
"""

from __future__ import annotations

from typing import Any

from msgspec import field

from shoal.model.base import Int32, Natural, Struct, UInt32
from shoal.model.privileges import Privileges


class Driver(Struct, frozen=True):
    """A named driver with its options: logging, IPAM, network."""

    name: str = ""
    options: dict[str, str] = {}


PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
"""What `Mount.BindOptions.propagation` may say, beside nothing."""


class Mount(Struct, frozen=True):
    """One mount of a container or of a service's task."""

    class BindOptions(Struct, frozen=True):
        """Options of a bind mount."""

        propagation: str = ""
        non_recursive: bool = False
        create_mountpoint: bool = False
        read_only_non_recursive: bool = False
        read_only_force_recursive: bool = False

    class VolumeOptions(Struct, frozen=True):
        """Options of a volume mount."""

        no_copy: bool = False
        labels: dict[str, str] = {}
        driver_config: Driver | None = None
        subpath: str = ""

    class TmpfsOptions(Struct, frozen=True):
        """Options of a tmpfs mount: size in bytes, octal mode as an integer."""

        size_bytes: int = 0
        mode: UInt32 = 0
        options: list[list[str]] = []

    type: str = "volume"
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class HealthConfig(Struct, frozen=True):
    """A health check; durations in nanoseconds, 0 means inherit or default. `test` is [], ["NONE"], ["CMD", ...] or
    ["CMD-SHELL", text]."""

    test: list[str] = []
    interval: int = 0
    timeout: int = 0
    retries: Int32 = 0
    start_period: int = 0
    start_interval: int = 0


class DNSConfig(Struct, frozen=True):
    """A container's own resolver settings."""

    nameservers: list[str] = []
    search: list[str] = []
    options: list[str] = []


class Ulimit(Struct, frozen=True):
    """One resource limit of a process."""

    name: str = ""
    hard: int = 0
    soft: int = 0


class ContainerSpec(Struct, frozen=True):
    """The container that each task of a service runs."""

    image: str = ""
    labels: dict[str, str] = {}
    command: list[str] = []
    args: list[str] = []
    hostname: str = ""
    env: list[str] = []
    dir: str = ""
    user: str = ""
    groups: list[str] = []
    privileges: Privileges | None = None
    init: bool | None = None
    stop_signal: str = ""
    tty: bool = False
    open_stdin: bool = False
    read_only: bool = False
    mounts: list[Mount] = []
    stop_grace_period: int | None = None
    healthcheck: HealthConfig | None = None
    hosts: list[str] = []
    dns_config: DNSConfig | None = None
    secrets: list[dict[str, Any]] = []
    configs: list[dict[str, Any]] = []
    isolation: str = ""
    sysctls: dict[str, str] = {}
    capability_add: list[str] = []
    capability_drop: list[str] = []
    ulimits: list[Ulimit] = []
    oom_score_adj: int = 0


class GenericResource(Struct, frozen=True):
    """A countable or a named resource of a node (`gpu=2`, `gpu=UUID1`)."""

    class Discrete(Struct, frozen=True):
        """So many of a kind."""

        kind: str = ""
        value: int = 0

    class Named(Struct, frozen=True):
        """One particular thing of a kind."""

        kind: str = ""
        value: str = ""

    discrete_resource_spec: Discrete | None = None
    named_resource_spec: Named | None = None


class Resources(Struct, frozen=True):
    """CPU in billionths of a core, memory in bytes; 0 means none asked."""

    nano_cpus: int = 0
    memory_bytes: int = 0
    generic_resources: list[GenericResource] = []


class Limit(Struct, frozen=True):
    """What a task may use at most."""

    nano_cpus: int = 0
    memory_bytes: int = 0
    pids: int = 0


class ResourceRequirements(Struct, frozen=True):
    """Limits become cgroup limits; reservations decide where a task fits."""

    limits: Limit | None = None
    reservations: Resources | None = None
    swap_bytes: int | None = None
    memory_swappiness: int | None = None


class RestartPolicy(Struct, frozen=True):
    """When a task that ended is replaced. Nanoseconds; `None` means the default (any, 5 s, unlimited, no window)."""

    condition: str = ""
    delay: int | None = None
    max_attempts: Natural | None = None
    window: int | None = None


class SpreadOver(Struct, frozen=True):
    """`node.labels.X` or `engine.labels.X`: the label over whose values tasks are spread."""

    spread_descriptor: str = ""


class PlacementPreference(Struct, frozen=True):
    """One level of the spread tree."""

    spread: SpreadOver | None = None


class Platform(Struct, frozen=True):
    """An architecture and an operating system; empty matches any."""

    architecture: str = ""
    os: str = ""


class Placement(Struct, frozen=True):
    """Which nodes may run a task, and which are preferred."""

    constraints: list[str] = []
    preferences: list[PlacementPreference] = []
    max_replicas: Natural = 0
    platforms: list[Platform] = []


class NetworkAttachmentConfig(Struct, frozen=True):
    """A network of a service: id or name, extra DNS names, driver options."""

    target: str = ""
    aliases: list[str] = []
    driver_opts: dict[str, str] = {}


class TaskSpec(Struct, frozen=True):
    """Everything a task needs to know to run."""

    container_spec: ContainerSpec | None = None
    resources: ResourceRequirements | None = None
    restart_policy: RestartPolicy | None = None
    placement: Placement | None = None
    networks: list[NetworkAttachmentConfig] = []
    log_driver: Driver | None = None
    force_update: Natural = 0
    runtime: str = ""


class ReplicatedService(Struct, frozen=True):
    """So many tasks, wherever they fit."""

    replicas: int | None = None


class ReplicatedJob(Struct, frozen=True):
    """So many completions, so many at once."""

    max_concurrent: int | None = None
    total_completions: int | None = None


class Empty(Struct, frozen=True):
    """A mode without settings."""


class ServiceMode(Struct, frozen=True):
    """Exactly one is set; none means replicated with one replica."""

    replicated: ReplicatedService | None = None
    global_: Empty | None = field(name="Global", default=None)
    replicated_job: ReplicatedJob | None = None
    global_job: Empty | None = None


class UpdateConfig(Struct, frozen=True):
    """How tasks are replaced. `parallelism` 0 is all at once; durations in nanoseconds; `monitor` 0 is 5 s."""

    parallelism: int = 0
    delay: int = 0
    failure_action: str = ""
    monitor: int = 0
    max_failure_ratio: float = 0.0
    order: str = ""


class PortConfig(Struct, frozen=True):
    """One published port. `published_port` 0 means: choose one."""

    name: str = ""
    protocol: str = "tcp"
    target_port: int = 0
    published_port: int = 0
    publish_mode: str = "ingress"


class EndpointSpec(Struct, frozen=True):
    """How a service is reached: a virtual address (`vip`) or round-robin names (`dnsrr`), and its ports."""

    mode: str = ""
    ports: list[PortConfig] = []


class ServiceSpec(Struct, frozen=True):
    """A service, as the user wants it."""

    name: str = ""
    labels: dict[str, str] = {}
    task_template: TaskSpec = TaskSpec()
    mode: ServiceMode = ServiceMode()
    update_config: UpdateConfig | None = None
    rollback_config: UpdateConfig | None = None
    networks: list[NetworkAttachmentConfig] = []
    endpoint_spec: EndpointSpec | None = None


class NodeSpec(Struct, frozen=True):
    """A node, as the user wants it."""

    name: str = ""
    labels: dict[str, str] = {}
    role: str = "worker"
    availability: str = "active"


class IPAMConfig(Struct, frozen=True):
    """One address pool, in CIDR notation."""

    subnet: str = ""
    ip_range: str = field(name="IPRange", default="")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = {}


class IPAM(Struct, frozen=True):
    """How a network's addresses are given out."""

    driver: str = "default"
    options: dict[str, str] = {}
    config: list[IPAMConfig] = []


class ConfigReference(Struct, frozen=True):
    """The network (one that only holds a configuration) that another takes its settings from."""

    network: str = ""


class NetworkSpec(Struct, frozen=True):
    """A network, as the user wants it (the body of POST /networks/create)."""

    name: str = ""
    labels: dict[str, str] = {}
    driver: str = ""
    scope: str = ""
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    ipam: IPAM | None = None
    options: dict[str, str] = {}
    config_only: bool = False
    config_from: ConfigReference = ConfigReference()

    @property
    def encrypted(self) -> bool:
        """Whether traffic between nodes is to be encrypted: the option is there, whatever it says but no."""
        return self.options.get("encrypted", "false").lower() not in ("false", "0", "f")


class OrchestrationConfig(Struct, frozen=True):
    """How many ended tasks are kept per slot; None is 5, negative keeps all."""

    task_history_retention_limit: int | None = None


class RaftConfig(Struct, frozen=True):
    """Settings of docker's own raft, kept and shown for clients that set them; etcd has its own."""

    snapshot_interval: int = 10000
    keep_old_snapshots: int = 0
    log_entries_for_slow_followers: int = 500
    election_tick: int = 10
    heartbeat_tick: int = 1


class DispatcherConfig(Struct, frozen=True):
    """Heartbeat period of the agents, nanoseconds; 0 is 5 s."""

    heartbeat_period: int = 0


class ExternalCA(Struct, frozen=True):
    """A signing service of the user's own."""

    protocol: str = ""
    url: str = ""
    options: dict[str, str] = {}
    ca_cert: str = field(name="CACert", default="")


class CAConfig(Struct, frozen=True):
    """Node certificates: validity in nanoseconds (0 is 90 days), own CA, forced rotation."""

    node_cert_expiry: int = 0
    external_cas: list[ExternalCA] = []
    signing_ca_cert: str = field(name="SigningCACert", default="")
    signing_ca_key: str = field(name="SigningCAKey", default="")
    force_rotate: int = 0


class EncryptionConfig(Struct, frozen=True):
    """Whether managers need a key after a restart."""

    auto_lock_managers: bool = False


class TaskDefaults(Struct, frozen=True):
    """What a task gets when its service does not say."""

    log_driver: Driver | None = None


class ClusterSpec(Struct, frozen=True):
    """The swarm's own settings (`docker swarm update`)."""

    name: str = "default"
    labels: dict[str, str] = {}
    orchestration: OrchestrationConfig = OrchestrationConfig()
    raft: RaftConfig = RaftConfig()
    dispatcher: DispatcherConfig = DispatcherConfig()
    ca_config: CAConfig = CAConfig()
    encryption_config: EncryptionConfig = EncryptionConfig()
    task_defaults: TaskDefaults = TaskDefaults()
