"""Nodes on a LAN of network namespaces: killed, moved to other addresses, started again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.store.etcd_process import end_stray
from tests.system.etcd import addresses_known
from tests.system.network_lab import Lab, ip
from tests.waiting import until_sync

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]


class Refused(Exception):
    """A node answered with an error."""


class Host:
    """A namespace with one address and, while it is on, a node in a process of its own."""

    def __init__(self, lab: Lab, directory: Path, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.netns = lab.host(name, address)
        self.directory = directory / f"node-{name}"
        self._process: subprocess.Popen[str] | None = None

    def on(self) -> None:
        self._process = subprocess.Popen(
            ["nsenter", f"--net={self.netns}", sys.executable, "-m", "tests.system.node_daemon", self.directory, self.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, *command: Any) -> Any:
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    def move(self, address: str) -> None:
        """Take another address, the old one is gone."""
        ip("addr", "del", f"{self.address}/24", "dev", "eth0", netns=self.netns)
        ip("addr", "add", f"{address}/24", "dev", "eth0", netns=self.netns)
        self.address = address

    def init(self) -> None:
        self.ask("init", {"advertise_addr": self.address})

    def join(self, manager: Host, role: str) -> None:
        token = manager.ask("tokens")[role.capitalize()]
        self.ask("join", {"remote_addrs": [manager.address], "join_token": token})


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[list[Host]]:
    lab = Lab(tmp_path)
    hosts: list[Host] = []
    try:
        for number, name in enumerate(("one", "two", "three")):
            hosts.append(Host(lab, tmp_path, name, f"192.168.99.{101 + number}"))
        yield hosts
    finally:
        for host in hosts:
            host.kill()
            end_stray(host.directory / "etcd")
        lab.close()


def is_ready(manager: Host, host: Host) -> bool:
    return any(
        node["Description"].get("Hostname") == host.name
        and node["Status"]["State"] == "ready"
        and node["Status"]["Addr"] == host.address
        for node in manager.ask("nodes")
    )


def is_active(host: Host) -> bool:
    info = host.ask("info")
    return info["LocalNodeState"] == "active" and info["NodeAddr"] == host.address


def test_a_killed_manager_and_its_worker_find_each_other_at_new_addresses(lan: list[Host]) -> None:
    """Manager and worker are killed, both get other addresses, and the swarm is whole again by itself."""
    one, two, _ = lan
    one.on()
    two.on()
    one.init()
    two.join(one, "worker")
    until_sync(lambda: is_ready(one, two))
    one.kill()
    two.kill()
    one.move("192.168.99.111")
    two.move("192.168.99.112")
    one.on()
    two.on()
    until_sync(lambda: is_active(one))
    until_sync(lambda: is_ready(one, two))
    until_sync(lambda: is_active(two))


def test_a_manager_that_moves_while_it_runs_is_followed(lan: list[Host]) -> None:
    """The only manager's address changes under it: its worker, which kept its own, is told and comes back."""
    one, two, _ = lan
    one.on()
    two.on()
    one.init()
    two.join(one, "worker")
    one.move("192.168.99.121")
    until_sync(lambda: is_active(one))
    until_sync(lambda: is_ready(one, one))
    until_sync(lambda: is_ready(one, two))


def test_one_of_three_managers_moves(lan: list[Host]) -> None:
    """A manager that was killed and comes back at another address is a member again; the others never stopped."""
    one, two, three = lan
    for host in lan:
        host.on()
    one.init()
    two.join(one, "manager")
    three.join(one, "manager")
    until_sync(lambda: all(is_ready(one, host) for host in lan))
    until_sync(lambda: _reachable(one) == 3)
    three.kill()
    three.move("192.168.99.133")
    assert len(one.ask("nodes")) == 3
    three.on()
    until_sync(lambda: is_active(three))
    until_sync(lambda: is_ready(one, three))
    until_sync(lambda: _reachable(two) == 3)
    until_sync(lambda: f"{three.address}:2377" in [node["ManagerStatus"]["Addr"] for node in two.ask("nodes")])


@pytest.mark.parametrize(
    "rounds",
    [
        [("192.168.99.103", "192.168.99.142", "192.168.99.101")],
        [
            ("192.168.99.102", "192.168.99.103", "192.168.99.101"),
            ("192.168.99.103", "192.168.99.101", "192.168.99.102"),
        ],
    ],
    ids=["two-swap", "all-swap-twice"],
)
def test_all_managers_move_at_once(lan: list[Host], rounds: list[tuple[str, str, str]]) -> None:
    """Three managers are killed and come back where others were: they find each other and agree, also when they are
    killed again as soon as the first of them is back."""
    for host in lan:
        host.on()
    lan[0].init()
    for host in lan[1:]:
        host.join(lan[0], "manager")
    until_sync(lambda: _reachable(lan[0]) == 3)
    until_sync(lambda: all(addresses_known(host.directory / "etcd") == {one.address for one in lan} for host in lan))
    for addresses in rounds:
        for host in lan:
            host.kill()
        for host, address in zip(lan, addresses, strict=True):
            host.move(address)
        for host in lan:
            host.on()
        start = time.monotonic()
        until_sync(lambda: any(is_active(host) for host in lan), 120)
    until_sync(lambda: all(is_active(host) for host in lan), 120)
    until_sync(lambda: all(is_ready(one, host) for one in lan for host in lan))
    until_sync(lambda: all(_reachable(host) == 3 for host in lan))
    print(f"three managers agree again after {time.monotonic() - start:.1f} s")
    assert lan[0].ask("network", "after")
    until_sync(lambda: all(addresses_known(host.directory / "etcd") == {one.address for one in lan} for host in lan))


def test_the_killed_leader_is_succeeded_and_nothing_acknowledged_is_lost(lan: list[Host]) -> None:
    """The leader is killed with SIGKILL, its etcd with it; another leads, has every commit, and the dead one returns."""
    one, *others = lan
    for host in lan:
        host.on()
    one.init()
    for host in others:
        host.join(one, "manager")
    until_sync(lambda: _reachable(one) == 3)
    leader = next(host for host in lan if host.address == _leader(one))
    rest = [host for host in lan if host is not leader]
    made = [rest[0].ask("network", f"net{number}") and f"net{number}" for number in range(10)]
    leader.kill()
    start = time.monotonic()
    until_sync(lambda: _try(rest[0], "after"))
    print(f"writes again after {time.monotonic() - start:.2f} s")
    until_sync(lambda: _leader(rest[0]) in [host.address for host in rest])
    for host in rest:
        until_sync(lambda host=host: set(host.ask("networks")) >= {*made, "after"})
    leader.on()
    until_sync(lambda: is_active(leader))
    until_sync(lambda: _reachable(rest[1]) == 3)
    assert set(leader.ask("networks")) >= {*made, "after"}


def _leader(manager: Host) -> str:
    leaders = [node["ManagerStatus"] for node in manager.ask("nodes") if node.get("ManagerStatus", {}).get("Leader")]
    return leaders[0]["Addr"].rpartition(":")[0] if len(leaders) == 1 else ""


def _try(host: Host, name: str) -> bool:
    try:
        return bool(host.ask("network", name))
    except Refused as fault:
        return "already exists" in str(fault)


def _reachable(manager: Host) -> int:
    return sum(node.get("ManagerStatus", {}).get("Reachability") == "reachable" for node in manager.ask("nodes"))
