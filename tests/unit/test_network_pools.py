"""Addresses and subnets."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.model.errors import InvalidArgument, PermissionDenied, ShoalError
from shoal.model.swarm_spec import IPAM, IPAMConfig
from shoal.network.pools import LOCAL_POOLS, complete, next_address, next_subnet

SUBNET = IPv4Network("10.9.8.0/28")
hosts = st.sampled_from(list(SUBNET.hosts()))


@given(taken=st.frozensets(hosts), last=st.none() | hosts)
def test_next_address_is_free_and_a_host(taken: frozenset[IPv4Address], last: IPv4Address | None) -> None:
    """What is given out is a free host address, and None comes only when all are taken."""
    found = next_address(SUBNET, taken, last=last)
    if found is None:
        assert taken == set(SUBNET.hosts())
    else:
        assert found in set(SUBNET.hosts()) - taken


@given(last=hosts)
def test_addresses_go_round(last: IPv4Address) -> None:
    """An address that was given back is not the next one: the search goes on after the last."""
    found = next_address(SUBNET, set(), last=last)
    assert found == (last + 1 if last + 1 in set(SUBNET.hosts()) else next(SUBNET.hosts()))


def test_every_address_of_a_range_is_used_once() -> None:
    """A range inside the subnet is used up completely, and nothing outside it."""
    within = IPv4Network("10.9.8.8/30")
    taken: set[IPv4Address] = set()
    while (found := next_address(SUBNET, taken, within=within)) is not None:
        taken.add(found)
    assert taken == set(within)


def test_tiny_subnets() -> None:
    """A /31 and a /32 have no network address to spare."""
    assert next_address(IPv4Network("10.0.0.4/31"), set()) == IPv4Address("10.0.0.4")
    assert next_address(IPv4Network("10.0.0.4/32"), {IPv4Address("10.0.0.4")}) is None


@given(st.sets(st.sampled_from(LOCAL_POOLS)))
def test_next_subnet_overlaps_nothing(taken: set[IPv4Network]) -> None:
    """A default pool overlaps no subnet that is in use; docker's words come when there is none."""
    if taken == set(LOCAL_POOLS):
        with pytest.raises(ShoalError, match="non-overlapping IPv4 address pool"):
            next_subnet(taken)
    else:
        assert next_subnet(taken) not in taken


def test_order_of_the_default_pools() -> None:
    """172.17-31.0.0/16 first, then 192.168.0.0/20 and its neighbours."""
    texts = [str(pool) for pool in LOCAL_POOLS]
    assert texts[:2] == ["172.17.0.0/16", "172.18.0.0/16"]
    assert texts[15:17] == ["192.168.0.0/20", "192.168.16.0/20"]
    assert len(texts) == 31


def asking(**config: str) -> IPAM:
    return IPAM(config=[IPAMConfig(**config)])  # type: ignore[arg-type]


def test_gateway_is_the_first_address() -> None:
    """Without a gateway of the user's, the first address of the range or subnet is it."""
    assert complete(asking(subnet="10.1.0.0/16"), [], []).config[0].gateway == "10.1.0.1"
    ranged = complete(asking(subnet="10.1.0.0/16", ip_range="10.1.4.0/24"), [], []).config[0]
    assert (ranged.gateway, ranged.ip_range) == ("10.1.4.0", "10.1.4.0/24")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"subnet": "nonsense"}, "invalid subnet nonsense: invalid CIDR block notation"),
        ({"subnet": "10.1.2.3/16"}, "invalid subnet 10.1.2.3/16: it should be 10.1.0.0/16"),
        ({"subnet": "10.1.0.0/16", "gateway": "10.2.0.1"}, "invalid gateway 10.2.0.1: parent subnet is 10.1.0.0/16"),
        ({"subnet": "10.1.0.0/16", "ip_range": "10.2.0.0/24"}, "invalid ip-range 10.2.0.0/24: parent subnet is"),
        ({"subnet": "fd00::/64"}, "IPv6 is not supported"),
    ],
)
def test_wrong_pools_are_named(config: dict[str, str], words: str) -> None:
    """A wrong subnet, gateway or range is refused by name."""
    with pytest.raises(InvalidArgument, match=words):
        complete(asking(**config), [], [])


def test_overlapping_pool_is_forbidden() -> None:
    """A subnet that overlaps another network's is docker's 403."""
    with pytest.raises(PermissionDenied, match="Pool overlaps with other one on this address space"):
        complete(asking(subnet="10.1.0.0/16"), [IPv4Network("10.0.0.0/8")], [])
