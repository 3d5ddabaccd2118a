"""What the engine does for running containers: health, statistics, limits that change, logs that rotate."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from shoal.engine import log_rotation
from shoal.engine.engine import Engine
from shoal.engine.logs import LogOptions
from shoal.model.container import ContainerConfig, HostConfig, LogConfig
from shoal.model.errors import Conflict, InvalidArgument
from shoal.model.swarm_spec import HealthConfig
from tests.system.engine_setup import IMAGE, engine_alone, output, run
from tests.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]
MS = 10**6


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_rotation, "_EVERY", 3600.0)  # the tests rotate by themselves
        async with engine_alone() as engine:
            yield engine


async def test_health_follows_the_probe(engine: Engine) -> None:
    """starting, healthy at the first success, unhealthy after `retries` failures; the log keeps output and code."""
    events = engine.events.subscribe()
    check = HealthConfig(
        test=["CMD-SHELL", "echo probed; test ! -e /broken"], interval=30 * MS, timeout=5000 * MS, retries=2
    )
    container = await run(engine, "sh", "-c", "read x; touch /broken; cat", open_stdin=True, healthcheck=check)

    def status() -> str:
        health = engine.containers.find(container.id).state.health
        assert health is not None
        return health.status

    assert status() == "starting"
    await until(lambda: status() == "healthy")
    attachment = await engine.containers.attach(container.id)
    await attachment.write(b"go\n")
    await until(lambda: status() == "unhealthy")
    health = engine.containers.find(container.id).state.health
    assert health is not None
    assert health.failing_streak >= 2
    assert (health.log[-1].exit_code, health.log[-1].output) == (1, "probed\n")
    assert len(health.log) <= 5
    await engine.containers.remove(container.id, force=True)
    changes = []
    async for event in events:
        if event.action.startswith("health_status"):
            changes.append(event.action)
        if event.action == "destroy":
            break
    assert changes == ["health_status: healthy", "health_status: unhealthy"]
    attachment.close()


async def test_a_probe_that_hangs_counts_as_failed(engine: Engine) -> None:
    """A probe that takes longer than its timeout is killed and is a failure."""
    check = HealthConfig(test=["CMD", "sleep", "1000"], interval=20 * MS, timeout=100 * MS, retries=1)
    container = await run(engine, "sleep", "1000", healthcheck=check)

    def unhealthy() -> bool:
        health = engine.containers.find(container.id).state.health
        return health is not None and health.status == "unhealthy" and "exceeded timeout" in health.log[-1].output

    await until(unhealthy)
    await engine.containers.remove(container.id, force=True)


async def test_statistics_and_top(engine: Engine) -> None:
    """Samples grow, know limits and processes; top lists the container's processes and no others."""
    container = await run(
        engine, "sh", "-c", "while :; do :; done", host=HostConfig(memory=32 << 20, nano_cpus=200_000_000)
    )
    samples = []
    async for sample in engine.containers.stats(container.id):
        samples.append(sample)
        if len(samples) == 2:
            break
    first, second = (s["cpu_stats"]["cpu_usage"]["total_usage"] for s in samples)
    assert second > first > 0
    assert samples[1]["precpu_stats"] == samples[0]["cpu_stats"]
    assert samples[1]["memory_stats"]["limit"] == 32 << 20
    assert samples[1]["pids_stats"]["current"] == 1
    table = await engine.containers.top(container.id)
    assert [row[-1] for row in table.processes] == ["sh -c while :; do :; done"]
    await engine.containers.stop(container.id, timeout=0)
    with pytest.raises(Conflict, match="is not running"):
        await engine.containers.top(container.id)


async def test_update_changes_limits_of_what_runs(engine: Engine) -> None:
    """`update` is in force at once, up and down, and is what inspect shows; nonsense changes nothing."""
    container = await run(engine, "sleep", "1000", host=HostConfig(memory=32 << 20))
    folder = engine._context.cgroups.folder("memory", engine._context.records.find(container.id).record.cgroup)
    assert folder is not None
    limit = folder / ("memory.max" if engine.system.facts.cgroup_version == "2" else "memory.limit_in_bytes")
    for size in (64 << 20, 16 << 20):
        await engine.containers.update(container.id, HostConfig(memory=size))
        assert int(limit.read_text()) == size
        assert engine.containers.find(container.id).host_config.memory == size
    with pytest.raises(InvalidArgument):
        await engine.containers.update(container.id, HostConfig(memory=100))
    await engine.containers.remove(container.id, force=True)


