"""Short forms to long ones: after this every service of a file has one shape, whatever way it was written."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from shoal.model.swarm_spec import PROPAGATIONS
from shoal.stack.names import StackFault

Tree = dict[str, Any]
"""A mapping of the file."""


class Surroundings:
    """What the file's directory and the caller's environment contribute."""

    def __init__(self, directory: str, variables: Mapping[str, str], read: Callable[[str], str]) -> None:
        self.directory, self.variables, self.read = directory, variables, read

    def path(self, text: str) -> str:
        """A path of the file as an absolute one."""
        if text.startswith("~"):
            return os.path.expanduser(text)
        if re.match(r"/|\\\\|[a-zA-Z]:[\\/]", text):
            return text
        return os.path.normpath(os.path.join(self.directory, text))


def service(name: str, given: Tree, around: Surroundings) -> Tree:
    """The long form of the service `name`. Raises StackFault, OSError for an env_file that cannot be read."""
    result = dict(given)
    if given.get("deploy", {}) is None:
        result["deploy"] = {}
    for key in ("command", "entrypoint"):
        if isinstance(given.get(key), str):
            result[key] = _words(name, key, given[key])
    for key in ("dns", "dns_search", "tmpfs", "env_file"):
        if isinstance(given.get(key), str):
            result[key] = [given[key]]
    for key in ("labels", "sysctls"):
        if key in given:
            result[key] = pairs(given[key])
    if "labels" in (result.get("deploy") or {}):
        result["deploy"] = {**result["deploy"], "labels": pairs(result["deploy"]["labels"])}
    if "environment" in given or "env_file" in given:
        result["environment"] = _environment(result, around)
    if "extra_hosts" in given:
        result["extra_hosts"] = _hosts(given["extra_hosts"])
    if isinstance(given.get("networks"), list):
        result["networks"] = dict.fromkeys(given["networks"])
    if "ports" in given:
        result["ports"] = [port for entry in given["ports"] for port in ports(entry)]
    if "volumes" in given:
        result["volumes"] = [_volume(name, entry, around) for entry in given["volumes"]]
    if "healthcheck" in given and isinstance(given["healthcheck"].get("test"), str):
        result["healthcheck"] = {**given["healthcheck"], "test": ["CMD-SHELL", given["healthcheck"]["test"]]}
    if "options" in given.get("logging", {}):
        result["logging"] = {**given["logging"], "options": pairs(given["logging"]["options"])}
    return result


def _words(name: str, key: str, line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as fault:
        raise StackFault(f"services.{name}.{key}: {fault}") from fault


def scalar(value: object) -> str:
    """A value of the file as text: numbers as Go writes them, null as nothing."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value)


def pairs(given: Tree | list[str]) -> dict[str, str]:
    """A mapping, from a mapping or a list of `key=value`."""
    if isinstance(given, list):
        return {key: value for key, _, value in (entry.partition("=") for entry in given)}
    return {key: scalar(value) for key, value in given.items()}


def _environment(given: Tree, around: Surroundings) -> dict[str, str | None]:
    """`env_file`s below `environment`; a name alone takes the caller's value, None when there is none."""
    found: dict[str, str | None] = {}
    for path in given.get("env_file", []):
        for line in around.read(around.path(path)).splitlines():
            entry = line.strip().removeprefix("\ufeff")
            if entry and not entry.startswith("#"):
                _entry(found, entry, around)
    stated = given.get("environment") or {}
    if isinstance(stated, list):
        for entry in stated:
            _entry(found, entry, around)
    else:
        for key, value in stated.items():
            found[key] = around.variables.get(key) if value is None else scalar(value)
    return found


def _entry(found: dict[str, str | None], entry: str, around: Surroundings) -> None:
    key, equals, value = entry.partition("=")
    found[key] = value if equals else around.variables.get(key)


def _hosts(given: Tree | list[str]) -> list[str]:
    """`host:ip` each."""
    if isinstance(given, dict):
        return [f"{name}:{address}" for name, address in sorted(given.items())]
    return list(given)


