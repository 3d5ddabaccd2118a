"""The node's decisions: addresses, what leaving means, managers' records, certificates that are found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.agent.remotes import Remote
from shoal.model.errors import InvalidArgument
from shoal.model.objects import ManagerStatus, Node
from shoal.model.swarm_spec import NodeSpec
from shoal.node.addresses import Addresses, InterfaceAddress, interfaces, join_host, moved, remote, resolve
from shoal.node.departure import warning
from shoal.node.info import SwarmInfo, swarm_header
from shoal.node.state import DockerState, StateDirectory
from shoal.node.watching import statuses
from shoal.store.codec import new_store_keys
from shoal.store.etcd_client import Member
from shoal.store.view import View

ETH0 = InterfaceAddress("eth0", "10.0.0.1")
SECOND = InterfaceAddress("eth0", "10.0.0.2")
ETH1 = InterfaceAddress("eth1", "10.1.0.1")
V6 = InterfaceAddress("eth0", "fd00::1")


def test_one_address_is_advertised_by_itself() -> None:
    """A machine with one address advertises it, IPv4 before IPv6, on port 2377."""
    found = resolve("0.0.0.0:2377", "", "", [ETH0, V6])
    assert found == Addresses("0.0.0.0", "10.0.0.1", interface="eth0")
    assert resolve("", "", "", [V6]).advertise == "fd00::1"


@pytest.mark.parametrize(
    ("system", "words"),
    [
        ([ETH0, SECOND], "multiple addresses on interface eth0 (10.0.0.1 and 10.0.0.2)"),
        ([ETH0, ETH1], "multiple addresses on different interfaces (10.0.0.1 on eth0 and 10.1.0.1 on eth1)"),
    ],
)
def test_several_addresses_must_be_chosen_from(system: list[InterfaceAddress], words: str) -> None:
    """With several addresses docker's question comes, without --advertise-addr."""
    with pytest.raises(InvalidArgument) as caught:
        resolve("", "", "", system)
    assert caught.value.message == f"could not choose an IP address to advertise since this system has {words}"
    assert resolve("", "eth1:4000" if ETH1 in system else "10.0.0.2:4000", "", system).advertise_port == 4000


@pytest.mark.parametrize(
    ("listen", "advertise", "words"),
    [
        ("", "0.0.0.0", "advertise address must be a non-zero IP address or network interface (with optional port number)"),
        ("", "nosuch0", "advertise address must be a non-zero IP address or network interface (with optional port number)"),
        ("nosuch0", "", "listen address must be an IP address or network interface (with optional port number)"),
        ("0.0.0.0:99999", "", "listen address must be an IP address or network interface (with optional port number)"),
        ("", "eth0", "interface eth0 has more than one IPv4 address (10.0.0.1 and 10.0.0.2)"),
    ],
)  # fmt: skip
def test_wrong_addresses_get_dockers_words(listen: str, advertise: str, words: str) -> None:
    """What is no address or interface is refused as docker does."""
    with pytest.raises(InvalidArgument) as caught:
        resolve(listen, advertise, "", [ETH0, SECOND])
    assert caught.value.message == words


def test_addresses_behind_nat_and_of_interfaces() -> None:
    """An address that is not this machine's is taken as it is and never changed; an interface stands for its own."""
    nat = resolve("", "203.0.113.1:9999", "", [ETH0])
    assert (nat.advertise, nat.advertise_port, nat.interface) == ("203.0.113.1", 9999, "")
    assert moved(nat, [ETH1]) == "203.0.113.1"
    by_interface = resolve("eth1", "", "eth0", [ETH0, ETH1])
    assert (by_interface.listen, by_interface.advertise, by_interface.data_path) == ("10.1.0.1", "10.1.0.1", "10.0.0.1")


def test_a_moved_machine_advertises_its_new_address() -> None:
    """When the advertised address is gone, the same interface's new one is taken, else the only one there is."""
    known = Addresses("0.0.0.0", "10.0.0.1", interface="eth0")
    assert moved(known, [ETH0, SECOND]) == "10.0.0.1"
    assert moved(known, [SECOND, ETH1]) == "10.0.0.2"
    assert moved(known, [ETH1]) == "10.1.0.1"
    assert moved(known, [ETH1, InterfaceAddress("eth2", "10.2.0.1")]) == "10.0.0.1"
    assert moved(known, []) == "10.0.0.1"
    assert moved(known, [V6]) == "10.0.0.1"


