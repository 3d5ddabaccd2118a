"""Tasks of a swarm as real containers: a manager, an agent and the engine, over the real node protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from shoal.agent.containers import EngineExecutor
from shoal.engine.engine import Engine
from shoal.engine.execs import ExecConfig
from shoal.model.errors import NotFound
from shoal.model.objects import Task, TaskStatus
from shoal.model.service_logs import LogRequest, LogSelector
from shoal.model.states import TaskState
from shoal.model.swarm_spec import ContainerSpec, HealthConfig, TaskSpec
from shoal.store.base import Delete, Put
from tests.cluster.protocol_world import Manager, World, world
from tests.system.engine_setup import IMAGE, engine_alone, output
from tests.waiting import until

pytestmark = pytest.mark.system


def no_network(name: str) -> None:
    """These tasks have no networks."""
    raise NotFound(f"network {name} not found")


@asynccontextmanager
async def one_node(directory: Path) -> AsyncIterator[tuple[World, Engine, str, Manager, asyncio.Task[None]]]:
    """A manager and a node whose executor is real; its agent's task can be cancelled."""
    async with engine_alone() as engine, world(directory, period=1) as w:
        manager = await w.manager()
        node_id, context = await w.node()
        executor = EngineExecutor(engine, no_network)
        running = w.run(w.agent(node_id, context, [manager], executor))
        await until(lambda: w.get_node(node_id).status.state == "ready")
        yield w, engine, node_id, manager, running


async def execute(engine: Engine, id: str, *command: str) -> None:
    """Run a command in a container, to its end."""
    exec_id = await engine.containers.exec_create(id, ExecConfig(cmd=list(command), attach_stdout=True))
    stream = await engine.containers.exec_start(exec_id)
    assert stream is not None
    assert [frame async for frame in stream] == []


def task(w: World, node_id: str, command: list[str], *, grace: int = 1, **container: object) -> Task:
    """A task for the node, as the scheduler leaves it; `grace` is in seconds."""
    spec = ContainerSpec(image=IMAGE, command=command, stop_grace_period=grace * 10**9, **container)  # type: ignore[arg-type]
    return Task(
        id=w.ids.object_id(),
        spec=TaskSpec(container_spec=spec),
        node_id=node_id,
        service_id="service1",
        service_name="web",
        slot=3,
        status=TaskStatus(state=TaskState.ASSIGNED),
    )


async def test_five_tasks_run_at_once(tmp_path: Path) -> None:
    """Five tasks run; they carry swarm's names and labels, and templates in them are filled in; they stop when they
    should and go when they are deleted."""
    async with one_node(tmp_path) as (w, engine, node_id, _, _):
        command = ["sh", "-c", 'trap "exit 0" TERM; echo $WHO; while :; do sleep 0.05; done']
        tasks = [
            task(
                w, node_id, command, env=["WHO={{.Service.Name}}-{{.Task.Slot}}"], hostname="h-{{.Task.Slot}}", grace=30
            )
            for _ in range(5)
        ]
        await w.store.commit([Put(one) for one in tasks])
        for one in tasks:
            await w.reaches(one.id, TaskState.RUNNING)
        first = w.get_task(tasks[0].id)
        assert first.status.container_status is not None
        container = engine.containers.find(first.status.container_status.container_id)
        assert container.name == f"web.3.{first.id}"
        assert container.config.hostname == "h-3"
        assert container.config.labels["com.docker.swarm.task.id"] == first.id
        assert container.config.labels["com.docker.swarm.node.id"] == node_id
        assert first.status.container_status.pid == container.state.pid
        await until(lambda: w.get_task(first.id).status.state == TaskState.RUNNING)

        async def has_said_who() -> bool:
            return await output(engine, container.id) == "web-3\n"

        await until(has_said_who)
        await w.desire(first.id, TaskState.SHUTDOWN)
        stopped = await w.reaches(first.id, TaskState.SHUTDOWN)
        assert stopped.status.container_status is not None
        assert stopped.status.container_status.exit_code == 0
        await w.store.commit([Delete(w.get_task(first.id))])
        await until(lambda: len(engine.containers.list()) == 4)