async def test_rotation_loses_nothing(engine: Engine, tmp_path: Path) -> None:
    """A log that is rotated while it is written and followed: each line once, and old files within the limit."""
    config = LogConfig(type="json-file", config={"max-size": "2k", "max-file": "50"})
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = "for r in $(seq 30); do for i in $(seq 100); do echo line $r $i; done; read go < /gate/gate; done"
    host = HostConfig(log_config=config, binds=[f"{tmp_path}:/gate"])
    container = await run(engine, "sh", "-c", script, host=host)
    path = Path(container.log_path)

    lines, rotations = [], 0
    with gate.open("r+b", buffering=0) as door:
        async for line in engine.containers.logs(container.id, LogOptions(follow=True)):
            lines.append(line.data)
            if len(lines) % 100 == 0:  # it goes on writing, or ends, while we rotate
                door.write(b"go\n")
                rotations += log_rotation.rotate(engine._context, container.id, path, config)
    wanted = [f"line {r} {i}\n".encode() for r in range(1, 31) for i in range(1, 101)]
    assert (await output(engine, container.id)).encode().splitlines(keepends=True) == wanted
    assert lines == wanted
    assert rotations > 5
    assert Path(f"{path}.1").exists()


async def test_rotation_of_a_log_that_ended_waits_for_the_next_start(engine: Engine) -> None:
    """Nobody writes the log of a container that has ended: it stays whole, whenever the container ended meanwhile."""
    config = LogConfig(type="json-file", config={"max-size": "100", "max-file": "3"})
    host = HostConfig(log_config=config)
    container = await run(engine, "sh", "-c", "seq 100; read go; seq 101 200; cat", host=host, open_stdin=True)
    path = Path(container.log_path)
    numbers = [f"{n}" for n in range(1, 101)]

    async def written() -> list[str]:
        return (await output(engine, container.id)).split()

    async def has_written(wanted: list[str]) -> bool:
        return await written() == wanted

    await until(lambda: has_written(numbers))
    await engine.containers.kill(container.id)
    await engine.containers.wait(container.id)
    for _ in range(3):
        assert not log_rotation.rotate(engine._context, container.id, path, config)
        assert await written() == numbers
    await engine.containers.start(container.id)
    await until(lambda: has_written(numbers * 2))
    assert log_rotation.rotate(engine._context, container.id, path, config)
    attachment = await engine.containers.attach(container.id)
    await attachment.write(b"go\n")
    await until(lambda: has_written(numbers * 2 + [f"{n}" for n in range(101, 201)]))
    assert sorted(p.name for p in path.parent.glob(f"{path.name}*")) == [path.name, f"{path.name}.1"]
    await engine.containers.remove(container.id, force=True)


async def test_log_options_nobody_knows_are_refused(engine: Engine) -> None:
    """A log option that is none is named."""
    with pytest.raises(InvalidArgument, match="unknown log opt"):
        await engine.containers.create(
            "", ContainerConfig(image=IMAGE, cmd=["true"]), HostConfig(log_config=LogConfig(config={"odd": "1"}))
        )


async def test_prune_takes_what_does_not_run(engine: Engine) -> None:
    """Prune removes stopped containers that match, and says how many bytes they had written."""
    running = await run(engine, "sleep", "1000")
    ended = await run(engine, "sh", "-c", "head -c 5000 /dev/zero > /file", labels={"a": "b"})
    other = await run(engine, "true")
    for container in (ended, other):
        await engine.containers.wait(container.id)
    assert await engine.containers.prune({"label": ["a=b"]}) == ([ended.id], 5000)
    assert other.id in (await engine.containers.prune({}))[0]
    assert engine.containers.find(running.id).state.running
    await engine.containers.remove(running.id, force=True)
