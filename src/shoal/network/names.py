"""Which names there are on a network and what they mean. Pure.

A service's name (and each of its aliases) means its virtual address, or without one the addresses of its active
tasks; `tasks.<service>` always means the tasks; a container's name means that container. Every name is also known as
`<name>.<network>`. Records exist only while a task is active (as in swarm mode's service discovery).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from shoal.model.container import EndpointSettings
from shoal.model.netstate import NetworkSnapshot


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one network: lower-case name -> addresses, and address -> name."""

    network: str
    forward: dict[str, list[str]] = field(default_factory=dict)
    reverse: dict[str, str] = field(default_factory=dict)


def of_swarm(snapshot: NetworkSnapshot) -> Names:
    """The names on an overlay."""
    names = Names(snapshot.network.spec.name)
    active: dict[str, list[str]] = {}
    for endpoint in snapshot.endpoints:
        if endpoint.active:
            active.setdefault(endpoint.service_id, []).append(endpoint.address)
    by_service: set[str] = set()
    for service in snapshot.services:
        tasks = active.get(service.id, [])
        meaning = [service.vip] if service.vip else tasks
        for name in [service.name, *service.aliases]:
            by_service.add(name.lower())
            _add(names, name, meaning)
        _add(names, f"tasks.{service.name}", tasks)
        if service.vip:
            names.reverse[service.vip] = service.name
    for endpoint in snapshot.endpoints:
        if endpoint.active:
            for name in [endpoint.name, *endpoint.aliases]:
                if name.lower() not in by_service:
                    _add(names, name, [endpoint.address])
            names.reverse[endpoint.address] = endpoint.name
    return names


def of_local(network: str, endpoints: Iterable[EndpointSettings]) -> Names:
    """The names on a bridge of the user's."""
    names = Names(network)
    for endpoint in endpoints:
        for name in endpoint.dns_names:
            _add(names, name, [endpoint.ip_address])
        if endpoint.dns_names:
            names.reverse[endpoint.ip_address] = endpoint.dns_names[0]
    return names


def find(views: Sequence[Names], name: str) -> list[str] | None:
    """The addresses of `name` for somebody on these networks; None when it is not one of ours.

    An empty list: ours, but nobody answers to it at the moment.
    """
    wanted = name.rstrip(".").lower()
    for view in views:
        if wanted in view.forward:
            return view.forward[wanted]
    for view in views:
        short = wanted.removesuffix(f".{view.network.lower()}")
        if short != wanted and short in view.forward:
            return view.forward[short]
    return None


def find_reverse(views: Sequence[Names], address: str) -> str | None:
    """The name of `address`, `<name>.<network>`; None when it is not one of ours."""
    for view in views:
        if address in view.reverse:
            return f"{view.reverse[address]}.{view.network}"
    return None


def _add(names: Names, name: str, addresses: Iterable[str]) -> None:
    if name:
        known = names.forward.setdefault(name.lower(), [])
        known += [address for address in addresses if address not in known]
