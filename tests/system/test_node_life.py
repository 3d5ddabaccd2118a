"""The life of nodes: init, join, leave, promote, demote, restart, leaders that fail; with real etcd and real TLS."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from shoal.ca.issue import peer_name
from shoal.model.errors import ALREADY_IN_SWARM, NOT_A_MANAGER, NOT_IN_SWARM, InvalidArgument, ShoalError, Unavailable
from shoal.model.objects import Node as NodeObject
from shoal.model.swarm_spec import NetworkSpec
from shoal.node.node import Node
from tests.system.nodes import Machine, record
from tests.waiting import until

pytestmark = pytest.mark.system


class Lab:
    """Machines that are switched on and off."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.machines: dict[str, Machine] = {}
        self._stacks: dict[str, AsyncExitStack] = {}

    async def on(self, name: str) -> Machine:
        machine = self.machines.setdefault(name, Machine(self.directory, name))
        stack = self._stacks[name] = AsyncExitStack()
        await stack.enter_async_context(machine.on())
        return machine

    async def off(self, name: str) -> None:
        await self._stacks.pop(name).aclose()

    async def close(self) -> None:
        for name in list(self._stacks):
            await self.off(name)

    async def manager(self, name: str, of: Machine) -> Machine:
        machine = await self.on(name)
        await machine.join(of, control(of).cluster().join_tokens.manager)
        return machine

    async def worker(self, name: str, of: Machine) -> Machine:
        machine = await self.on(name)
        await machine.join(of, control(of).cluster().join_tokens.worker)
        return machine


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    laboratory = Lab(tmp_path)
    try:
        yield laboratory
    finally:
        await laboratory.close()


def control(machine: Machine):  # type: ignore[no-untyped-def]
    assert machine.node is not None
    return machine.node.control


def node_of(machine: Machine) -> Node:
    assert machine.node is not None
    return machine.node


def id_of(machine: Machine) -> str:
    return node_of(machine).swarm_info().node_id


def leads(machine: Machine) -> bool:
    life = node_of(machine)._life
    return life is not None and life.manager is not None and life.manager.leadership.leading


async def leader_among(*machines: Machine) -> Machine:
    return await until(lambda: next((one for one in machines if leads(one)), None), 60)


async def set_role(manager: Machine, node_id: str, role: str) -> None:
    node = record(node_of(manager), node_id)
    await control(manager).update_node(node_id, node.version.index, replace(node.spec, role=role))


async def test_init_makes_a_swarm_of_one(lab: Lab) -> None:
    """After init the node is an active manager that leads; cluster, node and ingress network are there."""
    one = await lab.on("one")
    assert node_of(one).swarm_info().local_node_state == "inactive"
    with pytest.raises(Unavailable, match="This node is not a swarm manager"):
        _ = node_of(one).control
    node_id = await one.init()
    info = node_of(one).swarm_info()
    assert (info.node_id, info.local_node_state, info.control_available) == (node_id, "active", True)
    assert (info.nodes, info.managers, info.node_addr) == (1, 1, one.address)
    node = record(node_of(one), node_id)
    assert (node.spec.role, node.status.state, node.description.hostname) == ("manager", "ready", "one")
    assert node.manager_status is not None
    assert (node.manager_status.leader, node.manager_status.addr) == (True, one.addr)
    assert control(one).get_network("ingress").spec.ingress
    with pytest.raises(Unavailable, match=ALREADY_IN_SWARM[:40]):
        await one.init()
    assert oct((one.directory / "certificates" / "swarm-node.key").stat().st_mode)[-3:] == "600"
    assert oct((one.directory / "certificates" / "swarm-store.key").stat().st_mode)[-3:] == "600"


