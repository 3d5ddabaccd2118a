"""Managers and agents over the real node protocol."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec.structs import replace

from shoal.model.objects import Cluster, Node, Task
from shoal.model.states import TaskState
from shoal.store.base import Delete, Put
from tests.cluster.protocol_world import FakeExecutor, world
from tests.waiting import until


async def test_a_task_runs_and_stops(tmp_path: Path) -> None:
    """A task assigned to a node is started there and reported with its container; told to stop, it stops; deleted, its
    container goes."""
    async with world(tmp_path) as w:
        manager = await w.manager()
        node_id, executor, _ = await w.worker(manager)
        assert w.get_node(node_id).description.hostname == executor.hostname
        assert w.get_node(node_id).is_shoal
        task_id = await w.assign(node_id)
        task = await w.reaches(task_id, TaskState.RUNNING)
        assert task.status.message == "started"
        assert task.status.container_status is not None
        assert task.status.container_status.container_id == "c" + task_id
        assert task.status.applied_at is not None
        await w.desire(task_id, TaskState.SHUTDOWN)
        assert (await w.reaches(task_id, TaskState.SHUTDOWN)).status.message == "shutdown"
        assert executor.stopped == [task_id]
        assert task_id in executor.created
        await w.store.commit([Delete(w.get_task(task_id))])
        await until(lambda: task_id not in executor.created)
        await until(lambda: not list((tmp_path / node_id / "tasks").glob("*.json")))


async def test_failures_have_dockers_words(tmp_path: Path) -> None:
    """A container's exit code and a missing image are told in docker's words."""
    async with world(tmp_path) as w:
        manager = await w.manager()
        node_id, _, _ = await w.worker(manager)
        exits = await w.assign(node_id, "exit-3")
        missing = await w.assign(node_id, "fail-prepare")
        done = await w.assign(node_id, "exit-0")
        failed = await w.reaches(exits, TaskState.FAILED)
        assert (failed.status.err, failed.status.message) == ("task: non-zero exit (3)", "started")
        assert failed.status.container_status is not None
        assert failed.status.container_status.exit_code == 3
        rejected = await w.reaches(missing, TaskState.REJECTED)
        assert (rejected.status.err, rejected.status.message) == ("No such image: fail-prepare:latest", "preparing")
        assert (await w.reaches(done, TaskState.COMPLETE)).status.message == "finished"


async def test_a_ready_task_waits(tmp_path: Path) -> None:
    """A task desired READY is prepared and not started until it is desired RUNNING."""
    async with world(tmp_path) as w:
        manager = await w.manager()
        node_id, executor, _ = await w.worker(manager)
        task_id = await w.assign(node_id, desired_state=TaskState.READY)
        await w.reaches(task_id, TaskState.READY)
        assert executor.started == []
        await w.desire(task_id, TaskState.RUNNING)
        await w.reaches(task_id, TaskState.RUNNING)


async def test_a_silent_node_is_down(tmp_path: Path) -> None:
    """A node whose heartbeats stop is down, in docker's words; back again, it is ready."""
    async with world(tmp_path, period=0.2) as w:
        manager = await w.manager()
        node_id, context = await w.node()
        executor = FakeExecutor("h")
        running = w.run(w.agent(node_id, context, [manager], executor))
        await until(lambda: w.get_node(node_id).status.state == "ready")
        task_id = await w.assign(node_id)
        await w.reaches(task_id, TaskState.RUNNING)
        running.cancel()
        await until(lambda: w.get_node(node_id).status.state == "down")
        assert w.get_node(node_id).status.message == "heartbeat failure"
        assert w.get_node(node_id).down_since is not None
        w.run(w.agent(node_id, context, [manager], executor))
        await until(lambda: w.get_node(node_id).status.state == "ready")
        assert w.get_node(node_id).down_since is None
        assert w.get_task(task_id).status.state == TaskState.RUNNING
        assert executor.started == [task_id]


