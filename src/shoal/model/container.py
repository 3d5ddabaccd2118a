"""Containers as the Engine API has them: what is asked (`ContainerConfig`, `HostConfig`) and what is (`Container`).

Field names and meanings: Docker Engine API 1.50, ContainerCreate and ContainerInspect.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import field

from shoal.model.base import ZERO_TIME, Full, Struct
from shoal.model.swarm_spec import HealthConfig, Mount, Ulimit


class ContainerConfig(Full, frozen=True):
    """What is portable about a container; an image's `Config` has the same shape."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, Any] = {}
    tty: bool = field(name="Tty", default=False)
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] = []
    cmd: list[str] | str = []
    healthcheck: HealthConfig | None = None
    image: str = ""
    volumes: dict[str, Any] = {}
    working_dir: str = ""
    entrypoint: list[str] | str | None = None
    labels: dict[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] = []
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] = []


class PortBinding(Full, frozen=True):
    """Where a container's port appears on the host; an empty `host_port` means: choose one."""

    host_ip: str = field(name="HostIp", default="")
    host_port: str = ""


class ContainerRestartPolicy(Full, frozen=True):
    """`no`, `always`, `unless-stopped` or `on-failure` with an optional maximum."""

    name: str = ""
    maximum_retry_count: int = 0


class LogConfig(Full, frozen=True):
    """The log driver of a container."""

    type: str = ""
    config: dict[str, str] = {}


class DeviceMapping(Full, frozen=True):
    """A device of the host inside the container."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = "rwm"


class DeviceRequest(Full, frozen=True):
    """Devices by what they can do (`--gpus`), for a driver to choose."""

    driver: str = ""
    count: int = 0
    device_ids: list[str] = field(name="DeviceIDs", default_factory=list)
    capabilities: list[list[str]] = []
    options: dict[str, str] = {}


class WeightDevice(Full, frozen=True):
    """A container's share of one disk."""

    path: str
    weight: int = 0


class ThrottleDevice(Full, frozen=True):
    """How fast a container may use one disk: bytes or operations per second."""

    path: str
    rate: int = 0


class HostConfig(Full, frozen=True):
    """What binds a container to this host. Bytes, nanoseconds, billionths of a core."""

    binds: list[str] = []
    mounts: list[Mount] = []
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding]] = {}
    publish_all_ports: bool = False
    restart_policy: ContainerRestartPolicy = ContainerRestartPolicy()
    auto_remove: bool = False
    log_config: LogConfig = LogConfig()
    volume_driver: str = ""
    volumes_from: list[str] = []
    cap_add: list[str] = []
    cap_drop: list[str] = []
    dns: list[str] = field(name="Dns", default_factory=list)
    dns_options: list[str] = field(name="DnsOptions", default_factory=list)
    dns_search: list[str] = field(name="DnsSearch", default_factory=list)
    extra_hosts: list[str] = []
    group_add: list[str] = []
    ipc_mode: str = ""
    pid_mode: str = field(name="PidMode", default="")
    uts_mode: str = field(name="UTSMode", default="")
    userns_mode: str = ""
    cgroupns_mode: str = ""
    cgroup_parent: str = ""
    privileged: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] = []
    storage_opt: dict[str, str] = {}
    tmpfs: dict[str, str] = {}
    shm_size: int = 0
    sysctls: dict[str, str] = {}
    runtime: str = ""
    isolation: str = ""
    init: bool | None = None
    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    memory_swappiness: int | None = None
    nano_cpus: int = field(name="NanoCpus", default=0)
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = field(name="CpusetCpus", default="")
    cpuset_mems: str = ""
    pids_limit: int | None = field(name="PidsLimit", default=None)
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] = []
    blkio_device_read_bps: list[ThrottleDevice] = []
    blkio_device_write_bps: list[ThrottleDevice] = []
    blkio_device_read_iops: list[ThrottleDevice] = field(name="BlkioDeviceReadIOps", default_factory=list)
    blkio_device_write_iops: list[ThrottleDevice] = field(name="BlkioDeviceWriteIOps", default_factory=list)
    oom_kill_disable: bool = False
    oom_score_adj: int = 0
    ulimits: list[Ulimit] = []
    devices: list[DeviceMapping] = []
    device_cgroup_rules: list[str] = []
    """`c 10:200 rwm`: device files that the container may make and use, by number."""
    device_requests: list[DeviceRequest] = []
    annotations: dict[str, str] = {}
    """Handed to the OCI runtime."""
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    links: list[str] = []


class EndpointIPAM(Struct, frozen=True):
    """Addresses that the user wants on a network."""

    ipv4_address: str = field(name="IPv4Address", default="")
    ipv6_address: str = field(name="IPv6Address", default="")
    link_local_ips: list[str] = field(name="LinkLocalIPs", default_factory=list)


class EndpointSettings(Full, frozen=True):
    """A container on one network: what was asked and what it got."""

    ipam_config: EndpointIPAM | None = field(name="IPAMConfig", default=None)
    links: list[str] = []
    aliases: list[str] = []
    mac_address: str = ""
    driver_opts: dict[str, str] = {}
    network_id: str = ""
    endpoint_id: str = ""
    gateway: str = ""
    ip_address: str = field(name="IPAddress", default="")
    ip_prefix_len: int = 0
    ipv6_gateway: str = ""
    global_ipv6_address: str = ""
    global_ipv6_prefix_len: int = 0
    dns_names: list[str] = []


class NetworkingConfig(Struct, frozen=True):
    """The networks that a new container joins, by name or id."""

    endpoints_config: dict[str, EndpointSettings] = {}


class HealthResult(Full, frozen=True):
    """One run of the health check."""

    start: datetime = ZERO_TIME
    end: datetime = ZERO_TIME
    exit_code: int = 0
    output: str = ""


class Health(Full, frozen=True):
    """`starting`, `healthy`, `unhealthy` or `none`, and the last five results."""

    status: str = "none"
    failing_streak: int = 0
    log: list[HealthResult] = []


class ContainerState(Full, frozen=True):
    """What a container is doing."""

    status: str = "created"
    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = field(name="OOMKilled", default=False)
    dead: bool = False
    pid: int = field(name="Pid", default=0)
    exit_code: int = 0
    error: str = ""
    started_at: datetime = ZERO_TIME
    finished_at: datetime = ZERO_TIME
    health: Health | None = None


class MountPoint(Full, frozen=True):
    """A mount as `inspect` shows it."""

    type: str = ""
    name: str = ""
    source: str = ""
    destination: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = field(name="RW", default=True)
    propagation: str = ""


class CreateContainer(ContainerConfig, frozen=True):
    """The body of POST /containers/create: the config with the host's and the networks' parts in it."""

    host_config: HostConfig = HostConfig()
    networking_config: NetworkingConfig = NetworkingConfig()


class Container(Full, frozen=True):
    """A container as the engine keeps it on disk. `api.present` adds what `inspect` prints besides."""

    id: str
    name: str
    created: datetime
    image_id: str
    """`sha256:...` of the image's config."""
    config: ContainerConfig
    host_config: HostConfig
    state: ContainerState = ContainerState()
    path: str = ""
    args: list[str] = []
    mounts: list[MountPoint] = []
    networks: dict[str, EndpointSettings] = {}
    ports: dict[str, list[PortBinding]] = {}
    """What is really published: `80/tcp` -> bindings."""
    restart_count: int = 0
    log_path: str = ""
    stopped_by_user: bool = False
    layers: list[str] = []
    """The image's layer chain, lowest first, as `engine.layers` names it."""
