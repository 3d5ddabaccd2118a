"""The dispatcher's clockwork in virtual time: silence, takeovers, days."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta

import pytest

from shoal.kit.clock import LoopClock
from shoal.kit.ids import SeededIds
from shoal.kit.tasks import background
from shoal.kit.virtual import VirtualLoop, run_virtual
from shoal.manager.dispatcher.leading import Leading
from shoal.manager.dispatcher.sessions import Session
from shoal.model.errors import Unavailable
from shoal.model.objects import Cluster, Node, NodeDescription, NodeStatus, Task, TaskStatus
from shoal.model.states import TaskState
from shoal.store.base import NotLeader, Put
from shoal.store.memory import MemoryStore

Story = Callable[[MemoryStore, Leading], Coroutine[object, object, None]]


class Fence:
    """The first leadership's."""

    token = 1


def tell(story: Story, *things: Node | Task) -> None:
    """Run a story under a leader whose store has `things`."""

    async def main() -> None:
        clock = LoopClock()
        store = MemoryStore(clock)
        await store.commit([Put(thing) for thing in (Cluster(id="c"), *things)])
        leading = Leading(store, Fence(), clock=clock, ids=SeededIds(1), rng=random.Random(1))
        async with background(leading.run()):
            await story(store, leading)

    run_virtual(main())


def node(store: MemoryStore, id: str = "n") -> Node:
    """The node's newest record."""
    found = store.view.get(Node, id)
    assert found is not None
    return found


async def moment_of(store: MemoryStore, condition: Callable[[], bool]) -> float:
    """The loop's time at which the condition came true."""
    with store.subscribe() as changes:
        while not condition():
            await anext(aiter(changes))
    return asyncio.get_running_loop().time()


def test_silence() -> None:
    """A node that beats stays ready for as long as it does; three seconds after its last beat it is down."""

    async def story(store: MemoryStore, leading: Leading) -> None:
        loop = asyncio.get_running_loop()
        session = await leading.register("n", NodeDescription(hostname="h"), "10.0.0.9", True, "")
        assert (node(store).status.state, node(store).status.addr) == ("ready", "10.0.0.9")
        for _ in range(60):
            await asyncio.sleep(leading.beat(session))
        assert loop.time() > 50
        assert node(store).status.state == "ready"
        last = loop.time()
        leading.beat(session)
        down = await moment_of(store, lambda: node(store).status.state == "down")
        assert 2.7 <= down - last <= 3.31
        assert node(store).down_since == LoopClock().now()

    tell(story, Node(id="n"))


@pytest.mark.parametrize("stall", [0.6, 1.0, 2.4, 2.9, 3.5, 6.0])
@pytest.mark.parametrize("begins", [step / 10 for step in range(30)])
def test_a_manager_that_sleeps_blames_nobody(stall: float, begins: float) -> None:
    """However long the manager's own process stands still, and whenever: nodes that beat meanwhile are not down; one
    that fell silent is, as many seconds later as the manager slept."""

    async def story(store: MemoryStore, leading: Leading) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        sessions = {id: await leading.register(id, NodeDescription(), "10.0.0.9", True, "") for id in ("n", "m")}

        async def beat(session: Session) -> None:
            while True:
                await asyncio.sleep(leading.beat(session))
                await asyncio.sleep(0.01)  # sent in time; read when the manager comes to it

        async with background(*(beat(session) for session in sessions.values())):
            await asyncio.sleep(10 + begins)
            loop._jump(stall)  # the same for all that waits: nothing was run meanwhile
            await asyncio.sleep(5)
            assert {node(store, id).status.state for id in sessions} == {"ready"}

    tell(story, Node(id="n"), Node(id="m"))


def test_a_silent_node_is_down_although_the_manager_slept() -> None:
    """A stall gives a node that long, and no longer."""

    async def story(store: MemoryStore, leading: Leading) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        leading.beat(await leading.register("n", NodeDescription(), "10.0.0.9", True, ""))
        last = loop.time()
        await asyncio.sleep(1)
        loop._jump(2.0)
        down = await moment_of(store, lambda: node(store).status.state == "down")
        assert 4.7 <= down - last <= 5.31

    tell(story, Node(id="n"))


def test_takeover() -> None:
    """After a takeover a silent node is unknown at once and down after six seconds; one that registers is ready."""

    async def story(store: MemoryStore, leading: Leading) -> None:
        await moment_of(store, lambda: node(store, "silent").status.state == "unknown")
        await leading.register("back", NodeDescription(), "", False, "")
        at = await moment_of(store, lambda: node(store, "silent").status.state == "down")
        assert 5.9 <= at <= 6.1
        assert node(store, "gone").status.message == "long ago"

    tell(
        story,
        Node(id="silent", status=NodeStatus(state="ready")),
        Node(id="back", status=NodeStatus(state="ready")),
        Node(id="gone", status=NodeStatus(state="down", message="long ago")),
    )


def test_a_day() -> None:
    """Tasks of a node that is down for a day are orphaned, not earlier."""

    async def story(store: MemoryStore, leading: Leading) -> None:
        await leading.register("n", NodeDescription(), "", True, "")
        await moment_of(store, lambda: node(store).status.state == "down")
        down = asyncio.get_running_loop().time()

        def orphaned() -> bool:
            task = store.view.get(Task, "t")
            assert task is not None
            return task.status.state == TaskState.ORPHANED

        at = await moment_of(store, orphaned)
        assert timedelta(hours=24) <= timedelta(seconds=at - down) < timedelta(hours=24, seconds=5)

    tell(story, Node(id="n"), Task(id="t", node_id="n", status=TaskStatus(state=TaskState.RUNNING)))


def test_registering_too_often() -> None:
    """A node may begin three sessions in eight seconds; resuming the one it has does not count."""

    async def story(store: MemoryStore, leading: Leading) -> None:
        for _ in range(3):
            session = await leading.register("n", NodeDescription(), "", True, "")
        for _ in range(5):
            assert await leading.register("n", NodeDescription(hostname="x"), "", True, session.id) is session
        try:
            await leading.register("n", NodeDescription(), "", True, "")
        except Unavailable:
            pass
        else:
            raise AssertionError("a fourth session was let through")
        await moment_of(store, lambda: node(store).description.hostname == "x")

    tell(story, Node(id="n"))


def test_a_stale_leader_ends() -> None:
    """A dispatcher whose fence is stale ends with NotLeader, and whoever waits for it hears so."""

    async def story(store: MemoryStore, leading: Leading) -> None:
        store.leader = 2
        try:
            await leading.register("n", NodeDescription(), "", True, "")
        except Unavailable:
            await asyncio.sleep(1)

    try:
        tell(story, Node(id="n"))
    except NotLeader:
        return
    raise AssertionError("it went on leading")