async def test_a_worker_joins_and_leaves(lab: Lab) -> None:
    """A worker's token makes a worker; it is refused managers' commands; after leaving it is down and can go."""
    one = await lab.on("one")
    await one.init()
    two = await lab.worker("two", one)
    info = node_of(two).swarm_info()
    assert (info.local_node_state, info.control_available) == ("active", False)
    assert [manager.addr for manager in info.remote_managers] == [one.addr]
    with pytest.raises(Unavailable) as caught:
        _ = node_of(two).control
    assert caught.value.message == NOT_A_MANAGER
    node_id = info.node_id
    assert record(node_of(one), node_id).status.state == "ready"
    await node_of(two).leave()
    assert node_of(two).swarm_info().local_node_state == "inactive"
    assert two.executor.removed == 1
    assert list(two.directory.iterdir()) == []
    await until(lambda: record(node_of(one), node_id).status.state == "down")
    await control(one).remove_node(node_id)
    with pytest.raises(Unavailable, match="not part of a swarm"):
        await node_of(two).leave()


async def test_bad_tokens_and_addresses_get_dockers_words(lab: Lab) -> None:
    """A malformed token, a wrong secret, another swarm's root and a dead address: docker's words; nothing is left."""
    one, two = await lab.on("one"), await lab.on("two")
    await one.init()
    token = control(one).cluster().join_tokens.worker
    with pytest.raises(ShoalError, match=r"^invalid join token$"):
        await two.join(one, "SWMTKN-1-x-y")
    with pytest.raises(InvalidArgument, match="A valid join token is necessary to join this cluster"):
        await two.join(one, token[:-25] + "0" * 25)
    with pytest.raises(ShoalError, match=r"remote CA does not match fingerprint. Expected: "):
        await two.join(one, token[:9] + "0" * 50 + token[59:])
    with pytest.raises(InvalidArgument, match="invalid remote address"):
        await node_of(two).join(_request(two, "127.0.0.1:2377x", token))
    with pytest.raises(InvalidArgument, match="invalid Availability"):
        await two.join(one, token, availability="sometimes")
    assert node_of(two).swarm_info().local_node_state == "inactive"
    await two.join(one, token, availability="drain")
    assert record(node_of(one), id_of(two)).spec.availability == "drain"


def _request(machine: Machine, addr: str, token: str):  # type: ignore[no-untyped-def]
    from shoal.node.requests import JoinRequest

    return JoinRequest(listen_addr=machine.addr, advertise_addr=machine.addr, remote_addrs=[addr], join_token=token)


async def test_a_manager_joins_restarts_and_says_what_leaving_means(lab: Lab) -> None:
    """A manager's token makes a manager with a vote; restarted nodes take up where they were; leaving needs force."""
    one = await lab.on("one")
    await one.init()
    with pytest.raises(Unavailable, match="Removing the last manager erases all current state"):
        await node_of(one).leave()
    two = await lab.manager("two", one)
    assert node_of(two).swarm_info().control_available
    await until(lambda: node_of(one).swarm_info().managers == 2)
    await control(two).create_network(NetworkSpec(name="net", driver="overlay"))
    await until(lambda: "net" in [one.spec.name for one in control(one).list_networks()])
    await until(lambda: _voters(one, 2))
    await until(lambda: _reachable(two) == 2)
    with pytest.raises(Unavailable, match=r"Removing this node leaves 1 managers out of 2. Without a Raft quorum"):
        await node_of(two).leave()
    await lab.off("one")
    await lab.off("two")
    one, two = await lab.on("one"), await lab.on("two")
    await until(lambda: all(node_of(machine).swarm_info().local_node_state == "active" for machine in (one, two)))
    assert "net" in [network.spec.name for network in control(two).list_networks()]
    gone = id_of(two)
    await node_of(two).leave(force=True)
    await until(lambda: _voters(one, 1))
    await until(lambda: record(node_of(one), gone).status.state == "down")
    await control(one).remove_node(gone)
    await node_of(one).leave(force=True)
    assert list(one.directory.iterdir()) == []
    with pytest.raises(Unavailable) as caught:
        _ = node_of(one).control
    assert caught.value.message == NOT_IN_SWARM


