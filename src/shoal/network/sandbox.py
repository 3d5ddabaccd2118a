"""What is asked for a container's network and what it gets; and the record from which a sandbox is found again."""

from __future__ import annotations

from shoal.model.base import Struct
from shoal.model.container import EndpointSettings, PortBinding
from shoal.network.ports import HostPort


class SandboxRequest(Struct, frozen=True):
    """A container that is about to start.

    `network_mode` is `bridge` (or `default`, or empty), `host`, `none`, `container:<id>` or a network's name or id;
    `endpoints` are by network name or id, and come first in this order.
    """

    container_id: str
    name: str = ""
    hostname: str = ""
    domainname: str = ""
    network_mode: str = "bridge"
    endpoints: dict[str, EndpointSettings] = {}
    port_bindings: dict[str, list[PortBinding]] = {}
    exposed_ports: list[str] = []
    """`80/tcp`; published on free ports with `publish_all`."""
    publish_all: bool = False
    dns: list[str] = []
    dns_options: list[str] = []
    dns_search: list[str] = []
    managed: bool = False
    """Of a swarm's task: only such a container may be on overlays, at addresses that a manager chose for it."""
    extra_hosts: list[str] = []
    """`name:address`; the address `host-gateway` stands for this node."""


class Sandbox(Struct, frozen=True):
    """A container's network, ready. `netns` is the path of its namespace, empty for the host's."""

    netns: str
    endpoints: dict[str, EndpointSettings] = {}
    """By network name."""
    ports: dict[str, list[PortBinding]] = {}
    """What is published: `80/tcp` -> host addresses; an empty list: exposed only."""
    resolv_conf: str = ""
    hosts: str = ""


class Attachment(Struct, frozen=True):
    """One interface of a sandbox."""

    network_id: str
    network_name: str
    kind: str
    """`bridge`; `overlay`; `gateway`: the local bridge through which overlay containers reach the outside."""
    interface: str
    host_interface: str
    settings: EndpointSettings
    internal: bool = False


class PublishedBinding(Struct, frozen=True):
    """A host port that a sandbox holds."""

    protocol: str
    host_ip: str
    host_port: int
    container_port: int

    @property
    def host(self) -> HostPort:
        """The port of the host."""
        return HostPort(self.protocol, self.host_ip, self.host_port)


class SandboxRecord(Struct, frozen=True):
    """A sandbox on disk: enough to serve it again after the daemon was killed."""

    request: SandboxRequest
    netns: str
    attachments: list[Attachment] = []
    bindings: list[PublishedBinding] = []

    @property
    def id(self) -> str:
        """The container's id."""
        return self.request.container_id

    def on(self, network_id: str) -> Attachment | None:
        """Its interface on a network."""
        return next((item for item in self.attachments if item.network_id == network_id), None)

    @property
    def outward(self) -> Attachment | None:
        """The interface that has the default route: the first local bridge that is not internal."""
        return next((item for item in self.attachments if item.kind != "overlay" and not item.internal), None)

    @property
    def has_names(self) -> bool:
        """Whether our resolver serves it: on any network but the default bridge."""
        return any(item.kind != "gateway" and item.network_name != "bridge" for item in self.attachments)
