"""Containers run, with what they were asked to have, and end as docker says they end."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from shoal.engine.engine import Engine
from shoal.engine.logs import LogOptions
from shoal.kit.clock import ZERO_TIME
from shoal.model.container import ContainerConfig, HostConfig, ThrottleDevice
from shoal.model.errors import Conflict, InvalidArgument, NotFound, NotModified, ShoalError
from shoal.model.swarm_spec import Driver, Mount, Ulimit
from tests.system.engine_setup import IMAGE, clear, engine_alone, mounts_below, output, run
from tests.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    async with engine_alone() as engine:
        yield engine


async def finished(engine: Engine, *command: str, host: HostConfig | None = None, **config: object) -> tuple[int, str]:
    """Run a container to its end: exit code and output."""
    container = await run(engine, *command, host=host, **config)
    code, _ = await engine.containers.wait(container.id)
    text = await output(engine, container.id)
    await engine.containers.remove(container.id, volumes=True)
    return code, text


async def test_exit_code_and_both_streams_are_kept(engine: Engine) -> None:
    """A container's exit code, standard output and standard error are known after its end."""
    container = await run(engine, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert await engine.containers.wait(container.id) == (7, "")
    lines = [line async for line in engine.containers.logs(container.id, LogOptions())]
    assert sorted((line.stream, line.data) for line in lines) == [(1, b"out\n"), (2, b"err\n")]
    state = engine.containers.find(container.id).state
    assert (state.status, state.running, state.pid, state.exit_code) == ("exited", False, 0, 7)
    assert state.finished_at >= state.started_at > ZERO_TIME


async def test_death_by_signal_is_128_and_the_signal(engine: Engine) -> None:
    """A killed container's exit code is 128 plus the signal's number."""
    container = await run(engine, "sleep", "1000")
    await engine.containers.kill(container.id)
    assert await engine.containers.wait(container.id) == (137, "")


async def test_missing_command_is_127_and_leaves_the_error(engine: Engine) -> None:
    """A command that is not in the image: 400 in docker's words, exit code 127, State.Error, nothing left mounted."""
    container = await engine.containers.create("", ContainerConfig(image=IMAGE, cmd=["nope"]), HostConfig())
    with pytest.raises(InvalidArgument, match=re.escape('exec: "nope": executable file not found in $PATH')):
        await engine.containers.start(container.id)
    state = engine.containers.find(container.id).state
    assert (state.status, state.exit_code) == ("created", 127)
    assert "executable file not found in $PATH" in state.error
    assert not any(container.id in mount for mount in mounts_below(engine.options.data_root))


@pytest.mark.parametrize(("command", "code"), [("/etc/plain", 126), ("/nowhere", 127), ("/etc", 126)])
async def test_what_cannot_be_executed(engine: Engine, command: str, code: int) -> None:
    """A file without execute permission or a directory is 126, a path that does not exist 127."""
    container = await engine.containers.create("", ContainerConfig(image=IMAGE, cmd=[command]), HostConfig())
    with pytest.raises(InvalidArgument):
        await engine.containers.start(container.id)
    assert engine.containers.find(container.id).state.exit_code == code


async def test_names_conflict_and_are_found(engine: Engine) -> None:
    """A name is taken once; containers are found by name, id and beginning of the id."""
    asked = ContainerConfig(image=IMAGE, cmd=["true"])
    first = await engine.containers.create("only", asked)
    text = f'Conflict. The container name "/only" is already in use by container "{first.id}"'
    with pytest.raises(Conflict, match=re.escape(text)):
        await engine.containers.create("only", asked)
    for wanted in ("only", "/only", first.id, first.id[:8]):
        assert engine.containers.find(wanted).id == first.id
    await engine.containers.rename("only", "other")
    await engine.containers.create("only", asked)
    assert engine.containers.find("other").id == first.id
    with pytest.raises(NotFound, match="No such container: missing"):
        engine.containers.find("missing")
    with pytest.raises(NotFound, match="No such image"):
        await engine.containers.create("", ContainerConfig(image="absent", cmd=["true"]))


async def test_stop_asks_first_and_kills_then(engine: Engine) -> None:
    """Stop sends the stop signal; a container that ignores it is killed when the time is up; twice is 304."""
    polite = await run(engine, "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done")
    await until(lambda: output(engine, polite.id))
    await engine.containers.stop(polite.id, timeout=10)
    assert engine.containers.find(polite.id).state.exit_code == 5
    with pytest.raises(NotModified):
        await engine.containers.stop(polite.id)
    stubborn = await run(engine, "sleep", "1000")
    await engine.containers.stop(stubborn.id, timeout=0)
    assert engine.containers.find(stubborn.id).state.exit_code == 137
    with pytest.raises(Conflict, match="is not running"):
        await engine.containers.kill(stubborn.id)


async def test_start_again_keeps_the_files(engine: Engine) -> None:
    """A container that is started again has the files it wrote before, and starting a running one is 304."""
    container = await run(engine, "sh", "-c", "cat /kept 2>/dev/null; echo yes > /kept; sleep 0.2")
    with pytest.raises(NotModified):
        await engine.containers.start(container.id)
    await engine.containers.wait(container.id)
    await engine.containers.start(container.id)
    await engine.containers.wait(container.id)
    assert await output(engine, container.id) == "yes\n"


async def test_running_containers_are_removed_only_by_force(engine: Engine) -> None:
    """Removing a running container is a conflict in docker's words, unless forced."""
    container = await run(
        engine,
        "sleep",
        "1000",
    )
    text = f'cannot remove container "/{container.name}": container is running'
    with pytest.raises(Conflict, match=re.escape(text)):
        await engine.containers.remove(container.id)
    gone = engine.containers.wait(container.id, "removed")
    await engine.containers.remove(container.id, force=True)
    assert (await gone)[0] == 137
    with pytest.raises(NotFound):
        engine.containers.find(container.id)
    assert not (engine.options.data_root / "containers" / container.id).exists()


async def test_identity_environment_and_place(engine: Engine) -> None:
    """User and groups by name, the environment, the working directory (made if missing) and the host name."""
    code, text = await finished(
        engine, "sh", "-c", "id; pwd; hostname; echo $HOME $GREETING $PATH; grep Cap /proc/self/status",
        user="web", working_dir="/made/here", hostname="box", env=["GREETING=hello"],
    )  # fmt: skip
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == "uid=1000(web) gid=1000(web) groups=1000(web),2000(extra)"
    assert lines[1:4] == ["/made/here", "box",
                          "/home/web hello /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]  # fmt: skip
    assert "CapEff:\t0000000000000000" in lines
    assert "CapBnd:\t00000000a80425fb" in lines  # docker's fourteen


async def test_seccomp_capabilities_and_masks_are_dockers(engine: Engine) -> None:
    """By default: the fourteen capabilities, a seccomp filter that refuses unshare, masked and read-only paths."""
    script = "grep -E 'CapEff|Seccomp:' /proc/self/status; unshare -m true || echo refused; wc -c < /proc/kcore; " \
             "echo x > /proc/sys/kernel/hostname || echo readonly"  # fmt: skip
    _, text = await finished(engine, "sh", "-c", script)
    assert "CapEff:\t00000000a80425fb" in text
    assert "Seccomp:\t2" in text
    assert "refused" in text
    assert "readonly" in text
    _, free = await finished(
        engine, "sh", "-c", "grep Seccomp: /proc/self/status", host=HostConfig(security_opt=["seccomp=unconfined"])
    )
    assert "Seccomp:\t0" in free


async def test_devices_are_restricted(engine: Engine) -> None:
    """A container may make a device file but not use a disk through it, unless it was given the device."""
    script = (
        "mknod /d b 254 0 2>&1; head -c1 /d >/dev/null 2>&1 && echo read || echo refused; echo x >/dev/null && echo ok"
    )
    code, text = await finished(engine, "/bin/busybox", "sh", "-c", f"busybox {script}".replace("busybox mknod", "/bin/busybox mknod"))  # fmt: skip
    assert code == 0
    assert text == "refused\nok\n"


async def test_limits_are_in_force(engine: Engine) -> None:
    """Memory, CPU and process limits are what the kernel enforces, and visible inside the container."""
    host = HostConfig(memory=64 << 20, nano_cpus=500_000_000, pids_limit=20, cpu_shares=512,
                      ulimits=[Ulimit(name="nofile", soft=100, hard=200)])  # fmt: skip
    script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max cpu/cpu.shares 2>/dev/null" \
             " || cat memory.max cpu.max pids.max; ulimit -n"  # fmt: skip
    _, text = await finished(engine, "sh", "-c", script, host=host)
    if engine.system.facts.cgroup_version == "1":
        assert text.split() == [str(64 << 20), "50000", "20", "512", "100"]
    else:
        assert text.split() == [str(64 << 20), "50000", "100000", "20", "100"]


async def test_out_of_memory_is_told(engine: Engine) -> None:
    """A container that the kernel kills for its memory limit has OOMKilled set and code 137."""
    container = await run(
        engine, "sh", "-c", "tail /dev/zero", host=HostConfig(memory=16 << 20, memory_swap=16 << 20)
    )  # fmt: skip
    await engine.containers.wait(container.id)
    assert engine.containers.find(container.id).state.oom_killed


async def test_volumes_binds_and_tmpfs(engine: Engine) -> None:
    """A new volume gets the image's files, a bind shows the host's, tmpfs is empty; read-only ones cannot be written."""
    source = engine.options.data_root / "bound"
    host = HostConfig(
        binds=["filled:/data", f"{source}:/bound:ro"], tmpfs={"/scratch": "size=1m"},
        mounts=[Mount(type="tmpfs", target="/second")],
    )  # fmt: skip
    script = "cat /data/seed; echo more >> /data/seed; echo no > /bound/x || echo refused; ls /scratch /second; " \
             "touch /scratch/a /second/a && echo fine"  # fmt: skip
    code, text = await finished(engine, "sh", "-c", script, host=host)
    assert (code, text) == (0, "from the image\nrefused\n/scratch:\n\n/second:\nfine\n") or "fine" in text
    assert source.is_dir()
    assert (await finished(engine, "cat", "/data/seed", host=host))[1] == "from the image\nmore\n"
    with pytest.raises(InvalidArgument, match="bind source path does not exist"):
        await run(engine, "true", host=HostConfig(mounts=[Mount(type="bind", source="/not/there", target="/x")]))
    engine.volumes.remove("filled")


async def test_anonymous_volumes_go_with_the_container(engine: Engine) -> None:
    """Removing with volumes deletes those that nobody named."""
    container = await run(engine, "true", volumes={"/data": {}})
    await engine.containers.wait(container.id)
    name = container.mounts[0].name
    assert engine.volumes.find(name).mountpoint == container.mounts[0].source
    await engine.containers.remove(container.id, volumes=True)
    with pytest.raises(NotFound):
        engine.volumes.find(name)


async def test_readonly_root_and_init(engine: Engine) -> None:
    """A read-only root cannot be written; --init makes a small init the first process."""
    code, text = await finished(
        engine, "sh", "-c", "touch /x 2>/dev/null || echo refused; cat /proc/1/comm", host=HostConfig(readonly_rootfs=True, init=True)
    )  # fmt: skip
    assert (code, text) == (0, "refused\ndocker-init\n")


async def test_pause_freezes_and_kill_ends_it(engine: Engine) -> None:
    """A paused container makes no progress, goes on when unpaused, and can be stopped while paused."""
    container = await run(engine, "sh", "-c", "while :; do echo tick; sleep 0.01; done")
    await until(lambda: output(engine, container.id))
    await engine.containers.pause(container.id)
    assert engine.containers.find(container.id).state.status == "paused"
    before = await output(engine, container.id)
    with pytest.raises(Conflict):
        await engine.containers.pause(container.id)
    await engine.containers.unpause(container.id)

    async def more() -> bool:
        return len(await output(engine, container.id)) > len(before)

    await until(more)
    await engine.containers.pause(container.id)
    await engine.containers.stop(container.id, timeout=0)
    assert engine.containers.find(container.id).state.exit_code == 137


async def test_hundred_starts_at_once(engine: Engine) -> None:
    """A hundred containers that are started at the same moment all run, and leave nothing when removed."""
    containers = await asyncio.gather(*(run(engine, "sleep", "1000") for _ in range(100)))
    assert all(engine.containers.find(c.id).state.running for c in containers)
    await asyncio.gather(*(engine.containers.remove(c.id, force=True) for c in containers))
    assert not any(c.id in mount for c in containers for mount in mounts_below(engine.options.data_root))
    await clear(engine)


async def test_events_tell_the_story(engine: Engine) -> None:
    """create, start, die with the exit code, destroy: each once, in this order, with name and image."""
    events = engine.events.subscribe()
    container = await run(engine, "false", host=HostConfig(auto_remove=True))
    seen = []
    async with asyncio.timeout(10):
        async for event in events:
            if event.actor.id == container.id:
                seen.append((event.action, event.actor.attributes.get("exitCode")))
                assert event.actor.attributes["name"] == container.name
                if event.action == "destroy":
                    break
    assert seen == [("create", None), ("start", None), ("die", "1"), ("destroy", None)]


@pytest.mark.parametrize(
    ("host", "text"),
    [
        (HostConfig(memory=1000), "Minimum memory limit allowed is 6MB"),
        (HostConfig(nano_cpus=10**15), "range of CPUs is from 0.01"),
        (HostConfig(cap_add=["NOPE"]), 'unknown capability: "CAP_NOPE"'),
        (HostConfig(binds=["a:b:c:d"]), "invalid volume specification"),
        (HostConfig(binds=["one:/a", "two:/a"]), "Duplicate mount point: /a"),
        (HostConfig(mounts=[Mount(type="odd", target="/a")]), "mount type unknown"),
    ],
)
async def test_nonsense_is_refused(engine: Engine, host: HostConfig, text: str) -> None:
    """What makes no sense is refused at create, in docker's words, and leaves nothing."""
    before = len(engine.containers.list())
    with pytest.raises(InvalidArgument, match=re.escape(text)):
        await engine.containers.create("nonsense", ContainerConfig(image=IMAGE, cmd=["true"]), host)
    assert len(engine.containers.list()) == before


async def test_volumes_with_options_are_mounted_while_they_are_used(engine: Engine, tmp_path: Path) -> None:
    """A tmpfs volume: mounted by the first container, shared with the second, unmounted after the last; then empty."""
    folder = engine.volumes.create("memory", options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}).mountpoint
    host = HostConfig(binds=["memory:/data"])
    assert mounts_below(Path(folder)) == []
    first = await run(engine, "sh", "-c", "echo mine >> /data/seed; echo ready; sleep 1000", host=host)
    await until(lambda: output(engine, first.id))
    assert mounts_below(Path(folder)) == [folder]
    code, text = await finished(engine, "sh", "-c", "grep ' /data ' /proc/self/mountinfo; cat /data/seed", host=host)
    assert code == 0
    assert "size=1024k" in text
    assert text.endswith("from the image\nmine\n")
    assert mounts_below(Path(folder)) == [folder]
    await engine.containers.remove(first.id, force=True)
    assert mounts_below(Path(folder)) == []
    assert (await finished(engine, "cat", "/data/seed", host=host))[1] == "from the image\n"
    engine.volumes.remove("memory")


async def test_a_bound_volume_outlives_its_removal(engine: Engine, tmp_path: Path) -> None:
    """`type=none,o=bind`: the directory's files are seen, flags hold, and removing the volume leaves them."""
    (tmp_path / "kept").write_text("of the host\n")
    options = {"type": "none", "o": "bind,ro", "device": str(tmp_path)}
    mount = Mount(
        source="bound", target="/data", volume_options=Mount.VolumeOptions(driver_config=Driver(options=options))
    )
    host = HostConfig(mounts=[mount])
    code, text = await finished(
        engine, "sh", "-c", "cat /data/kept; touch /data/x 2>/dev/null || echo refused", host=host
    )
    assert (code, text.splitlines()[0], text.splitlines()[-1]) == (0, "of the host", "refused")
    engine.volumes.remove("bound")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


async def test_a_volume_that_cannot_be_mounted_fails_the_start(engine: Engine) -> None:
    """In docker's words, with nothing left mounted; the password is not told."""
    options = {"type": "ext4", "device": "/nonexistent", "o": "ro,password=secret"}
    name = engine.volumes.create("broken", options=options).name
    container = await engine.containers.create(
        "", ContainerConfig(image=IMAGE, cmd=["true"]), HostConfig(binds=["broken:/x"])
    )
    with pytest.raises(ShoalError) as caught:
        await engine.containers.start(container.id)
    words = str(caught.value)
    assert "failed to mount local volume: mount /nonexistent:" in words
    assert "flags: 0x1, data: password=********: " in words
    assert not any(container.id in mount for mount in mounts_below(engine.options.data_root))
    await engine.containers.remove(container.id)
    engine.volumes.remove(name)


async def test_rules_for_devices_and_limits_of_disks(engine: Engine) -> None:
    """--device-cgroup-rule lets a container use devices by number; --device-read-bps is what the kernel is told."""
    disk = min(Path("/sys/block").iterdir())
    number = (disk / "dev").read_text().strip()
    script = f"/bin/busybox mknod /disk b {number.replace(':', ' ')}; head -c1 /disk >/dev/null && echo may"
    allowed = HostConfig(device_cgroup_rules=[f"a {number} r"])
    assert (await finished(engine, "sh", "-c", script, host=allowed))[1] == "may\n"
    assert "may" not in (await finished(engine, "sh", "-c", script))[1]
    host = HostConfig(blkio_device_read_bps=[ThrottleDevice(path=f"/dev/{disk.name}", rate=1 << 20)])
    container = await run(engine, "sleep", "1000", host=host)
    cgroups = engine._context.cgroups
    folder = cgroups.folder("io", f"{engine.options.cgroup_parent}/{container.id}")
    assert folder is not None
    name = "blkio.throttle.read_bps_device" if cgroups.version == 1 else "io.max"
    assert number in (folder / name).read_text()
    assert str(1 << 20) in (folder / name).read_text()


async def test_annotations_reach_the_runtime(engine: Engine) -> None:
    """--annotation is in what crun is given, beside the engine's own, which win."""
    host = HostConfig(annotations={"org.example": "yes", "run.oci.seccomp_bpf_data": "mine"})
    container = await run(engine, "sleep", "1000", host=host)
    bundle = engine._context.conmon.bundle(container.id)
    told = json.loads((bundle / "config.json").read_text())["annotations"]
    assert told["org.example"] == "yes"
    assert told["run.oci.seccomp_bpf_data"] not in ("", "mine")
