"""Images, volumes, local networks, events and registry credentials, as the Engine API has them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import field

from shoal.model.base import ZERO_TIME, Full, Struct
from shoal.model.container import ContainerConfig
from shoal.model.swarm_spec import IPAM


class Image(Full, frozen=True):
    """An image in the local store."""

    id: str
    """`sha256:` and the digest of its config."""
    repo_tags: list[str] = []
    """Familiar names, `redis:7` (see `reference.familiar`)."""
    repo_digests: list[str] = []
    created: datetime = ZERO_TIME
    author: str = ""
    comment: str = ""
    config: ContainerConfig = ContainerConfig()
    architecture: str = ""
    variant: str = ""
    os: str = field(name="Os", default="linux")
    size: int = 0
    layers: list[str] = []
    """diff ids, lowest first."""
    history: list[dict[str, Any]] = []
    last_tagged: datetime = ZERO_TIME


class AuthConfig(Struct, frozen=True, rename="lower"):
    """Registry credentials: X-Registry-Auth is base64url of this as JSON."""

    username: str = ""
    password: str = ""
    auth: str = ""
    email: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class Volume(Full, frozen=True):
    """A local volume."""

    name: str
    driver: str = "local"
    mountpoint: str = ""
    created_at: datetime = ZERO_TIME
    labels: dict[str, str] = {}
    scope: str = "local"
    options: dict[str, str] = {}


class LocalNetwork(Full, frozen=True):
    """A network of this engine only: bridge, host, none, and users' bridges."""

    id: str
    name: str
    created: datetime = ZERO_TIME
    driver: str = "bridge"
    scope: str = "local"
    enable_ipv6: bool = False
    ipam: IPAM = IPAM()
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class Actor(Full, frozen=True):
    """Whom an event is about."""

    id: str
    attributes: dict[str, str] = {}


class Event(Full, frozen=True):
    """Something happened. `type` is container, image, volume, network, node, service, daemon, ..."""

    type: str
    action: str
    actor: Actor
    scope: str = field(name="scope", default="local")
    moment: datetime = ZERO_TIME
