"""What `shoald` is told: dockerd's everyday flags, and the same as keys of a JSON file (`--config-file`)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shoal import __version__
from shoal.model.errors import InvalidArgument

DEFAULT_CONFIG = Path("/etc/shoal/daemon.json")
LEVELS = ("debug", "info", "warn", "error", "fatal")


@dataclass(frozen=True)
class Settings:
    """Everything that a daemon can be told."""

    hosts: list[str] = field(default_factory=lambda: ["unix:///var/run/docker.sock"])
    data_root: Path = Path("/var/lib/shoal")
    exec_root: Path = Path("/run/shoal")
    pidfile: Path = Path("/run/shoald.pid")
    config_file: Path = DEFAULT_CONFIG
    tls: bool = False
    tls_verify: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure_registries: list[str] = field(default_factory=list)
    registry_mirrors: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    cgroup_parent: str = "shoal"
    """The directory in every control group hierarchy below which containers get theirs."""
    log_driver: str = "json-file"
    log_options: dict[str, str] = field(default_factory=dict)
    log_level: str = "info"

    def absolute(self) -> Settings:
        """The same with every path absolute: as seen from the present directory."""
        paths: dict[str, Any] = {
            entry.name: value.absolute()
            for entry in fields(self)
            if isinstance(value := getattr(self, entry.name), Path)
        }
        return replace(self, **paths)


_LISTS = {
    "hosts": "hosts",
    "insecure_registries": "insecure-registries",
    "registry_mirrors": "registry-mirrors",
    "labels": "labels",
}
_PATHS = {
    "data_root": "data-root", "exec_root": "exec-root", "pidfile": "pidfile",
    "tls_ca": "tlscacert", "tls_cert": "tlscert", "tls_key": "tlskey",
}  # fmt: skip
_SWITCHES = {"tls": "tls", "tls_verify": "tlsverify", "debug": "debug"}
_WORDS = {"log_level": "log-level", "log_driver": "log-driver", "cgroup_parent": "cgroup-parent"}
_KEYS = {
    **_LISTS, **_PATHS, **_SWITCHES, **_WORDS, "log_options": "log-opts",
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The grammar of the command line."""
    top = argparse.ArgumentParser(
        prog="shoald",
        description="The Shoal daemon: runs containers on this machine and, in a swarm, takes part in it. It answers "
        "Docker's Engine API, so the docker command line and every other client of Docker can talk to it.",
        epilog="Stop it with SIGTERM: containers keep running, and the next start finds them again. "
        "`shoal doctor` tells what this machine lacks.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    add = top.add_argument
    add("-H", "--host", dest="hosts", action="append", metavar="ADDRESS",
        help="where to listen, may be given several times: unix:///path, tcp://address:port, fd:// "
        "(default unix:///var/run/docker.sock)")  # fmt: skip
    add("--data-root", metavar="DIR", help="images, containers, volumes and the swarm's state (default /var/lib/shoal)")
    add("--exec-root", metavar="DIR", help="sockets and state of running containers (default /run/shoal)")
    add("-p", "--pidfile", metavar="FILE", help="where to write the process id (default /run/shoald.pid)")
    add("--config-file", metavar="FILE", help=f"the same settings as JSON (default {DEFAULT_CONFIG})")
    tls = top.add_argument_group("TLS on tcp:// addresses")
    tls.add_argument("--tls", action="store_true", help="encrypt; everybody may connect (use --tlsverify instead)")
    tls.add_argument("--tlsverify", dest="tls_verify", action="store_true", help="encrypt, and demand a certificate "
        "that --tlscacert signed")  # fmt: skip
    tls.add_argument("--tlscacert", dest="tls_ca", metavar="FILE", help="CA of the clients (default ~/.docker/ca.pem)")
    tls.add_argument("--tlscert", dest="tls_cert", metavar="FILE", help="certificate (default ~/.docker/cert.pem)")
    tls.add_argument("--tlskey", dest="tls_key", metavar="FILE", help="its key (default ~/.docker/key.pem)")
    images = top.add_argument_group("registries")
    images.add_argument("--insecure-registry", dest="insecure_registries", action="append", metavar="HOST|CIDR",
        help="a registry with plain HTTP or an unknown certificate; loopback always is")  # fmt: skip
    images.add_argument("--registry-mirror", dest="registry_mirrors", action="append", metavar="URL",
        help="where to ask before Docker Hub")  # fmt: skip
    more = top.add_argument_group("the rest")
    more.add_argument("--label", dest="labels", action="append", metavar="KEY=VALUE",
        help="a label of this engine, for placement constraints (engine.labels.KEY)")  # fmt: skip
    more.add_argument("--log-driver", choices=("json-file", "local", "none"), metavar="NAME",
        help="of containers that do not say: json-file, local or none (default json-file)")  # fmt: skip
    more.add_argument("--log-opt", dest="log_options", action="append", metavar="KEY=VALUE", help="its options")
    more.add_argument(
        "--cgroup-parent", metavar="NAME", help="parent of all containers' control groups (default shoal)"
    )
    more.add_argument("-D", "--debug", action="store_true", help="log everything that is decided")
    more.add_argument("-l", "--log-level", choices=LEVELS, metavar="LEVEL", help=f"{', '.join(LEVELS)} (default info)")
    more.add_argument("-v", "--version", action="version", version=f"Shoal version {__version__}")
    return top


def parse(arguments: Sequence[str]) -> Settings:
    """The settings that `arguments` and the configuration file ask for.

    Raises InvalidArgument for a file that is wrong or says what a flag says too; exits as argparse does for a wrong
    flag.
    """
    flags = vars(parser().parse_args(arguments))
    if "log_options" in flags:
        flags["log_options"] = dict(_pairs(flags["log_options"]))
    explicit = "config_file" in flags
    path = Path(flags.pop("config_file", DEFAULT_CONFIG))
    filed = _read(path, explicit)
    both = sorted(_KEYS[name] for name in filed.keys() & flags.keys())
    if both:
        raise InvalidArgument(
            f"unable to configure the daemon with file {path}: the following directives are specified both as a flag "
            f"and in the configuration file: {', '.join(both)}"
        )
    return _settings(filed | flags, path)


def _settings(values: dict[str, Any], config_file: Path) -> Settings:
    if values.pop("debug", False):
        values["log_level"] = "debug"
    for name in _PATHS:
        if name in values:
            values[name] = Path(values[name]).expanduser()
    values.setdefault("tls", False)
    if values.get("tls_verify"):
        values["tls"] = True
    if values["tls"]:
        certificates = Path("~/.docker").expanduser()
        for name, file in (("tls_ca", "ca.pem"), ("tls_cert", "cert.pem"), ("tls_key", "key.pem")):
            values.setdefault(name, certificates / file)
    for label in values.get("labels", []):
        if "=" not in label or label.startswith("="):
            raise InvalidArgument(f"bad attribute format: {label}: a label is KEY=VALUE")
    for mirror in values.get("registry_mirrors", []):
        _check_mirror(mirror)
    return Settings(config_file=config_file, **values)


def _check_mirror(text: str) -> None:
    try:
        url = urlsplit(text)
        host = url.hostname
    except ValueError:
        url, host = urlsplit(""), None
    if url.scheme and url.scheme not in ("http", "https"):
        raise InvalidArgument(f'invalid mirror: unsupported scheme "{url.scheme}" in "{text}"')
    if not url.scheme or not host:
        raise InvalidArgument(f'invalid mirror: "{text}" is not a valid URI')
    if url.path not in ("", "/") or url.query or url.fragment:
        raise InvalidArgument(f'invalid mirror: path, query, or fragment at end of the URI "{text}"')
    if url.username is not None:
        raise InvalidArgument("invalid mirror: username/password not allowed in URI")


def _read(path: Path, explicit: bool) -> dict[str, Any]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        if explicit:
            raise InvalidArgument(f"unable to configure the daemon with file {path}: no such file") from None
        return {}
    except OSError as fault:
        raise InvalidArgument(f"unable to configure the daemon with file {path}: {fault.strerror}") from None
    try:
        raw = json.loads(text) if text.strip() else {}
    except ValueError as fault:
        raise InvalidArgument(f"unable to configure the daemon with file {path}: invalid JSON: {fault}") from None
    if not isinstance(raw, dict):
        raise InvalidArgument(f"unable to configure the daemon with file {path}: it must hold a JSON object")
    return {name: _checked(path, key, raw[key]) for name, key in _known(path, raw)}


def _known(path: Path, raw: dict[str, Any]) -> list[tuple[str, str]]:
    names = {key: name for name, key in _KEYS.items()}
    unknown = sorted(raw.keys() - names.keys())
    if unknown:
        raise InvalidArgument(
            f"unable to configure the daemon with file {path}: the following directives don't match any configuration "
            f"option: {', '.join(unknown)}"
        )
    return [(names[key], key) for key in raw]


def _checked(path: Path, key: str, value: Any) -> Any:
    if key == "log-opts":
        return {name: str(item) for name, item in _typed(path, key, value, dict).items()}
    if key in _LISTS.values():
        return [_typed(path, key, item, str) for item in _typed(path, key, value, list)]
    checked = _typed(path, key, value, bool if key in _SWITCHES.values() else str)
    if key == "log-level" and checked not in LEVELS:
        raise InvalidArgument(f"invalid logging level: {checked}")
    return checked


def _typed(path: Path, key: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise InvalidArgument(
            f"unable to configure the daemon with file {path}: {key} must be a {kind.__name__}, not {json.dumps(value)}"
        )
    return value


def _pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidArgument(f"invalid option {text!r}: must be KEY=VALUE")
        pairs.append((key, value))
    return pairs
