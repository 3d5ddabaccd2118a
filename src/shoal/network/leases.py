"""Which addresses of the local networks are taken. Nothing is stored: the sandboxes' records are the truth."""

from __future__ import annotations

from ipaddress import IPv4Address

from shoal.model.errors import InvalidArgument, PermissionDenied, ShoalError
from shoal.network.places import Place
from shoal.network.pools import next_address


class Leases:
    """Addresses by network, each with its owner (a container's id)."""

    def __init__(self) -> None:
        self._held: dict[str, dict[IPv4Address, str]] = {}
        self._last: dict[str, IPv4Address] = {}

    def choose(self, place: Place, asked: str, owner: str) -> IPv4Address:
        """Give `owner` the address it asks for, or the next free one.

        InvalidArgument for one that is not of this network, PermissionDenied (docker's 403) for one that is taken,
        ShoalError when there is none left.
        """
        held = self._held.setdefault(place.id, {})
        taken = held.keys() | place.reserved | ({IPv4Address(place.gateway)} if place.gateway else set())
        if asked:
            address = _parse(asked)
            if address not in place.subnet:
                raise InvalidArgument(
                    f"invalid endpoint settings:\nno configured subnet or ip-range contain the IP address {asked}"
                )
            if address in taken:
                raise PermissionDenied("Address already in use")
        else:
            found = next_address(place.subnet, taken, within=place.within, last=self._last.get(place.id))
            if found is None:
                raise ShoalError(
                    f"no available IPv4 addresses on this network's address pools: {place.name} ({place.id})"
                )
            address = self._last[place.id] = found
        held[address] = owner
        return address

    def hold(self, network_id: str, address: str, owner: str) -> None:
        """What `owner` has already, from its record."""
        self._held.setdefault(network_id, {})[IPv4Address(address)] = owner

    def release(self, owner: str, network_id: str = "") -> None:
        """Give back what `owner` has, on one network or on all. Idempotent."""
        for key, held in self._held.items():
            if key == network_id or not network_id:
                for address in [address for address, holder in held.items() if holder == owner]:
                    del held[address]


def _parse(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError as fault:
        raise InvalidArgument(f"invalid endpoint settings:\ninvalid IPv4 address: {text}") from fault