_PORT = re.compile(
    r"(?:(?P<ip>\[[^\]]+\]|\d+(?:\.\d+){3}|[0-9a-fA-F:]*::[0-9a-fA-F:]*):)?(?:(?P<published>[\d-]*):)?(?P<target>[\d-]+)"
    r"(?:/(?P<protocol>\w+))?"
)


def ports(entry: int | str | Tree) -> list[Tree]:
    """Published ports of one entry, each with mode, target, published and protocol; `ip` where one was given."""
    if isinstance(entry, dict):
        whole = {"mode": "ingress", "protocol": "tcp", **entry}
        return [{key: whole[key] for key in ("mode", "target", "published", "protocol") if key in whole}]
    match = _PORT.fullmatch(str(entry))
    if not match:
        raise StackFault(f"invalid port: {entry}")
    first, last = _range(match["target"])
    start, end = _range(match["published"]) if match["published"] else (0, 0)
    if match["published"] and end - start != last - first and (last > first or start > end):
        raise StackFault(
            f"invalid ranges specified for container and host Ports: {match['target']} and {match['published']}"
        )
    found = []
    for offset in range(max(last - first, end - start) + 1):
        port: Tree = {"mode": "ingress", "target": min(first + offset, last)}
        if match["published"]:
            port["published"] = start + offset
        port["protocol"] = (match["protocol"] or "tcp").lower()
        if match["ip"]:
            port["ip"] = match["ip"].strip("[]")
        found.append(port)
    return found


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if first.isdigit() and (last or first).isdigit():
        low, high = int(first), int(last or first)
        if low <= high <= 65535:
            return low, high
    raise StackFault(f"invalid port range: {text}")


def _volume(name: str, entry: str | Tree, around: Surroundings) -> Tree:
    result = dict(entry) if isinstance(entry, dict) else _short_volume(name, entry)
    if result["type"] == "bind":
        if not result.get("source"):
            raise StackFault(
                f'services.{name}.volumes: invalid mount config for type "bind": field Source must not be empty'
            )
        result["source"] = around.path(result["source"])
    return result


def _short_volume(name: str, entry: str) -> Tree:
    """`[source:]target[:options]`."""
    parts = entry.split(":")
    if len(parts) > 2 and re.fullmatch(r"[a-zA-Z]", parts[0]) and parts[1][:1] in "\\/" and parts[2][:1] in "\\/":
        parts = [f"{parts[0]}:{parts[1]}", *parts[2:]]  # C:\path:/target
    if not all(parts) or len(parts) > 3:
        reason = "empty section between colons" if not all(parts) else "too many colons"
        raise StackFault(f"services.{name}.volumes: invalid spec: {entry}: {reason}")
    if len(parts) == 1:
        return {"type": "volume", "target": parts[0]}
    source, target = parts[0], parts[1]
    bind = source[0] in "./~\\" or bool(re.match(r"[a-zA-Z]:", source))
    result: Tree = {"type": "bind" if bind else "volume", "source": source, "target": target}
    options = parts[2].split(",") if len(parts) > 2 else []
    for option in sorted(options, key=lambda option: option not in ("ro", "rw")):
        if option in ("ro", "rw"):
            result["read_only"] = option == "ro"
        elif option == "nocopy":
            result["volume"] = {"nocopy": True}
        elif option in PROPAGATIONS:
            result["bind"] = {"propagation": option}
    return result


def resource(name: str, kind: str, given: Tree | None) -> Tree:
    """A top-level network or volume: `external` as a switch, the real name under `name`, labels as a mapping."""
    result = dict(given or {})
    external = result.get("external")
    if isinstance(external, dict):
        if external.get("name") and result.get("name"):
            raise StackFault(f"{kind} {name}: {kind}.external.name and {kind}.name conflict; only use {kind}.name")
        result["name"] = external.get("name") or result.get("name") or name
        result["external"] = True
    elif external:
        result.setdefault("name", name)
    else:
        result.pop("external", None)
    for key in ("labels", "driver_opts"):
        if key in result:
            result[key] = pairs(result[key])
    if result.get("external"):
        for key in result:
            if key not in ("external", "name") and not key.startswith("x-"):
                raise StackFault(f'conflicting parameters "external" and "{key}" specified for {kind} "{name}"')
    return result