@pytest.mark.parametrize(
    ("text", "result"),
    [("10.0.0.1", "10.0.0.1:2377"), ("h:1", "h:1"), ("[::1]:5", "[::1]:5"), ("::1", "[::1]:2377")],
)
def test_remote_addresses_get_the_default_port(text: str, result: str) -> None:
    """A manager's address without a port means 2377."""
    assert remote(text) == result


def test_this_machines_addresses_are_found() -> None:
    """Loopback is not among the machine's addresses, and each has an interface."""
    assert all(one.interface != "lo" and one.address for one in interfaces())
    assert join_host("::1", 5) == "[::1]:5"


def manager(number: int, *, reachable: bool = True, leader: bool = False) -> Node:
    status = ManagerStatus(
        leader=leader, reachability="reachable" if reachable else "unreachable", addr=f"10.0.0.{number}:2377"
    )
    return Node(id=f"n{number}", spec=NodeSpec(role="manager"), role="manager", manager_status=status, member_id=number)


@pytest.mark.parametrize(
    ("managers", "words"),
    [
        ([manager(1)], "Removing the last manager erases all current state of the swarm."),
        ([manager(1), manager(2)], "Removing this node leaves 1 managers out of 2."),
        ([manager(1), manager(2), manager(3, reachable=False)], "Removing this node leaves 1 managers out of 3."),
        ([manager(1), manager(2), manager(3)], "Doing so may lose the consensus of your cluster."),
        (None, "Doing so may lose the consensus of your cluster."),
    ],
)
def test_what_leaving_does_is_said(managers: list[Node] | None, words: str) -> None:
    """A manager that wants to leave reads what that does to the swarm."""
    assert warning(View(managers) if managers is not None else None).startswith(words)


def test_the_leaders_records_of_managers() -> None:
    """The leader marks itself, tells who answers, and clears who is no member any more."""
    nodes = [manager(1), manager(2, leader=True), manager(3), manager(4)]
    members = [Member(id, f"n{id}", (), False) for id in (1, 2, 3)]
    answers = {"10.0.0.2:2377": True, "10.0.0.3:2377": False}
    changed = {node.id: node for node in statuses(View(nodes), nodes, members, ("n1", "10.9.9.9:2377"), answers)}
    assert changed["n1"].manager_status == ManagerStatus(leader=True, reachability="reachable", addr="10.9.9.9:2377")
    assert changed["n2"].manager_status == ManagerStatus(reachability="reachable", addr="10.0.0.2:2377")
    assert changed["n3"].manager_status == ManagerStatus(reachability="unreachable", addr="10.0.0.3:2377")
    assert (changed["n4"].manager_status, changed["n4"].member_id) == (None, 0)


def test_the_state_on_disk_is_private_and_goes(tmp_path: Path) -> None:
    """State, managers and keys come back as saved, for this user only, and are gone after a wipe."""
    state = StateDirectory(tmp_path)
    assert (state.load(), state.load_managers(), state.load_keys()) == (None, [], None)
    saved = DockerState(listen_addr="0.0.0.0:2377", join_token="secret", join_in_progress=True)
    keys, managers = new_store_keys(), [Remote(node_id="n", addr="a:1", weight=7)]
    state.save(saved)
    state.save_managers(managers)
    state.save_keys(keys)
    assert (state.load(), state.load_managers(), state.load_keys()) == (saved, managers, keys)
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*"))
    state.wipe()
    assert list(tmp_path.iterdir()) == []


def test_the_swarm_header() -> None:
    """`/_ping` says inactive, active/worker or active/manager."""
    assert swarm_header(SwarmInfo()) == "inactive"
    assert swarm_header(SwarmInfo(local_node_state="active")) == "active/worker"
    assert swarm_header(SwarmInfo(local_node_state="active", control_available=True)) == "active/manager"
