"""A loaded tree to specs: networks to create, networks that must exist, services. Pure."""

from __future__ import annotations

from typing import NamedTuple

from shoal.model.swarm_spec import IPAM, IPAMConfig, NetworkSpec, ServiceSpec
from shoal.stack.convert_service import service_spec
from shoal.stack.names import LABEL_NAMESPACE, StackFault, scoped
from shoal.stack.shorthand import Tree

_PREDEFINED = ("bridge", "host", "none", "nat")
"""External networks that need no look whether they are there."""


class Desired(NamedTuple):
    """What a stack should be. Services are by their full names, in order."""

    networks: list[NetworkSpec]
    external_networks: list[str]
    services: dict[str, ServiceSpec]


def convert(stack: str, tree: Tree) -> Desired:
    """What `tree` asks for as the stack called `stack`. Raises StackFault naming the service and what is wrong."""
    for name, service in tree["services"].items():
        if not service.get("image"):
            raise StackFault(f"invalid image reference for service {name}: no image specified")
    networks, external = _networks(stack, tree)
    services = {
        scoped(stack, name): service_spec(stack, name, tree["services"][name], tree)
        for name in sorted(tree["services"])
    }
    return Desired(networks, external, services)


def used_networks(tree: Tree) -> list[str]:
    """The networks that services are on; `default` for a service that names none."""
    return sorted({name for service in tree["services"].values() for name in service.get("networks") or ["default"]})


def _networks(stack: str, tree: Tree) -> tuple[list[NetworkSpec], list[str]]:
    """Only networks that services use are made; the implicit `default` need not be declared."""
    made: list[NetworkSpec] = []
    external: list[str] = []
    for name in used_networks(tree):
        declared = tree["networks"].get(name)
        if declared is None and name != "default":
            continue  # the service that uses it says so, by its name
        network = declared or {}
        if network.get("external"):
            if network["name"] not in _PREDEFINED:
                external.append(network["name"])
            continue
        made.append(_network(stack, name, network))
    return made, sorted(external)


def _network(stack: str, name: str, network: Tree) -> NetworkSpec:
    ipam = network.get("ipam") or {}
    return NetworkSpec(
        name=network.get("name") or scoped(stack, name),
        labels={**network.get("labels", {}), LABEL_NAMESPACE: stack},
        driver=network.get("driver") or "overlay",
        internal=network.get("internal", False),
        attachable=network.get("attachable", False),
        options=network.get("driver_opts", {}),
        ipam=IPAM(
            driver=ipam.get("driver") or "default",
            config=[IPAMConfig(subnet=pool["subnet"]) for pool in ipam.get("config", []) if pool.get("subnet")],
        )
        if ipam
        else None,
    )