async def _voters(machine: Machine, count: int) -> bool:
    life = node_of(machine)._life
    assert life is not None
    if life.manager is None:
        return False
    members = await life.manager.client.members()
    return len(members) == count and not any(member.is_learner for member in members)


async def test_what_an_interrupted_join_left_is_no_store(lab: Lab) -> None:
    """etcd makes a directory before it asks its peers: a manager that finds no more than that joins anew, and does not
    found a swarm of its own."""
    one = await lab.on("one")
    await one.init()
    two = await lab.worker("two", one)
    left = two.directory / "etcd/data/member/snap/db"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(16384))
    await set_role(one, id_of(two), "manager")
    await until(lambda: node_of(two).swarm_info().control_available)
    await until(lambda: _voters(one, 2))
    assert {node.id for node in control(two).list_nodes()} == {id_of(one), id_of(two)}


async def test_a_worker_is_promoted_and_demoted(lab: Lab) -> None:
    """Promotion renews the certificate and starts a manager; demotion removes its vote and makes it a worker again."""
    one = await lab.on("one")
    await one.init()
    two, three = await lab.worker("two", one), await lab.worker("three", one)
    for machine in (two, three):
        await set_role(one, id_of(machine), "manager")
        await until(lambda machine=machine: node_of(machine).swarm_info().control_available)
    await until(lambda: _voters(one, 3))
    await until(lambda: _reachable(one) == 3)
    await set_role(two, id_of(three), "worker")
    await until(lambda: not node_of(three).swarm_info().control_available)
    await until(lambda: _voters(one, 2))
    await until(lambda: record(node_of(one), id_of(three)).role == "worker")
    await until(lambda: _identity(three) == "worker")
    assert record(node_of(one), id_of(three)).manager_status is None
    assert not (three.directory / "etcd").exists()
    await set_role(two, id_of(one), "worker")  # the leader itself
    await until(lambda: _identity(one) == "worker")
    await until(lambda: leads(two))
    with pytest.raises(ShoalError, match="attempting to demote the last manager of the swarm"):
        await set_role(two, id_of(two), "worker")
    await until(lambda: record(node_of(two), id_of(one)).status.state == "ready")


def _reachable(machine: Machine) -> int:
    statuses = [node.manager_status for node in control(machine).list_nodes()]
    return sum(status is not None and status.reachability == "reachable" for status in statuses)


def _identity(machine: Machine) -> str:
    life = node_of(machine)._life
    assert life is not None
    return life.local.identity.role


async def test_another_manager_leads_when_the_leader_dies(lab: Lab) -> None:
    """With the leader gone another leads, nothing committed is lost, workers find it, and `node ls` says so."""
    one = await lab.on("one")
    await one.init()
    two, three = await lab.manager("two", one), await lab.manager("three", one)
    worker = await lab.worker("worker", one)
    await until(lambda: _voters(one, 3))
    first = await leader_among(one, two, three)
    names = [f"net{number}" for number in range(5)]
    for name in names:
        await control(first).create_network(NetworkSpec(name=name, driver="overlay"))
    await lab.off(first.name)
    rest = [machine for machine in (one, two, three) if machine is not first]
    second = await leader_among(*rest)
    known = {network.spec.name for network in control(second).list_networks()}
    assert set(names) <= known
    await control(second).create_network(NetworkSpec(name="after", driver="overlay"))
    node_id = id_of(worker)
    await until(lambda: record(node_of(second), node_id).status.state == "ready")
    await until(lambda: _status(second, first).reachability == "unreachable")
    await until(lambda: any(_status(second, one).leader for one in rest) and not _status(second, first).leader)
    await lab.on(first.name)
    await until(lambda: node_of(first).swarm_info().control_available)
    await until(lambda: "after" in [network.spec.name for network in control(first).list_networks()])
    await until(lambda: _status(second, first).reachability == "reachable")


