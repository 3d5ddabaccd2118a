"""Several Compose files as one: later ones override, mappings merge, lists grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shoal.stack.shorthand import Tree

_REPLACED = {"command", "entrypoint", "test"}
"""Lists that make sense only as a whole."""


def files(base: Tree, override: Tree) -> Tree:
    """Two whole files in long form."""
    result = {**base, **override}
    services = {**base["services"]}
    for name, service in override["services"].items():
        services[name] = _service(services[name], service) if name in services else service
    result["services"] = services
    for section in ("networks", "volumes"):
        result[section] = {**base[section], **override[section]}
    return result


def _service(base: Tree, override: Tree) -> Tree:
    result = _mapping(base, override)
    if "ports" in base and "ports" in override:
        result["ports"] = _keyed(base["ports"], override["ports"], _port_key)
    if "volumes" in base and "volumes" in override:
        result["volumes"] = _keyed(base["volumes"], override["volumes"], lambda volume: volume["target"])
    drivers = [logging.get("driver") for logging in (base.get("logging", {}), override.get("logging", {}))]
    if all(drivers) and drivers[0] != drivers[1]:
        result["logging"] = override["logging"]  # options of another driver mean nothing to this one
    if "networks" in base and "networks" in override:
        result["networks"] = {**base["networks"], **override["networks"]}
    for key in ("ulimits",):
        if key in base and key in override:
            result[key] = {**base[key], **override[key]}
    return result


def _port_key(port: Tree) -> tuple[Any, ...]:
    return (port.get("published", 0), port["target"] if not port.get("published") else 0, port.get("protocol", "tcp"))


def _keyed(base: list[Tree], override: list[Tree], key: Callable[[Tree], Any]) -> list[Tree]:
    merged = {key(item): item for item in [*base, *override]}
    return [merged[name] for name in sorted(merged)]


def _mapping(base: Tree, override: Tree) -> Tree:
    result = dict(base)
    for key, value in override.items():
        old = base.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = _mapping(old, value)
        elif isinstance(old, list) and isinstance(value, list) and key not in _REPLACED:
            result[key] = [*old, *(item for item in value if item not in old)]
        else:
            result[key] = value
    return result
