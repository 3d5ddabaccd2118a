"""Published ports: which number a service's port gets on every node, and who has a number already (as in SwarmKit)."""

from __future__ import annotations

from msgspec.structs import replace

from shoal.model.objects import Service
from shoal.model.swarm_spec import EndpointSpec, PortConfig

FIRST_DYNAMIC = 30000
LAST_DYNAMIC = 32767

Number = tuple[str, int]
"""Protocol and number."""


class PortBook:
    """Which service has which ingress port. Rebuilt from the view; idempotent per service."""

    def __init__(self) -> None:
        self._owners: dict[Number, Service] = {}
        self._held: dict[str, list[Number]] = {}

    def note_service(self, id: str, service: Service | None) -> None:
        """A service came, changed or went. Where two claim one port, the one that came first has it."""
        for number in self._held.pop(id, []):
            del self._owners[number]
        if service is None:
            return
        wanted = [(p.protocol, p.published_port) for p in service.endpoint.ports if p.publish_mode == "ingress"]
        mine = [number for number in wanted if number[1] and number not in self._owners]
        self._owners.update((number, service) for number in mine)
        if mine:
            self._held[id] = mine

    def owner(self, number: Number, but: str = "") -> Service | None:
        """The service other than `but` that has a port."""
        found = self._owners.get(number)
        return found if found is not None and found.id != but else None


def publish(service: Service, book: PortBook) -> tuple[list[PortConfig], str]:
    """The ports of `service` with numbers, and why that is impossible (then there are none).

    A port without a number keeps the one it got before as long as name, protocol and target stay the same.
    """
    spec = service.spec.endpoint_spec or EndpointSpec()
    before = {_target(port): port.published_port for port in service.endpoint.ports if port.publish_mode == "ingress"}
    mine = {(port.protocol, port.published_port) for port in spec.ports if port.publish_mode == "ingress"}
    ports = []
    for port in spec.ports:
        if port.publish_mode != "ingress":
            ports.append(port)
            continue
        number = (port.protocol, port.published_port)
        other = book.owner(number, service.id)
        if other is not None:
            return [], in_use(port.published_port, other, "an ingress port")
        if not port.published_port:
            number = _dynamic(port, before.get(_target(port), 0), mine, book, service.id)
            if not number[1]:
                return [], f"no published port between {FIRST_DYNAMIC} and {LAST_DYNAMIC} is free"
            mine.add(number)
        ports.append(replace(port, published_port=number[1]))
    return ports, ""


def _target(port: PortConfig) -> tuple[str, str, int]:
    return port.name, port.protocol, port.target_port


def in_use(number: int, owner: Service, how: str) -> str:
    """Docker's sentence for a port that is taken; `how` is `an ingress port` or `a host-published port`."""
    return f"port '{number}' is already in use by service '{owner.spec.name}' ({owner.id}) as {how}"


def _dynamic(port: PortConfig, before: int, mine: set[Number], book: PortBook, service_id: str) -> Number:
    for value in (before, *range(FIRST_DYNAMIC, LAST_DYNAMIC + 1)):
        number = (port.protocol, value)
        if value and number not in mine and book.owner(number, service_id) is None:
            return number
    return port.protocol, 0
