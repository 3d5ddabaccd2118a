"""What happens to a container while something else happens to it: starts, ends and execs that overlap."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
import pytest_asyncio

from shoal.engine import execs
from shoal.engine.engine import Engine
from shoal.engine.exec_session import ExecConfig, ExecInfo, ExecSession
from shoal.engine.logs import LogOptions
from shoal.model.container import Container, ContainerConfig, ContainerRestartPolicy, HostConfig
from shoal.model.errors import Conflict, NotFound
from tests.system.engine_setup import IMAGE, engine_alone, mounts_below, run
from tests.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    async with engine_alone() as engine:
        yield engine


@contextmanager
def held_start(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Starts go no further than to the creation of the process: (set when one is there, to be set to let it go on)."""
    create = engine._context.launcher.create
    there, go_on = threading.Event(), threading.Event()

    def held(*args: object) -> object:
        there.set()
        assert go_on.wait(60)
        return create(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(engine._context.launcher, "create", held)
    try:
        yield there, go_on
    finally:
        go_on.set()


async def starting(engine: Engine, there: threading.Event) -> tuple[Container, asyncio.Task[None]]:
    """A container whose start is under way."""
    container = await engine.containers.create("", ContainerConfig(image=IMAGE, cmd=["sleep", "1000"]))
    start = asyncio.create_task(engine.containers.start(container.id))
    await until(there.is_set)
    return container, start


async def test_a_stop_waits_for_the_start(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that is told to stop while it starts has ended when both are done."""
    with held_start(engine, monkeypatch) as (there, go_on):
        container, start = await starting(engine, there)
        stop = asyncio.create_task(engine.containers.stop(container.id, timeout=0))
        await asyncio.wait([stop], timeout=0.05)
        go_on.set()
        await asyncio.gather(start, stop)
    state = engine.containers.find(container.id).state
    assert (state.status, state.exit_code) == ("exited", 137)
    await engine.containers.remove(container.id)


async def test_a_kill_waits_for_the_start(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal for a container that is starting reaches it."""
    with held_start(engine, monkeypatch) as (there, go_on):
        container, start = await starting(engine, there)
        kill = asyncio.create_task(engine.containers.kill(container.id))
        await asyncio.wait([kill], timeout=0.05)
        go_on.set()
        await asyncio.gather(start, kill)
    await engine.containers.wait(container.id)
    await engine.containers.remove(container.id)


async def test_a_removal_during_the_start_leaves_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With force, a container that is starting is removed with its process and its mounts."""
    with held_start(engine, monkeypatch) as (there, go_on):
        container, start = await starting(engine, there)
        record = engine._context.records.find(container.id).record
        removal = asyncio.create_task(engine.containers.remove(container.id, force=True))
        await asyncio.wait([removal], timeout=0.05)
        go_on.set()
        await asyncio.gather(start, removal)
    with pytest.raises(NotFound):
        engine.containers.find(container.id)
    assert mounts_below(engine.options.data_root / "containers") == []
    folder = engine._context.cgroups.folder("pids", record.cgroup)
    assert folder is not None
    assert not folder.exists()
    assert not engine._context.conmon.bundle(container.id).exists()


@pytest.mark.parametrize("how", ["remove", "prune"])
async def test_what_is_starting_is_not_removed_unforced(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Without force a container that is starting counts as running."""
    with held_start(engine, monkeypatch) as (there, go_on):
        container, start = await starting(engine, there)
        if how == "remove":
            removal = asyncio.create_task(engine.containers.remove(container.id))
            with pytest.raises(Conflict, match="container is running: stop the container before removing"):
                go_on.set()
                await removal
        else:
            prune = asyncio.create_task(engine.containers.prune({}))
            go_on.set()
            assert container.id not in (await prune)[0]
        await start
    assert engine.containers.find(container.id).state.running
    await engine.containers.remove(container.id, force=True)


async def test_one_step_of_clearing_away_that_fails_hinders_no_other(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the files of an ended container's process cannot be removed, its mounts go all the same."""

    def fails(id: str) -> NoReturn:
        raise OSError(errno.EIO, "cannot be removed")

    container = await run(engine, "sleep", "1000")
    assert mounts_below(engine.options.data_root / "containers")
    with monkeypatch.context() as patch:
        patch.setattr(engine._context.conmon, "forget", fails)
        await engine.containers.kill(container.id)
    assert mounts_below(engine.options.data_root / "containers") == []
    await engine.containers.remove(container.id)


async def test_a_conmon_that_is_gone_before_it_listens_is_noticed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container whose conmon is killed while its first client comes has ended: nobody waits for ever."""

    def gone(id: str) -> NoReturn:
        os.kill(int((engine._context.conmon.bundle(id) / "conmon.pid").read_text()), 9)
        raise OSError(errno.ENXIO, "no reader")

    monkeypatch.setattr(engine._context.conmon, "await_loop", gone)
    container = await engine.containers.create("", ContainerConfig(image=IMAGE, cmd=["sleep", "1000"]))
    attachment = await engine.containers.attach(container.id)
    await engine.containers.start(container.id)
    assert (await engine.containers.wait(container.id))[0] == 255
    attachment.close()
    await engine.containers.remove(container.id)


async def test_an_exec_that_is_killed_before_it_began_ends(engine: Engine) -> None:
    """A health probe may run out of time before there is a process to kill: it is killed as soon as there is."""
    container = await run(engine, "sleep", "1000")
    entry = engine._context.records.find(container.id)
    id = engine._execs.create(entry, ExecConfig(cmd=["sleep", "1000"], attach_stdout=True))
    start = asyncio.create_task(engine._execs.start(id))
    await asyncio.wait([start], timeout=0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    engine._execs.kill(id)
    await until(lambda: engine.containers.exec_inspect(id).exit_code == 137)
    await engine.containers.remove(container.id, force=True)


async def test_words_of_a_slow_crun_are_not_taken_for_the_programs(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """crun's complaint is waited for while its process may still be crun, and not once it is the program."""
    container = await run(engine, "sleep", "1000")
    entry = engine._context.records.find(container.id)
    session = ExecSession(ExecInfo(id="e" * 64, container_id=entry.id, config=ExecConfig()), entry, engine._context)
    looks: list[int] = []

    def complaint() -> str:
        looks.append(len(looks))
        return "no such file" if len(looks) > 200 else ""

    monkeypatch.setattr(session, "complaint", complaint)
    assert await session.refused(b"exec: not found\n")
    looks.clear()
    session.file("pid").write_text(str(entry.record.pid))  # a program that has come to run
    assert not await session.refused(b"grep: not found\n")
    assert len(looks) == 1
    await engine.containers.remove(container.id, force=True)
    assert not Path(f"/proc/{entry.record.pid}/root").exists()


async def test_an_exec_ends_although_its_child_holds_the_output(engine: Engine) -> None:
    """What is left in the background holds the streams for ever: two seconds of silence after the end are enough."""
    container = await run(engine, "sleep", "1000")
    asked = ExecConfig(cmd=["sh", "-c", "sleep 1000 & echo started"], attach_stdout=True, attach_stderr=True)
    stream = await engine.containers.exec_start(await engine.containers.exec_create(container.id, asked))
    assert stream is not None
    async with asyncio.timeout(60):
        assert [frame async for frame in stream] == [(1, b"started\n")]
    stream.close()
    await engine.containers.remove(container.id, force=True)


async def test_each_end_of_a_container_that_restarts_is_an_end(engine: Engine) -> None:
    """Who waits for a container, or follows its log, hears of its end, also where it is started again at once."""
    host = HostConfig(restart_policy=ContainerRestartPolicy(name="always"))
    container = await run(engine, "sh", "-c", "echo hi; read x; exit 3", host=host, open_stdin=True)
    ended = engine.containers.wait(container.id)
    follower = engine.containers.logs(container.id, LogOptions(follow=True))
    assert (await anext(follower)).data == b"hi\n"
    await (await engine.containers.attach(container.id)).write(b"go\n")
    async with asyncio.timeout(60):
        assert (await ended)[0] == 3
        assert {line.data async for line in follower} <= {b"hi\n"}
    await until(lambda: engine.containers.find(container.id).restart_count == 1)
    await engine.containers.remove(container.id, force=True)


async def test_execs_are_forgotten_some_time_after_their_end(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may live for years, and be probed every second."""
    container = await run(engine, "sleep", "1000")
    asked = ExecConfig(cmd=["true"])
    first = await engine.containers.exec_create(container.id, asked)
    await engine.containers.exec_start(first, detach=True)
    await until(lambda: engine.containers.exec_inspect(first).exit_code == 0)
    await engine.containers.exec_create(container.id, asked)
    assert engine.containers.exec_inspect(first).exit_code == 0
    monkeypatch.setattr(execs, "REMEMBERED", 0.0)
    second = await engine.containers.exec_create(container.id, asked)
    with pytest.raises(NotFound):
        engine.containers.exec_inspect(first)
    assert engine.containers.exec_inspect(second).exit_code is None
    await engine.containers.remove(container.id, force=True)
