"""Ports of a plain container: `-p [ip:][hostport:]port[/protocol]`, `--expose`, and how listings show them."""

from __future__ import annotations

import ipaddress

from shoal.cli.grammar import port_range
from shoal.cli.words import Json


def exposed(values: list[str]) -> list[str]:
    """`80/tcp` for each port in `--expose`. Raises ValueError."""
    found: list[str] = []
    for text in values:
        spec, _, protocol = text.partition("/")
        try:
            first, last = port_range(spec, "containerPort")
        except ValueError:
            fault = f'strconv.ParseUint: parsing "{spec}": invalid syntax'
            raise ValueError(f"invalid range format for --expose: {text}, error: {fault}") from None
        found += [f"{port}/{protocol or 'tcp'}" for port in range(first, last + 1)]
    return found


def bindings(values: list[str]) -> dict[str, list[Json]]:
    """PortBindings of `--publish`. Raises ValueError in docker's words."""
    found: dict[str, list[Json]] = {}
    for text in values:
        for port, binding in _binding(text):
            found.setdefault(port, []).append(binding)
    return found


def _binding(text: str) -> list[tuple[str, Json]]:
    spec, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid proto: {protocol}")
    rest, colon, target = spec.rpartition(":")
    address, published = "", ""
    if colon:
        address, _, published = rest.rpartition(":")
    if not target:
        raise ValueError(f"no port specified: {text}<empty>")
    address = address.strip("[]")
    if address:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise ValueError(f"invalid IP address: {address}") from None
    first, last = port_range(target, "containerPort")
    start, end = port_range(published, "hostPort") if published else (0, 0)
    if published and last > first and end - start != last - first:
        raise ValueError(f"invalid ranges specified for container and host Ports: {target} and {published}")
    if last == first:
        return [(f"{first}/{protocol}", {"HostIp": address, "HostPort": published})]
    return [
        (f"{first + i}/{protocol}", {"HostIp": address, "HostPort": str(start + i) if published else ""})
        for i in range(last - first + 1)
    ]


def text_of(ports: list[Json]) -> str:
    """Ports as `ps` shows them: `53/udp, 443-444/tcp, 0.0.0.0:8080->80/tcp`."""
    groups: dict[tuple[str, str], list[int]] = {}
    done: list[str] = []
    mapped: list[str] = []
    for port in sorted(ports, key=_order):
        private, address, kind = port["PrivatePort"], port.get("IP", ""), port.get("Type", "tcp")
        if address and port.get("PublicPort") != private:
            mapped.append(f"{_host(address)}:{port.get('PublicPort', 0)}->{private}/{kind}")
            continue
        group = groups.setdefault((address, kind), [private, private])
        if private == group[1] + 1:
            group[1] = private
        elif private != group[1]:
            done.append(_group(address, kind, group))
            groups[(address, kind)] = [private, private]
    return ", ".join([*done, *(_group(address, kind, group) for (address, kind), group in groups.items()), *mapped])


def _order(port: Json) -> tuple[int, str, int, str]:
    return port["PrivatePort"], port.get("IP", ""), port.get("PublicPort") or 0, port.get("Type", "tcp")


def _group(address: str, kind: str, group: list[int]) -> str:
    numbers = str(group[0]) if group[0] == group[1] else f"{group[0]}-{group[1]}"
    return f"{_host(address)}:{numbers}->{numbers}/{kind}" if address else f"{numbers}/{kind}"


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
