"""What a container asks for, what it gets, and the files it sees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shoal.kit.ids import SeededIds
from shoal.model.container import EndpointIPAM, EndpointSettings, PortBinding
from shoal.model.engine import LocalNetwork
from shoal.model.errors import InvalidArgument, PermissionDenied, ShoalError, Unimplemented
from shoal.model.swarm_spec import IPAM, IPAMConfig
from shoal.network import files, places, plan
from shoal.network.kernel.namespaces import Namespace
from shoal.network.leases import Leases
from shoal.network.ports import HostPort, HostPorts, parse_port, parse_range
from shoal.network.sandbox import PublishedBinding, SandboxRequest

ID = "c" * 64


def request(**options: object) -> SandboxRequest:
    return SandboxRequest(container_id=ID, name="box", hostname="box", **options)  # type: ignore[arg-type]


def bridge(name: str = "mine", subnet: str = "10.5.0.0/24") -> places.Place:
    pool = IPAMConfig(subnet=subnet, gateway=subnet.replace("0/24", "1"))
    return places.of_local(LocalNetwork(id=f"{name}-id", name=name, ipam=IPAM(config=[pool])))


def test_networks_wanted() -> None:
    """The mode counts where no network is named, and beside those that are named."""
    ends = {"a": EndpointSettings()}
    assert list(plan.wanted(request())) == ["bridge"]
    assert list(plan.wanted(request(network_mode="default"))) == ["bridge"]
    assert list(plan.wanted(request(endpoints=ends))) == ["a"]
    assert list(plan.wanted(request(network_mode="a", endpoints=ends))) == ["a"]
    assert list(plan.wanted(request(network_mode="b", endpoints=ends))) == ["b", "a"]


def test_attachment() -> None:
    """An interface has the next free name and address, a MAC made of the address, and names by which it is found."""
    leases, ids = Leases(), SeededIds()
    first = plan.attach(request(), bridge(), EndpointSettings(aliases=["db"]), present=[], leases=leases, ids=ids)
    second = plan.attach(request(), bridge("two"), EndpointSettings(), present=[first], leases=leases, ids=ids)
    assert (first.interface, second.interface) == ("eth0", "eth1")
    assert first.settings.ip_address == "10.5.0.2"
    assert first.settings.mac_address == "02:42:0a:05:00:02"
    assert first.settings.dns_names == ["box", "db", ID[:12]]
    assert len(first.host_interface) <= 15


def test_overlay_needs_an_address_from_the_manager() -> None:
    """On an overlay only the manager gives out addresses."""
    place = places.Place("id", "web", "overlay", "ov", bridge().subnet)
    task = request(managed=True)
    with pytest.raises(ShoalError, match="attaching to network failed"):
        plan.attach(task, place, EndpointSettings(), present=[], leases=Leases(), ids=SeededIds())
    asked = EndpointSettings(ipam_config=EndpointIPAM(ipv4_address="10.5.0.9/24"))
    got = plan.attach(task, place, asked, present=[], leases=Leases(), ids=SeededIds())
    assert (got.settings.ip_address, got.settings.ip_prefix_len, got.settings.gateway) == ("10.5.0.9", 24, "")


@pytest.mark.parametrize("address", ["", "10.5.0.9"])
def test_only_tasks_are_on_overlays(address: str) -> None:
    """A container that is no task is refused, whatever address it asks for: that could be a task's."""
    asked = EndpointSettings(ipam_config=EndpointIPAM(ipv4_address=address) if address else None)
    place = places.Place("id", "web", "overlay", "ov", bridge().subnet)
    with pytest.raises(PermissionDenied) as caught:
        plan.attach(request(), place, asked, present=[], leases=Leases(), ids=SeededIds())
    assert str(caught.value) == (
        "Could not attach to network web: rpc error: code = PermissionDenied desc = network web not manually attachable"
    )
    with pytest.raises(Unimplemented, match="joining an attachable overlay network from docker run is not supported"):
        plan.attach(
            request(), replace(place, attachable=True), asked, present=[], leases=Leases(), ids=SeededIds()
        )  # fmt: skip


def test_addresses_are_given_back() -> None:
    """A released address may be asked for again, and is not the next one given."""
    leases, place = Leases(), bridge()
    assert str(leases.choose(place, "", "a")) == "10.5.0.2"
    leases.release("a")
    assert str(leases.choose(place, "", "b")) == "10.5.0.3"
    assert str(leases.choose(place, "10.5.0.2", "c")) == "10.5.0.2"


def test_clashes() -> None:
    """A port on all addresses clashes with the same port on one; other protocols and addresses do not."""
    assert HostPort("tcp", "", 80).clashes(HostPort("tcp", "10.0.0.1", 80))
    assert not HostPort("tcp", "10.0.0.2", 80).clashes(HostPort("tcp", "10.0.0.1", 80))
    assert not HostPort("tcp", "", 80).clashes(HostPort("udp", "", 80))


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "80/icmp", "-1"])
def test_wrong_ports_are_refused(text: str) -> None:
    """A port that is none is refused as the user's mistake."""
    with pytest.raises(InvalidArgument):
        parse_port(text)


@pytest.mark.parametrize("address", ["x", "1.2.3", "1.2.3.4.5", "fd00::1"])
def test_a_wrong_host_address_is_refused(address: str) -> None:
    """Before any port is taken."""
    asked = request(port_bindings={"80/tcp": [PortBinding(host_ip=address, host_port="8080")]})
    with pytest.raises(InvalidArgument, match="invalid host IP address"):
        plan.publish(asked, HostPorts(Namespace(-1)), "endpoint")


def test_port_ranges() -> None:
    """A range of host ports is inclusive."""
    assert list(parse_range("8000-8002")) == [8000, 8001, 8002]
    with pytest.raises(InvalidArgument):
        parse_range("9-8")


def test_shown_ports() -> None:
    """What is exposed but not published is shown with nothing."""
    binding = PublishedBinding(protocol="tcp", host_ip="", host_port=8080, container_port=80)
    shown = plan.shown_ports(request(exposed_ports=["80/tcp", "81/tcp"]), [binding])
    assert shown == {"80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")], "81/tcp": []}


HOST = "# made by hand\nnameserver 127.0.0.53\nnameserver 10.1.1.1\nsearch example.org lan\noptions timeout:1\n"


def test_resolv_conf() -> None:
    """A container sees the host's servers but loopback ones, or only our resolver; asked-for values win."""
    assert files.resolv_conf(request(), HOST, resolver=False) == (
        "nameserver 10.1.1.1\nsearch example.org lan\noptions timeout:1\n"
    )
    assert files.resolv_conf(request(), HOST, resolver=True) == (
        "nameserver 127.0.0.11\nsearch example.org lan\noptions timeout:1 ndots:0\n"
    )
    asked = request(dns=["9.9.9.9"], dns_search=["."], dns_options=["ndots:2"])
    assert files.resolv_conf(asked, HOST, resolver=False) == "nameserver 9.9.9.9\noptions ndots:2\n"


def test_hosts() -> None:
    """/etc/hosts has what was asked for and the container's own names."""
    text = files.hosts(
        request(extra_hosts=["db=10.1.1.1", "me:host-gateway"], domainname="lan"), ["10.5.0.2"], "10.5.0.1"
    )
    assert text.startswith("127.0.0.1\tlocalhost\n")
    assert text.endswith("10.1.1.1\tdb\n10.5.0.1\tme\n10.5.0.2\tbox.lan\tbox\n")
