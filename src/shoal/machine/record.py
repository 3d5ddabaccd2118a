"""What is known of a machine: the content of its config.json, in docker-machine's shape (ConfigVersion 3)."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from shoal.machine.migrate import VERSION as CONFIG_VERSION
from shoal.machine.migrate import migrated
from shoal.model.base import known

_NAMES = {
    "selinux_enabled": "SelinuxEnabled",
    "tls_verify": "TlsVerify",
    "install_url": "InstallURL",
    "server_cert_sans": "ServerCertSANs",
    "graph_dir": "GraphDir",
}


def _go(name: str) -> str:
    return _NAMES.get(name, "".join(word.capitalize() for word in name.split("_")))


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename=_go):
    """A part of config.json: every key is written, as docker-machine does."""


class EngineOptions(_Part, frozen=True):
    """How the engine was asked to be set up at `create`."""

    arbitrary_flags: list[str] = []
    dns: list[str] | None = None
    graph_dir: str = ""
    env: list[str] = []
    ipv6: bool = False
    insecure_registry: list[str] = []
    labels: list[str] = []
    log_level: str = ""
    storage_driver: str = ""
    selinux_enabled: bool = False
    tls_verify: bool = True
    registry_mirror: list[str] = []
    install_url: str = ""


class SwarmOptions(_Part, frozen=True):
    """Classic Swarm (before swarm mode): kept for old files, without effect."""

    is_swarm: bool = False
    address: str = ""
    discovery: str = ""
    agent: bool = False
    master: bool = False
    host: str = "tcp://0.0.0.0:3376"
    image: str = "swarm:latest"
    strategy: str = "spread"
    heartbeat: int = 0
    overcommit: float = 0
    arbitrary_flags: list[str] | None = []
    arbitrary_join_flags: list[str] | None = []
    env: list[str] | None = None
    is_experimental: bool = False


class AuthOptions(_Part, frozen=True):
    """Where the machine's certificates lie: absolute paths."""

    cert_dir: str = ""
    ca_cert_path: str = ""
    ca_private_key_path: str = ""
    ca_cert_remote_path: str = ""
    server_cert_path: str = ""
    server_key_path: str = ""
    client_key_path: str = ""
    server_cert_remote_path: str = ""
    server_key_remote_path: str = ""
    client_cert_path: str = ""
    server_cert_sans: list[str] | None = []
    store_path: str = ""


class HostOptions(_Part, frozen=True):
    """Everything about a machine that its driver does not decide."""

    driver: str = ""
    memory: int = 0
    disk: int = 0
    engine_options: EngineOptions = EngineOptions()
    swarm_options: SwarmOptions | None = SwarmOptions()
    auth_options: AuthOptions | None = AuthOptions()


class Record(_Part, frozen=True):
    """One machine. `driver` is the driver's own data: whoever does not know the driver keeps it as it is."""

    config_version: int = CONFIG_VERSION
    driver: dict[str, Any] = {}
    driver_name: str = ""
    host_options: HostOptions = HostOptions()
    name: str = ""


_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.-]{0,62}")


def valid_name(name: str) -> bool:
    """Whether `name` can be a machine's: letters, digits, `-` and `.`, first a letter or digit, 63 at most."""
    return _NAME.fullmatch(name) is not None


def parse_record(data: bytes) -> Record:
    """The record in a config.json of any version. Raises ValueError (msgspec's) when it is not one."""
    raw = msgspec.json.decode(data)
    if not isinstance(raw, dict):
        raise ValueError("config.json is not an object")
    raw = migrated(raw)
    # What is null has its default; in the driver's own data it stays what it is.
    return msgspec.convert({**_without_nulls(raw), "Driver": raw["Driver"]}, known(Record))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def render_record(record: Record) -> bytes:
    """`record` as config.json, indented by four as docker-machine writes it."""
    return msgspec.json.format(msgspec.json.encode(record), indent=4) + b"\n"