def _status(seen_by: Machine, machine: Machine):  # type: ignore[no-untyped-def]
    record_ = next(one for one in control(seen_by).list_nodes() if one.description.hostname == machine.name)
    assert isinstance(record_, NodeObject)
    assert record_.manager_status is not None
    return record_.manager_status


async def test_a_killed_etcd_comes_back(lab: Lab) -> None:
    """With its etcd killed a manager goes on by itself, with everything that was committed."""
    one = await lab.on("one")
    await one.init()
    await control(one).create_network(NetworkSpec(name="kept", driver="overlay"))
    (pid,) = _etcds_of(one)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: _etcds_of(one) - {pid})
    await until(lambda: _makes_network(one, "later"))
    assert {"kept", "later"} <= {network.spec.name for network in control(one).list_networks()}


async def test_a_manager_whose_etcd_lost_the_others_looks_for_them(lab: Lab) -> None:
    """Also with a session: managers that moved were left for good by the one whose node found the leader quickly."""
    one = await lab.on("one")
    await one.init()
    life = node_of(one)._life
    assert life is not None and life.manager is not None
    await until(lambda: not life._is_lost())
    life.manager.store.following = False
    assert life._is_lost()


async def _makes_network(machine: Machine, name: str) -> bool:
    """Whether it is there; it is not while there is nobody to write."""
    with suppress(ShoalError):
        await control(machine).create_network(NetworkSpec(name=name, driver="overlay"))
    return name in {network.spec.name for network in control(machine).list_networks()}


def _etcds_of(machine: Machine) -> set[int]:
    return {int(path.name) for path in Path("/proc").glob("[0-9]*") if _is_etcd_of(path, machine)}


def _is_etcd_of(path: Path, machine: Machine) -> bool:
    try:
        command = (path / "cmdline").read_bytes()
    except OSError:
        return False
    return command.startswith(b"etcd") and str(machine.directory).encode() in command


async def test_a_manager_with_a_new_address_is_found_under_it(lab: Lab) -> None:
    """A manager whose machine got another address says so in the store; its peers go on dialling its name."""
    from tests.system.etcd import loopback

    one = await lab.on("one")
    await one.node.init(_wide(one))  # type: ignore[union-attr]
    one.address = loopback()
    await until(lambda: node_of(one).swarm_info().node_addr == one.address)
    await until(lambda: _status(one, one).addr == one.addr)
    assert await _peer_url(one) == f"https://{peer_name(id_of(one))}:{one.peer_port}"
    await until(lambda: record(node_of(one), id_of(one)).status.addr == one.address)


def _wide(machine: Machine):  # type: ignore[no-untyped-def]
    from shoal.node.requests import InitRequest

    return InitRequest(listen_addr=f"0.0.0.0:{machine.port}", advertise_addr=machine.addr)


async def _peer_url(machine: Machine) -> str:
    life = node_of(machine)._life
    assert life is not None and life.manager is not None
    (member,) = await life.manager.client.members()
    (url,) = member.peer_urls
    return url


async def test_a_swarm_that_lost_its_quorum_is_made_anew(lab: Lab) -> None:
    """Without a quorum a manager says so; init with force-new-cluster keeps every object and the join tokens."""
    from shoal.node.requests import InitRequest

    one = await lab.on("one")
    node_id = await one.init()
    await lab.manager("two", one)
    await until(lambda: _voters(one, 2))
    await control(one).create_network(NetworkSpec(name="kept", driver="overlay"))
    tokens = control(one).cluster().join_tokens
    await lab.off("two")
    with pytest.raises(Unavailable, match="The swarm does not have a leader"):
        await control(one).create_network(NetworkSpec(name="lost", driver="overlay"))
    assert await node_of(one).init(InitRequest(force_new_cluster=True)) == node_id
    assert control(one).cluster().join_tokens == tokens
    assert "kept" in [network.spec.name for network in control(one).list_networks()]
    await control(one).create_network(NetworkSpec(name="more", driver="overlay"))
    assert await _voters(one, 1)
