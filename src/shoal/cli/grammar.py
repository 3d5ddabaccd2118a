"""Values with a grammar of their own: ports, mounts, networks, ulimits, as the API's JSON.

Every function raises ValueError in docker's words.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable

from shoal.cli.words import Json
from shoal.kit.units import parse_bytes

_TRUE = {"", "1", "t", "true"}
_FALSE = {"0", "f", "false"}


def fields(text: str) -> list[tuple[str, str, bool]]:
    """`a=1,b,"c=x,y"` as (key, value, had a value)."""
    try:
        row = next(csv.reader([text], strict=True), [])
    except csv.Error as fault:
        raise ValueError('parse error on line 1: extraneous or missing " in quoted-field') from fault
    parts = [part.partition("=") for part in row]
    return [(key.strip().lower(), value, bool(equals)) for key, equals, value in parts]


def truth(value: str) -> bool | None:
    """A boolean as a mount option has it; None when it is not one."""
    lowered = value.lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else None


# --- ports ------------------------------------------------------------------------------------------------------------


def ports(text: str) -> list[Json]:
    """A service's `--publish`: `8080:80/udp`, `8080-8081:80-81` or `published=8080,target=80,protocol=tcp,...`."""
    if "=" in text:
        return [_long_port(text)]
    spec, slash, protocol = text.partition("/")
    protocol = (protocol if slash else "tcp").lower()
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid proto: {protocol}")
    published, _, target = spec.rpartition(":")
    if ":" in published:
        raise ValueError("hostip is not supported")
    first, last = port_range(target, "containerPort")
    start, end = port_range(published, "hostPort") if published else (0, 0)
    if published and last > first and end - start != last - first:
        raise ValueError(f"invalid ranges specified for container and host Ports: {target} and {published}")
    count = max(last - first, end - start) + 1
    return [_port(protocol, min(first + i, last), start + i if published else 0, "ingress") for i in range(count)]


def _port(protocol: str, target: int, published: int, mode: str) -> Json:
    port: Json = {"Protocol": protocol, "TargetPort": target, "PublishMode": mode}
    if published:
        port["PublishedPort"] = published
    return port


