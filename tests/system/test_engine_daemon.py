"""The daemon may be killed at any moment: containers run on, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from shoal.engine.engine import Engine
from shoal.engine.logs import LogOptions
from shoal.model.container import ContainerConfig, ContainerRestartPolicy, HostConfig
from shoal.model.errors import ShoalError
from tests.system.engine_setup import IMAGE, Place, clear, engine_at, mounts_below, output, run
from tests.waiting import until, until_sync

pytestmark = pytest.mark.system

_DAEMON = """
import asyncio, sys
from pathlib import Path
import msgspec
from shoal.engine.options import EngineOptions
from shoal.model.base import decode
from shoal.model.container import ContainerConfig, HostConfig
from tests.system.engine_setup import IMAGE, Place, engine_at

async def main():
    place = Place.__new__(Place)
    place.root, place.options = Path(sys.argv[1]), EngineOptions(
        data_root=Path(sys.argv[1]) / "data", exec_root=Path(sys.argv[1]) / "run", cgroup_parent=sys.argv[2])
    async with engine_at(place) as engine:
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, script, host = msgspec.json.decode(line)
            container = await engine.containers.create(
                name, ContainerConfig(image=IMAGE, cmd=["sh", "-c", script]), decode(msgspec.json.encode(host), HostConfig))
            print(f"created {container.id}", flush=True)
            await engine.containers.start(container.id)
            print(f"started {container.id}", flush=True)

asyncio.run(main())
"""


class Daemon:
    """An engine in a process of its own, told what to run on its standard input."""

    def __init__(self, place: Place) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", _DAEMON, str(place.root), place.options.cgroup_parent],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=os.getcwd(),
        )  # fmt: skip
        assert self.line() == "ready"

    def line(self) -> str:
        """Its next answer."""
        assert self._child.stdout is not None
        return self._child.stdout.readline().strip()

    def ask(self, name: str, script: str, host: dict[str, object] | None = None) -> None:
        """Have it create and start a container."""
        import json

        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps([name, script, host or {}]) + "\n")
        self._child.stdin.flush()

    def run(self, name: str, script: str, host: dict[str, object] | None = None) -> str:
        """`ask`, and wait until it runs; its id."""
        self.ask(name, script, host)
        assert self.line().startswith("created ")
        kind, id = self.line().split()
        assert kind == "started"
        return id

    def kill(self) -> None:
        """kill -9."""
        self._child.send_signal(signal.SIGKILL)
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe:
                pipe.close()


@contextmanager
def place() -> Iterator[Place]:
    made = Place()
    try:
        yield made
        until_sync(lambda: not processes_of(made))
    finally:
        made.delete()


def processes_of(place: Place) -> list[str]:
    """The command lines of processes that belong to an engine at `place`: conmon and crun, not the test itself."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes().decode(errors="replace"))
    return [line for line in lines if f"{place.options.exec_root}/c/" in line]


@asynccontextmanager
async def last_engine(place: Place) -> AsyncIterator[Engine]:
    """The engine after the restart, that clears everything away at the end."""
    async with engine_at(place) as engine:
        try:
            yield engine
        finally:
            await clear(engine)


async def test_containers_survive_kill_9_with_logs_and_exit_codes_whole() -> None:
    """kill -9: what runs is taken over, what ended meanwhile has its exit code, and no line of a log is missing."""
    with place() as where:
        daemon = await asyncio.to_thread(Daemon, where)
        counting = daemon.run("counting", "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.01; done; exit 9")
        lasting = daemon.run("lasting", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
        daemon.kill()
        # conmon, not a daemon, notes the end
        await until((where.options.exec_root / "exits" / counting).exists, timeout=30)
        async with last_engine(where) as engine:
            await until(lambda: engine.containers.find("counting").state.status == "exited")
            assert engine.containers.find("counting").state.exit_code == 9
            assert (await output(engine, counting)).split() == [str(n) for n in range(300)]
            assert engine.containers.find("lasting").state.running
            await engine.containers.stop(lasting)
            assert engine.containers.find("lasting").state.exit_code == 3
        assert mounts_below(where.root) == []


async def test_leaving_the_engine_leaves_containers_running() -> None:
    """A daemon that stops in good order leaves its containers running, and the next one has them back, exec included."""
    with place() as where:
        async with engine_at(where) as first:
            container = await run(first, "sh", "-c", "echo before; while :; do sleep 0.05; done")
            pid = first.containers.find(container.id).state.pid
        os.kill(pid, 0)
        async with last_engine(where) as engine:
            found = engine.containers.find(container.id)
            assert (found.state.running, found.state.pid) == (True, pid)
            assert found.state.started_at == found.state.started_at
            lines = engine.containers.logs(container.id, LogOptions(follow=True))
            assert (await anext(lines)).data == b"before\n"
            await engine.containers.kill(container.id)
            assert [line async for line in lines] == []


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03])
async def test_killed_in_the_middle_of_a_start(delay: float) -> None:
    """Killed at any moment of create and start: the container is there or not, runs or does not; never in between."""
    with place() as where:
        daemon = await asyncio.to_thread(Daemon, where)
        daemon.ask("half", "echo ran; sleep 1000")
        if delay:
            assert daemon.line().startswith("created ")
            await asyncio.to_thread(_spin, delay)
        daemon.kill()
        async with last_engine(where) as engine:
            for container in engine.containers.list():
                if not container.state.running:
                    assert container.state.status in ("created", "exited")
                    assert not any(container.id in mount for mount in mounts_below(where.root))
                    await engine.containers.start(container.id)
                await until(functools.partial(output, engine, container.id))
            if not engine.containers.list():  # the name is free then
                await engine.containers.create("half", ContainerConfig(image=IMAGE, cmd=["true"]))
        assert mounts_below(where.root) == []


