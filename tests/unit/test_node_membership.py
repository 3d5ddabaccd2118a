"""How a node comes into a swarm and out of it: joins that take long or fail, leaving whatever happens, and a daemon
that is killed at any moment."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shoal.ca.tokens import make_token, new_secret
from shoal.kit.clock import SystemClock
from shoal.kit.ids import RandomIds
from shoal.kit.virtual import run_virtual
from shoal.model.errors import (
    ALREADY_IN_SWARM,
    JOIN_TIMEOUT,
    NOT_PART_OF_SWARM,
    InvalidArgument,
    ShoalError,
    Unavailable,
)
from shoal.node import joining, life
from shoal.node.addresses import InterfaceAddress
from shoal.node.founding import found
from shoal.node.local import NodeOptions
from shoal.node.node import Node
from shoal.node.requests import InitRequest, JoinRequest
from shoal.node.state import StateDirectory

FOUNDING = found(InitRequest(), "10.0.0.1:2377", datetime.now(UTC), RandomIds())
ROOT = FOUNDING.cluster.root_ca.certificate
REQUEST = JoinRequest(remote_addrs=["10.0.0.1:2377"], join_token=make_token(ROOT, new_secret()), advertise_addr="eth0")
UNREACHABLE = Unavailable("rpc error: code = Unavailable desc = connection error: timed out")
REFUSED = InvalidArgument(
    "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster"
)


class World:
    """What surrounds a node: managers that answer as they are told to, and a life that does nothing but go on."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers: list[tuple[float, Exception | None]] = []
        """What the next attempts get, and after how many seconds; then all goes well at once."""
        self.starts: list[Exception | asyncio.Event] = []
        """How the next lives start; then all at once."""
        self.goodbyes: list[Exception] = []
        """What removing the containers fails with."""
        self.removals = 0
        self.lives: list[FakeLife] = []
        self.asked = 0

    def node(self, directory: Path | None = None) -> Node:
        options = NodeOptions(interfaces=lambda: [InterfaceAddress("eth0", "10.0.0.2")], executor=lambda: self)
        return Node(directory or self.directory, None, None, SystemClock(), RandomIds(), options)

    async def fetch_root(self, addrs: list[str], token: str) -> bytes:
        self.asked += 1
        if self.answers:
            seconds, fault = self.answers.pop(0)
            await asyncio.sleep(seconds)
            if fault is not None:
                raise fault
        return ROOT

    async def request_certificate(self, *_: object) -> object:
        return FOUNDING.node.id, FOUNDING.pair

    async def remove_all(self) -> None:
        self.removals += 1
        if self.goodbyes:
            raise self.goodbyes.pop(0)


class FakeLife:
    """A life as `Node` sees it."""

    world: World

    def __init__(self, local: Any, executor: Any, networks: Any, **how: Any) -> None:
        self.local, self.how = local, how
        self.manager, self.error, self.active = None, "", False
        self._executor = executor
        self.world.lives.append(self)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def started(self) -> None:
        outcome = self.world.starts.pop(0) if self.world.starts else None
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is not None:
            await outcome.wait()
        self.active = True

    async def leave(self) -> None:
        async with asyncio.timeout(60):
            await self._executor.remove_all()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    FakeLife.world = made = World(tmp_path / "swarm")
    monkeypatch.setattr(life, "Life", FakeLife)
    monkeypatch.setattr(joining, "fetch_root", made.fetch_root)
    monkeypatch.setattr(joining, "request_certificate", made.request_certificate)
    return made


def in_a_node(world: World, body: Callable[[Node], Coroutine[Any, Any, None]]) -> None:
    async def go() -> None:
        async with world.node() as node:
            await body(node)

    run_virtual(go())


async def until(condition: Callable[[], bool]) -> None:
    """Wait in virtual time; an hour of it is too long."""
    async with asyncio.timeout(3600):
        while not condition():
            await asyncio.sleep(0.3)