async def test_ends_and_failures(tmp_path: Path) -> None:
    """A non-zero exit, a missing image and a command that is not there are told in docker's words."""
    async with one_node(tmp_path) as (w, _, node_id, _, _):
        fails, absent = task(w, node_id, ["sh", "-c", "exit 3"]), task(w, node_id, ["/no/such"])
        missing = task(w, node_id, ["true"])
        assert missing.spec.container_spec is not None
        spec = replace(missing.spec.container_spec, image="127.0.0.1:1/none/such:1")
        missing = replace(missing, spec=replace(missing.spec, container_spec=spec))
        await w.store.commit([Put(fails), Put(absent), Put(missing)])
        assert (await w.reaches(fails.id, TaskState.FAILED)).status.err == "task: non-zero exit (3)"
        assert (await w.reaches(missing.id, TaskState.REJECTED)).status.err == "No such image: 127.0.0.1:1/none/such:1"
        error = (await w.reaches(absent.id, TaskState.FAILED)).status.err
        assert error.startswith("starting container failed: ")
        assert "no such file or directory" in error


async def test_running_means_healthy(tmp_path: Path) -> None:
    """A task with a health check is starting until the check succeeds, and fails when the check fails later."""
    async with one_node(tmp_path) as (w, engine, node_id, _, _):
        check = HealthConfig(
            test=["CMD", "cat", "/tmp/well"], interval=10**8, retries=2, start_period=10**9, start_interval=10**8
        )
        one = task(w, node_id, ["sleep", "100"], healthcheck=check)
        await w.store.commit([Put(one)])
        starting = await w.reaches(one.id, TaskState.STARTING)
        await until(lambda: len(engine.containers.list()) == 1 and engine.containers.list()[0].state.running)
        (container,) = engine.containers.list()
        assert w.get_task(one.id).status.state == starting.status.state
        await execute(engine, container.id, "touch", "/tmp/well")
        await w.reaches(one.id, TaskState.RUNNING)
        state = engine.containers.find(container.id).state
        assert state.health is not None
        assert state.health.status == "healthy"
        await execute(engine, container.id, "rm", "/tmp/well")
        failed = await w.reaches(one.id, TaskState.FAILED)
        assert failed.status.err == "task: non-zero exit (137): dockerexec: unhealthy container"


async def test_containers_outlive_the_agent(tmp_path: Path) -> None:
    """Containers run on while there is no agent; a new agent adopts them and does not start them again."""
    async with one_node(tmp_path) as (w, engine, node_id, manager, running):
        one = task(w, node_id, ["sleep", "100"])
        await w.store.commit([Put(one)])
        await w.reaches(one.id, TaskState.RUNNING)
        running.cancel()
        await until(running.done)
        (container,) = engine.containers.list()
        assert container.state.running
        w.run(w.agent(node_id, (await w.context(node_id)), [manager], EngineExecutor(engine, no_network)))
        await until(lambda: w.get_node(node_id).status.state == "ready")
        await engine.containers.kill(container.id)
        assert (await w.reaches(one.id, TaskState.FAILED)).status.err == "task: non-zero exit (137)"
        assert [known.id for known in engine.containers.list()] == [container.id]


async def test_logs(tmp_path: Path) -> None:
    """The logs of a service come from its containers, all of them or the last lines."""
    async with one_node(tmp_path) as (w, _, node_id, manager, _):
        one = task(w, node_id, ["sh", "-c", "seq 1 5; sleep 100"])
        await w.store.commit([Put(one)])
        await w.reaches(one.id, TaskState.RUNNING)
        broker = manager.protocol.logs
        selector = LogSelector(service_ids=["service1"])

        async def read(tail: int | None) -> list[bytes]:
            request = LogRequest(tail=tail)
            return [line.data async for lines in broker.subscribe(selector, request) for line in lines]

        await until(lambda: _has(read, [f"{number}\n".encode() for number in range(1, 6)]))
        assert await read(2) == [b"4\n", b"5\n"]


async def _has(read: object, wanted: list[bytes]) -> bool:
    return await read(None) == wanted  # type: ignore[operator]


async def test_leaving_removes_containers(tmp_path: Path) -> None:
    """A node that leaves its swarm removes the swarm's containers, and only those."""
    async with one_node(tmp_path) as (w, engine, node_id, manager, running):
        one = task(w, node_id, ["sleep", "100"])
        await w.store.commit([Put(one)])
        await w.reaches(one.id, TaskState.RUNNING)
        from tests.system.engine_setup import run

        own = await run(engine, "sleep", "100")
        running.cancel()
        await until(running.done)
        async with w.agent(node_id, await w.context(node_id), [manager], EngineExecutor(engine, no_network)) as agent:
            await agent.leave()
        assert [container.id for container in engine.containers.list()] == [own.id]