def _spin(seconds: float) -> None:
    """Let that much time pass exactly, to hit different moments of a start."""
    import time

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize("delay", [0.03, 0.05, 0.07, 0.09, 0.11])
async def test_killed_while_containers_come_and_go(delay: float) -> None:
    """Killed while it starts, cleans up and removes many: afterwards nothing is mounted, kept or running but what is
    listed as running."""
    with place() as where:
        daemon = await asyncio.to_thread(Daemon, where)
        for number in range(12):
            daemon.ask(f"brief{number}", "true", {"AutoRemove": number % 2 == 0})
        for _ in range(4):
            daemon.line()
        await asyncio.to_thread(_spin, delay)
        daemon.kill()
        async with last_engine(where) as engine:
            await until(
                lambda: all(
                    not c.state.running and not (c.host_config.auto_remove and c.state.status == "exited")
                    for c in engine.containers.list()
                )
            )
            await until(lambda: mounts_below(where.root) == [])
            known = {c.id for c in engine.containers.list()}
            folder = where.options.data_root / "containers"
            await until(lambda: {entry.name for entry in folder.iterdir()} == known)
            await until(lambda: not list((where.options.exec_root / "c").iterdir()))
            for container in engine.containers.list():
                assert container.state.exit_code == 0
                await engine.containers.start(container.id)
                assert (await engine.containers.wait(container.id))[0] == 0


async def test_policies_after_the_daemon_was_away() -> None:
    """After a restart `always` runs again, `unless-stopped` only if no user stopped it; auto-remove is honoured."""
    with place() as where:
        async with engine_at(where) as engine:
            always = await run(engine, "sleep", "1000", host=_policy("always"))
            stopped = await run(engine, "sleep", "1000", host=_policy("unless-stopped"))
            gone = await run(engine, "sleep", "1000", host=HostConfig(auto_remove=True))
            await engine.containers.stop(always.id, timeout=0)
            await engine.containers.stop(stopped.id, timeout=0)
            pid = engine.containers.find(gone.id).state.pid
        os.kill(pid, signal.SIGKILL)
        await until((where.options.exec_root / "exits" / gone.id).exists)
        async with last_engine(where) as engine:
            await until(lambda: engine.containers.find(always.id).state.running)
            assert not engine.containers.find(stopped.id).state.running
            await until(lambda: gone.id not in [c.id for c in engine.containers.list()])


async def test_mounted_volumes_outlive_the_daemon() -> None:
    """Killed while two containers use a volume that is a mount, one of which ends meanwhile: the next daemon counts
    again, keeps the volume for the other, and unmounts it with that one's end."""
    with place() as where:
        folder = where.options.data_root / "volumes" / "memory" / "_data"
        async with engine_at(where) as engine:
            engine.volumes.create("memory", options={"type": "tmpfs", "device": "tmpfs"})
        daemon = await asyncio.to_thread(Daemon, where)
        host: dict[str, object] = {"Binds": ["memory:/kept"]}
        staying = daemon.run("staying", "echo kept > /kept/file; sleep 1000", host)
        ending = daemon.run("ending", "while [ ! -e /kept/end ]; do sleep 0.01; done", host)
        daemon.kill()
        (folder / "end").touch()
        await until((where.options.exec_root / "exits" / ending).exists)
        assert mounts_below(folder) == [str(folder)]
        async with last_engine(where) as engine:
            await until(lambda: engine.containers.find("ending").state.status == "exited")
            async with engine._context.records.find("ending").lock:  # its end is worked through
                assert mounts_below(folder) == [str(folder)]
            await engine.containers.start("ending")
            assert await engine.containers.wait("ending") == (0, "")
            assert (folder / "file").read_text() == "kept\n"
            await engine.containers.kill(staying)
            await engine.containers.remove(staying)
            assert mounts_below(folder) == []
        assert mounts_below(where.root) == []


async def test_a_mount_that_nobody_uses_goes_at_the_daemons_start() -> None:
    """Left by a daemon that was killed between mounting a volume and running its container."""
    with place() as where:
        async with engine_at(where) as engine:
            folder = engine.volumes.create("memory", options={"type": "tmpfs", "device": "tmpfs"}).mountpoint
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
        async with last_engine(where):
            assert mounts_below(Path(folder)) == []