def state_of(node: Node) -> str:
    return node.swarm_info().local_node_state


# --- joins that take long, or fail --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [UNREACHABLE, OSError(28, "No space left on device"), RuntimeError("a bug")])
def test_a_join_that_takes_too_long_goes_on_until_it_succeeds(world: World, fault: Exception) -> None:
    """After 20 s the request gets docker's words; the node is pending, says why, and goes on after each failure."""
    world.answers = [(33, fault), (33, fault), (0, fault)]

    async def body(node: Node) -> None:
        with pytest.raises(Unavailable) as caught:
            await node.join(REQUEST)
        assert caught.value.message == JOIN_TIMEOUT
        assert (asyncio.get_running_loop().time(), state_of(node)) == (20, "pending")
        await asyncio.sleep(13.1)
        assert (state_of(node), node.swarm_info().error) == ("pending", str(fault)), "the pause before the second try"
        for request in (node.join(REQUEST), node.init(InitRequest())):
            with pytest.raises(Unavailable) as caught:
                await request
            assert caught.value.message == ALREADY_IN_SWARM
        await until(lambda: state_of(node) == "active")
        assert (world.asked, node.swarm_info().error) == (4, "")
        state = StateDirectory(world.directory).load()
        assert state is not None and not state.join_in_progress and not state.join_token

    in_a_node(world, body)


def test_a_life_that_cannot_start_is_tried_again(world: World) -> None:
    """A node that has its certificate is not refused any more: it tries for as long as it takes, with that one."""
    world.answers = [(25, None)]
    world.starts = [Unavailable("no other manager is known"), InvalidArgument("not now")]

    async def body(node: Node) -> None:
        with pytest.raises(Unavailable):
            await node.join(REQUEST)
        await until(lambda: state_of(node) == "active")
        assert (world.asked, len(world.lives)) == (1, 3)

    in_a_node(world, body)


@pytest.mark.parametrize("fault", [REFUSED, joining.AnotherSwarm("remote CA does not match fingerprint. Expected: 00")])
def test_a_refusal_after_the_time_out_ends_the_join(world: World, fault: ShoalError) -> None:
    """Nothing is left of the join; the node is inactive and says why, until it is told something else."""
    world.answers = [(25, fault)]

    async def body(node: Node) -> None:
        with pytest.raises(Unavailable):
            await node.join(REQUEST)
        await until(lambda: state_of(node) == "inactive")
        info = node.swarm_info()
        assert (info.error, len(info.warnings)) == (fault.message, 1)
        assert fault.message in info.warnings[0]
        assert list(world.directory.iterdir()) == []
        with pytest.raises(Unavailable) as caught:
            await node.leave()
        assert caught.value.message == NOT_PART_OF_SWARM
        await node.join(REQUEST)
        assert (state_of(node), node.swarm_info().error) == ("active", "")

    in_a_node(world, body)


def test_a_failure_within_the_time_is_the_answer(world: World) -> None:
    """Whatever it is, the one who asked gets it, and nothing is left."""
    world.answers = [(5, OSError("no space")), (5, REFUSED), (5, UNREACHABLE)]

    async def body(node: Node) -> None:
        for kind in (OSError, InvalidArgument, Unavailable):
            with pytest.raises(kind):
                await node.join(REQUEST)
            assert (state_of(node), list(world.directory.iterdir())) == ("inactive", [])

    in_a_node(world, body)


def test_a_join_goes_on_when_its_client_goes_away(world: World) -> None:
    """Ctrl-C on `docker swarm join` ends the client, not the join."""
    world.answers = [(33, UNREACHABLE)]

    async def body(node: Node) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await node.join(REQUEST)
        await until(lambda: state_of(node) == "active")
        assert world.asked == 2

    in_a_node(world, body)