async def test_a_restarted_agent_goes_on_from_disk(tmp_path: Path) -> None:
    """An agent that was killed adopts its running containers before any manager answers, and reports what ended
    meanwhile when one does."""
    async with world(tmp_path) as w:
        manager = await w.manager()
        node_id, context = await w.node()
        executor = FakeExecutor("h")
        running = w.run(w.agent(node_id, context, [manager], executor))
        first, second = await w.assign(node_id), await w.assign(node_id)
        await w.reaches(first, TaskState.RUNNING)
        await w.reaches(second, TaskState.RUNNING)
        running.cancel()
        await until(running.done)
        executor.exit(second, 9)
        agent = w.agent(node_id, context, [manager], executor)
        async with agent:
            assert {task.id for task in agent.worker.tasks} == {first, second}
        w.run(agent := w.agent(node_id, context, [manager], executor))
        assert (await w.reaches(second, TaskState.FAILED)).status.err == "task: non-zero exit (9)"
        assert w.get_task(first).status.state == TaskState.RUNNING
        assert sorted(executor.started) == sorted([first, second])


async def test_a_new_leader_takes_over(tmp_path: Path) -> None:
    """When another manager becomes leader, nodes are unknown for a moment, find it, and lose no task."""
    async with world(tmp_path, period=0.5) as w:
        one, two = await w.manager(), await w.manager(lead=False)
        node_id, executor, _ = await w.worker(one)
        task_id = await w.assign(node_id)
        await w.reaches(task_id, TaskState.RUNNING)
        with w.store.subscribe() as changes:
            assert one.leading is not None
            one.leading.cancel()
            await until(one.leading.done)
            w.lead(two)
            states = []
            async with asyncio.timeout(10):
                async for batch in changes:
                    states += [c.new.status.state for c in batch if isinstance(c.new, Node) and c.new.id == node_id]
                    if states[-1:] == ["ready"]:
                        break
        assert states[-1] == "ready"
        executor.exit(task_id, 5)
        assert (await w.reaches(task_id, TaskState.FAILED)).status.err == "task: non-zero exit (5)"


async def test_an_unheard_node_is_down_after_a_takeover(tmp_path: Path) -> None:
    """A node that never reaches the new leader is down after twice the usual time."""
    async with world(tmp_path, period=0.1) as w:
        node_id, _ = await w.node()
        await w.store.commit(
            [Put(replace(w.get_node(node_id), status=replace(w.get_node(node_id).status, state="ready")))]
        )
        await w.manager()
        await until(lambda: w.get_node(node_id).status.state == "unknown")
        assert w.get_node(node_id).status.message == (
            'Node moved to "unknown" state due to leadership change in cluster'
        )
        await until(lambda: w.get_node(node_id).status.state == "down")
        assert w.get_node(node_id).status.message == 'heartbeat failure for node in "unknown" state'


async def test_a_removed_node_is_refused(tmp_path: Path) -> None:
    """A node that was removed from the swarm is told so, and its session ends."""
    async with world(tmp_path) as w:
        manager = await w.manager()
        node_id, context = await w.node()
        agent = w.agent(node_id, context, [manager], FakeExecutor("h"))
        troubles: list[str] = []
        agent._troubled = lambda error: troubles.append(error.message)
        w.run(agent)
        await until(lambda: w.get_node(node_id).status.state == "ready")
        cluster = w.store.view.cluster
        assert isinstance(cluster, Cluster)
        removed = replace(cluster, removed_nodes={node_id: w.clock.now()})
        await w.store.commit([Put(removed), Delete(w.get_node(node_id))])
        await until(lambda: f"node {node_id} was removed from swarm" in troubles)


async def test_many_tasks(tmp_path: Path) -> None:
    """Two hundred tasks on four nodes all run, with few commits."""
    async with world(tmp_path, period=5) as w:
        manager = await w.manager()
        nodes = [(await w.worker(manager))[0] for _ in range(4)]
        before = w.store.view.revision
        tasks = [await w.assign(nodes[number % 4]) for number in range(200)]
        await until(lambda: all(w.get_task(id).status.state == TaskState.RUNNING for id in tasks), 30)
        assert w.store.view.revision - before - 200 < 400
        assert all(isinstance(w.store.view.get(Task, id), Task) for id in tasks)