def port_range(text: str, what: str) -> tuple[int, int]:
    """`80` or `80-89`."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not match:
        raise ValueError(f"invalid {what}: {text}" if text else "no port specified: " + text + "<empty>")
    first, last = int(match.group(1)), int(match.group(2) or match.group(1))
    if not 0 <= first <= 65535 or not 0 <= last <= 65535 or last < first:
        raise ValueError(f"invalid {what}: {text}")
    return first, last


def _long_port(text: str) -> Json:
    protocol, target, published, mode = "tcp", 0, 0, "ingress"
    for key, value, _ in fields(text):
        match key:
            case "protocol":
                protocol = value.lower()
                if protocol not in ("tcp", "udp", "sctp"):
                    raise ValueError(f"invalid protocol value '{value}'")
            case "mode":
                mode = value.lower()
                if mode not in ("ingress", "host"):
                    raise ValueError(f"invalid publish mode value ({value}): must be either 'ingress' or 'host'")
            case "target":
                target = _port_number(key, value)
            case "published":
                published = _port_number(key, value)
            case _:
                raise ValueError(f"invalid field key {key}")
    if not target:
        raise ValueError("missing mandatory field 'target'")
    return _port(protocol, target, published, mode)


def _port_number(key: str, value: str) -> int:
    if not value.isdigit() or int(value) > 65535:
        raise ValueError(f"invalid {key} port ({value}): value must be an integer: invalid syntax")
    return int(value)


# --- mounts -----------------------------------------------------------------------------------------------------------

_BOOLEANS = {
    "readonly": ("ReadOnly",), "ro": ("ReadOnly",), "volume-nocopy": ("VolumeOptions", "NoCopy"),
    "bind-nonrecursive": ("BindOptions", "NonRecursive"), "bind-create-src": ("BindOptions", "CreateMountpoint"),
}  # fmt: skip
_TEXTS = {
    "type": ("Type",), "source": ("Source",), "src": ("Source",), "target": ("Target",), "dst": ("Target",),
    "destination": ("Target",), "consistency": ("Consistency",), "bind-propagation": ("BindOptions", "Propagation"),
    "volume-subpath": ("VolumeOptions", "Subpath"), "volume-driver": ("VolumeOptions", "DriverConfig", "Name"),
    "image-subpath": ("ImageOptions", "Subpath"),
}  # fmt: skip


def mount(text: str) -> Json:
    """`--mount type=bind,source=/a,target=/b,readonly`."""
    result: Json = {"Type": "volume"}
    for key, value, given in fields(text):
        if key in _BOOLEANS:
            on = truth(value)
            if on is None:
                raise ValueError(f"invalid value for {key}: {value}")
            _put(result, _BOOLEANS[key], on)
        elif not given:
            raise ValueError(f"invalid field '{key}' must be a key=value pair")
        elif key in _TEXTS:
            _put(result, _TEXTS[key], value.lower() if key in ("type", "bind-propagation") else value)
        else:
            _special(result, key, value)
    _check_mount(result)
    return result


def _special(result: Json, key: str, value: str) -> None:
    match key:
        case "bind-recursive":
            _recursive(result, value)
        case "volume-label" | "volume-opt":
            name, _, content = value.partition("=")
            place = (
                ("VolumeOptions", "Labels") if key == "volume-label" else ("VolumeOptions", "DriverConfig", "Options")
            )
            _put(result, (*place, name), content)
        case "tmpfs-size":
            _put(result, ("TmpfsOptions", "SizeBytes"), parse_bytes(value))
        case "tmpfs-mode":
            if not re.fullmatch("[0-7]+", value):
                raise ValueError(f"invalid value for {key}: {value}")
            _put(result, ("TmpfsOptions", "Mode"), int(value, 8))
        case _:
            raise ValueError(f"unexpected key '{key}' in '{key}={value}'")


def _recursive(result: Json, value: str) -> None:
    match value:
        case "enabled":
            pass
        case "disabled":
            _put(result, ("BindOptions", "NonRecursive"), True)
        case "writable":
            _put(result, ("BindOptions", "ReadOnlyNonRecursive"), True)
        case "readonly":
            _put(result, ("BindOptions", "ReadOnlyForceRecursive"), True)
        case _:
            raise ValueError(
                f'invalid value for bind-recursive: {value} (must be "enabled", "disabled", "writable", or "readonly")'
            )


def _put(result: Json, place: tuple[str, ...], value: object) -> None:
    for key in place[:-1]:
        result = result.setdefault(key, {})
    result[place[-1]] = value


def _check_mount(result: Json) -> None:
    kind = result["Type"]
    if not kind:
        raise ValueError("type is required")
    if not result.get("Target"):
        raise ValueError("target is required")
    for options, owner in (("VolumeOptions", "volume"), ("BindOptions", "bind"), ("TmpfsOptions", "tmpfs"),
                           ("ImageOptions", "image")):  # fmt: skip
        if result.get(options) and kind != owner:
            raise ValueError(f"cannot mix '{owner}-*' options with mount type '{kind}'")
    if result.get("BindOptions", {}).get("ReadOnlyForceRecursive") and not result.get("ReadOnly"):
        raise ValueError("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")


# --- networks, ulimits, preferences, resources ------------------------------------------------------------------------


def network(text: str) -> Json:
    """`--network net` or `--network name=net,alias=web,driver-opt=k=v,ip=...`."""
    if "=" not in text:
        return {"Target": text}
    result: Json = {}
    texts = {"name": "Target", "ip": "IPv4", "ip6": "IPv6", "mac-address": "Mac"}
    for key, value, given in fields(text):
        if not given:
            raise ValueError(f"invalid field {key}")
        if key in texts:
            result[texts[key]] = value
        elif key in ("alias", "link-local-ip"):
            result.setdefault("Aliases" if key == "alias" else "LinkLocal", []).append(value)
        elif key == "driver-opt":
            name, _, content = value.partition("=")
            result.setdefault("DriverOpts", {})[name] = content
        elif key == "gw-priority":
            result["GwPriority"] = int(value)
        else:
            raise ValueError(f"invalid field key {key}")
    return result


def ulimit(text: str) -> Json:
    """`nofile=1024:2048`, `nproc=64`."""
    name, equals, values = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    numbers = values.split(":")
    if len(numbers) > 2 or not all(re.fullmatch(r"-?\d+", number) for number in numbers):
        raise ValueError(
            f"invalid limit value - {values}"
            if len(numbers) <= 2
            else f"too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
        )
    soft, hard = int(numbers[0]), int(numbers[-1])
    if hard != -1 and soft > hard:
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"Name": name, "Soft": soft, "Hard": hard}


def preference(text: str) -> Json:
    """`spread=node.labels.zone`."""
    strategy, equals, descriptor = text.partition("=")
    if not equals:
        raise ValueError('placement preference must be of the format "<strategy>=<arg>"')
    if strategy != "spread":
        raise ValueError(f"unsupported placement preference {strategy} (only spread is supported)")
    return {"Spread": {"SpreadDescriptor": descriptor}}


def generic_resources(values: Iterable[str]) -> list[Json]:
    """`gpu=2` counts, `gpu=UUID1` names."""
    found: list[Json] = []
    for text in values:
        kind, _, value = text.partition("=")
        if not value.isdigit():
            raise ValueError(
                f"invalid generic-resource request `{text}`, Named Generic Resources is not supported for service "
                "create or update"
            )
        found.append({"DiscreteResourceSpec": {"Kind": kind, "Value": int(value)}})
    return found


def host(text: str) -> str:
    """`name:ip` or `name=ip` as the service API has it: `ip name`."""
    name, separator, address = text.partition("=") if "=" in text.partition(":")[0] else text.partition(":")
    if not separator or not name:
        raise ValueError(f'bad format for add-host: "{text}"')
    address = address.strip("[]")
    if address != "host-gateway" and not re.fullmatch(r"[\da-fA-F:.]+", address):
        raise ValueError(f'invalid IP address in add-host: "{address}"')
    return f"{address} {name}"


def capability(name: str) -> str:
    """`net_admin` -> `CAP_NET_ADMIN`; ALL stays."""
    upper = name.strip().upper()
    return upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"