# --- leaving ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [21, 34, 60])
@pytest.mark.parametrize("restarted", [False, True])
def test_leaving_gets_a_node_out_of_a_join(world: World, moment: int, restarted: bool) -> None:
    """While it is being tried, and in the pauses; also when the daemon was started again meanwhile."""
    world.answers = [(33, UNREACHABLE)] * 9

    async def go() -> None:
        async with world.node() as node:
            with pytest.raises(Unavailable):
                await node.join(REQUEST)
            await asyncio.sleep(0 if restarted else moment - 20)
            if not restarted:
                await leave(node)
                return
        async with world.node() as node:
            assert state_of(node) == "pending"
            await asyncio.sleep(moment)
            await leave(node)

    async def leave(node: Node) -> None:
        assert state_of(node) == "pending"
        await node.leave()
        asked = world.asked
        await asyncio.sleep(600)
        assert (state_of(node), list(world.directory.iterdir()), world.asked) == ("inactive", [], asked)

    run_virtual(go())


def test_a_manager_that_is_still_joining_may_leave_without_force(world: World) -> None:
    """It has no vote to lose; a manager that takes part is warned."""
    world.starts = [asyncio.Event()]

    async def body(node: Node) -> None:
        with pytest.raises(Unavailable):
            await node.join(REQUEST)
        assert state_of(node) == "pending"
        await node.leave()
        assert (state_of(node), list(world.directory.iterdir())) == ("inactive", [])
        await node.join(REQUEST)
        with pytest.raises(Unavailable, match="participating as a manager"):
            await node.leave()

    in_a_node(world, body)


@pytest.mark.parametrize(
    "fault", [ShoalError("in use"), OSError("busy"), TimeoutError(), ExceptionGroup("", [ShoalError("in use")])]
)
def test_what_cannot_be_removed_does_not_keep_a_node_in_a_swarm(world: World, fault: Exception) -> None:
    """As with docker: a container that resists is logged, and the node has left."""
    world.goodbyes = [fault]

    async def body(node: Node) -> None:
        await node.join(REQUEST)
        await node.leave(force=True)
        assert (state_of(node), list(world.directory.iterdir()), world.removals) == ("inactive", [], 1)
        await node.join(REQUEST)
        assert state_of(node) == "active"

    in_a_node(world, body)