async def test_a_reboot_is_survived() -> None:
    """After the machine went down with everything: what ran has ended with 255, `always` runs again, files are kept."""
    with place() as where:
        async with engine_at(where) as engine:
            plain = await run(engine, "sh", "-c", "echo kept > /file; sleep 1000")
            always = await run(engine, "sh", "-c", "echo again; sleep 1000", host=_policy("always"))
            await until(lambda: output(engine, always.id))
            bundles = [where.options.exec_root / "c" / c.id for c in (plain, always)]
        for bundle in bundles:
            for name in ("conmon.pid", "pid"):
                with suppress(ProcessLookupError):
                    os.kill(int((bundle / name).read_text()), signal.SIGKILL)
        await until(lambda: not processes_of(where))
        for mount in mounts_below(where.root):
            subprocess.run(["umount", "-l", mount], check=True)
        shutil.rmtree(where.options.exec_root)
        async with last_engine(where) as engine:
            await until(lambda: engine.containers.find(always.id).restart_count == 1)
            await until(lambda: engine.containers.find(always.id).state.status == "running")
            await until(lambda: engine.containers.find(plain.id).state.status == "exited")
            assert engine.containers.find(plain.id).state.exit_code == 255
            upper = where.options.data_root / "containers" / plain.id / "upper"
            assert (upper / "file").read_text() == "kept\n"
            await engine.containers.start(plain.id)
            assert engine.containers.find(plain.id).state.running


def _policy(name: str) -> HostConfig:
    return HostConfig(restart_policy=ContainerRestartPolicy(name=name))


async def test_killed_conmon_takes_its_container_along() -> None:
    """A container whose conmon is killed does not linger unseen: it ends, with code 255."""
    with place() as where:
        async with last_engine(where) as engine:
            container = await run(engine, "sleep", "1000")
            os.kill(int((where.options.exec_root / "c" / container.id / "conmon.pid").read_text()), signal.SIGKILL)
            assert await engine.containers.wait(container.id) == (255, "")
            assert mounts_below(where.root) == []


async def test_a_crun_that_is_killed_late_is_noticed() -> None:
    """Killed when the container's process is there already: the start fails at once, nothing is left, and a next one,
    slow but not killed, succeeds. conmon alone would wait for that process to say something, and it for its release."""
    with place() as where:
        armed = where.root / "armed"
        crun = where.root / "crun"
        crun.write_text(f"""#!/bin/sh
            case "$*" in *" create "*) [ -e {armed} ] || sleep 3;; esac
            /usr/bin/crun "$@"
            case "$*" in *" create "*) [ ! -e {armed} ] || kill -9 $$;; esac
        """)
        crun.chmod(0o755)
        where.options = replace(where.options, crun=str(crun))
        async with last_engine(where) as engine:
            armed.touch()
            with pytest.raises(ShoalError, match="unable to start container process: crun or conmon was killed"):
                async with asyncio.timeout(30):  # far less than creating may take
                    await run(engine, "sleep", "1000")
            assert mounts_below(where.root) == []
            until_sync(lambda: not processes_of(where))
            armed.unlink()
            (container,) = engine.containers.list()
            await engine.containers.start(container.id)
            assert engine.containers.find(container.id).state.running


async def test_restart_policy_runs_it_again() -> None:
    """on-failure starts a failing container again up to its maximum; a user's stop ends it for good."""
    with place() as where:
        async with last_engine(where) as engine:
            host = HostConfig(restart_policy=ContainerRestartPolicy(name="on-failure", maximum_retry_count=2))
            failing = await run(engine, "sh", "-c", "echo again; exit 1", host=host)
            await until(lambda: engine.containers.find(failing.id).state.status == "exited")
            assert engine.containers.find(failing.id).state.exit_code == 1
            assert engine.containers.find(failing.id).restart_count == 2
            assert await output(engine, failing.id) == "again\n" * 3
            looping = await run(engine, "true", host=_policy("always"))
            await until(lambda: engine.containers.find(looping.id).state.restarting)
            await engine.containers.stop(looping.id)
            assert engine.containers.find(looping.id).state.status == "exited"


async def test_what_a_killed_crun_left_goes_at_the_next_start() -> None:
    """crun's copies of itself lie with the engine, not in /tmp; those of the dead go when it starts, others stay."""
    with place() as where:
        copies = where.options.exec_root / "crun-copies"
        copies.mkdir(parents=True)
        dead, alive = copies / "crun.aaaaaa", copies / "crun.bbbbbb"
        for path, age in ((dead, 3600), (alive, 0)):
            path.touch(mode=0)
            os.utime(path, (time.time() - age,) * 2)
        in_tmp = set(Path("/tmp").glob("crun.*"))
        async with last_engine(where) as engine:
            assert {*copies.iterdir()} == {alive}
            await run(engine, "true")
            assert {*copies.iterdir()} == {alive}
        assert set(Path("/tmp").glob("crun.*")) <= in_tmp