def test_leaving_goes_on_when_its_client_goes_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C on `docker swarm leave` does not leave half a node behind."""

    async def slowly() -> None:
        await asyncio.sleep(10)

    monkeypatch.setattr(world, "remove_all", slowly)

    async def body(node: Node) -> None:
        await node.join(REQUEST)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await node.leave(force=True)
        await asyncio.sleep(10)
        assert (state_of(node), list(world.directory.iterdir())) == ("inactive", [])

    in_a_node(world, body)


# --- killed at any moment -----------------------------------------------------------------------------------------------


class Moments:
    """Copies of a directory as it is before each change of it that may be the last."""

    def __init__(self, directory: Path, copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._copies = copies
        self.taken: list[Path] = []
        for name in ("replace", "unlink", "rmdir", "mkdir"):
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))
        self._busy = True

    def start(self) -> None:
        self._busy = False

    def stop(self) -> None:
        self.take()
        self._busy = True

    def _watched(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **options: Any) -> Any:
            self.take()
            return change(*arguments, **options)

        return changed

    def take(self) -> None:
        if not self._busy:
            self._busy = True
            copy = self._copies / str(len(self.taken))
            shutil.copytree(self._directory, copy)
            self.taken.append(copy)
            self._busy = False


@pytest.fixture
def moments(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Moments:
    return Moments(world.directory, tmp_path / "moments", monkeypatch)


def test_a_kill_while_leaving(world: World, moments: Moments) -> None:
    """At its next start the node is in the swarm as before, or it leaves: its containers and all it knew are gone."""

    async def go() -> None:
        async with world.node() as node:
            await node.join(REQUEST)
            moments.start()
            await node.leave(force=True)
            moments.stop()
        members = []
        for copy in moments.taken:
            before, leaving = world.removals, StateDirectory(copy).leaving
            async with world.node(copy) as node:
                members.append(node._life is not None)
                assert world.removals == before + leaving
                assert members[-1] or (list(copy.iterdir()), state_of(node)) == ([], "inactive")
        assert members[0] and not any(members[1:]), members
        assert len(members) > 5

    run_virtual(go())


def test_a_kill_while_joining(world: World, moments: Moments) -> None:
    """At its next start the node goes on, and knows the managers; or it has not begun."""

    async def go() -> None:
        async with world.node() as node:
            moments.start()
            await node.join(REQUEST)
            moments.stop()
        begun = []
        for copy in moments.taken:
            begun.append(StateDirectory(copy).load() is not None)
            async with world.node(copy) as node:
                if begun[-1]:
                    await until(lambda node=node: node._life is not None)
                    assert node._life is not None
                    assert "10.0.0.1:2377" in [one.addr for one in node._life.local.remotes.all], copy
                assert begun[-1] or list(copy.iterdir()) == []
        assert not begun[0] and begun[-1] and begun == sorted(begun), begun
        assert len(begun) > 5

    run_virtual(go())


def test_a_kill_during_init(world: World, moments: Moments) -> None:
    """At its next start the node is a manager, or nothing is left of the swarm."""

    async def go() -> None:
        async with world.node() as node:
            moments.start()
            await node.init(InitRequest(advertise_addr="eth0"))
            moments.stop()
        results = []
        for copy in moments.taken:
            async with world.node(copy) as node:
                results.append(node._life is not None)
                assert results[-1] or list(copy.iterdir()) == []
        assert results[-1] and not any(results[:-1]), results

    run_virtual(go())


def test_an_init_whose_state_cannot_be_kept_is_undone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next start would take all that is there for an init that was cut short, and wipe it."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StateDirectory, "save", full)

    async def body(node: Node) -> None:
        with pytest.raises(OSError, match="No space left"):
            await node.init(InitRequest(advertise_addr="eth0"))
        assert (node._life, state_of(node), list(world.directory.iterdir())) == (None, "inactive", [])

    in_a_node(world, body)


@pytest.mark.parametrize(
    "damage", ["certificates/swarm-node.key", "certificates/swarm-root-ca.crt", "docker-state.json"]
)
def test_a_damaged_node_starts_says_so_and_can_leave(world: World, damage: str) -> None:
    """The daemon has other work to do; what is left (a manager's store) is not thrown away unasked."""

    async def go() -> None:
        async with world.node() as node:
            await node.join(REQUEST)
        (world.directory / damage).write_bytes(b"{")
        (world.directory / "etcd").mkdir()
        async with world.node() as node:
            info = node.swarm_info()
            assert info.local_node_state == "error"
            assert "leave the swarm and join again" in info.error
            assert (world.directory / "etcd").exists()
            with pytest.raises(Unavailable) as caught:
                await node.join(REQUEST)
            assert caught.value.message == ALREADY_IN_SWARM
            await node.leave()
            assert (state_of(node), list(world.directory.iterdir()), world.removals) == ("inactive", [], 1)
            await node.join(REQUEST)

    run_virtual(go())


# --- a new cluster by force ---------------------------------------------------------------------------------------------


def test_a_forced_new_cluster_that_takes_long_says_so(world: World) -> None:
    """It goes on, also when its client goes away."""

    async def body(node: Node) -> None:
        await node.join(REQUEST)
        ready = asyncio.Event()
        world.starts = [ready]
        with pytest.raises(Unavailable, match="goes on in the background"):
            await node.init(InitRequest(force_new_cluster=True))
        assert (world.lives[-1].how, node._life) == ({"force_new_cluster": True}, world.lives[-1])
        world.starts = [ready]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await node.init(InitRequest(force_new_cluster=True))
        await asyncio.sleep(1)
        assert (len(world.lives), node._life) == (3, world.lives[-1])

    in_a_node(world, body)
