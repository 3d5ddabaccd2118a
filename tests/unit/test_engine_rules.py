"""Restart policies, health checks, logs, paths and events: the engine's rules that need no machine."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.engine import conmon, health, linux, restart, restore, rootfs
from shoal.engine.attach import Attachment
from shoal.engine.cgroup import Cgroups
from shoal.engine.conmon import Conmon
from shoal.engine.events import Events
from shoal.engine.layers import tree_size
from shoal.engine.log_rotation import limits
from shoal.engine.logs import LONGEST, Assembler, LogOptions, LogReader, files
from shoal.engine.options import EngineOptions
from shoal.engine.process import Workers
from shoal.kit.clock import SystemClock
from shoal.machine.local import cgroups as local_cgroups
from shoal.machine.local.cgroups import Hierarchy
from shoal.model.container import (
    ContainerConfig,
    ContainerRestartPolicy,
    Health,
    HealthResult,
    HostConfig,
    LogConfig,
)
from shoal.model.engine import Actor, Event
from shoal.model.errors import InvalidArgument
from shoal.model.swarm_spec import HealthConfig
from tests.waiting import until_sync

S = 10**9


def policy(name: str, count: int = 0) -> ContainerRestartPolicy:
    return ContainerRestartPolicy(name=name, maximum_retry_count=count)


@pytest.mark.parametrize(
    ("name", "code", "again"),
    [
        ("no", 1, False),
        ("", 1, False),
        ("always", 0, True),
        ("unless-stopped", 0, True),
        ("on-failure", 0, False),
        ("on-failure", 1, True),
    ],
)
def test_restart_after_exit(name: str, code: int, again: bool) -> None:
    """Each policy restarts for its own exit codes, and none after a user's stop."""
    assert restart.after_exit(policy(name), code, restarts=0).restart is again
    assert not restart.after_exit(policy(name), code, restarts=0, stopped=True).restart


def test_restart_delay_doubles_to_a_minute_and_begins_anew() -> None:
    """100 ms, 200 ms, ... one minute at most; back to 100 ms after ten seconds of running."""
    delays, delay = [], 0.0
    for _ in range(12):
        delay = restart.after_exit(policy("always"), 0, restarts=0, previous_delay=delay).delay
        delays.append(delay)
    assert delays[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert delays[-1] == 60.0
    assert restart.after_exit(policy("always"), 0, restarts=0, ran=10, previous_delay=60).delay == 0.1


def test_restart_counts_and_daemon_start() -> None:
    """on-failure ends at its maximum; after a daemon's restart only `always` ignores a user's stop."""
    assert not restart.after_exit(policy("on-failure", 3), 1, restarts=3).restart
    start = {"ran_before": True, "exit_code": 0, "restarts": 0, "stopped": True}
    assert restart.at_daemon_start(policy("always"), **start)  # type: ignore[arg-type]
    assert not restart.at_daemon_start(policy("unless-stopped"), **start)  # type: ignore[arg-type]
    assert restart.at_daemon_start(policy("unless-stopped"), **{**start, "stopped": False})  # type: ignore[arg-type]
    assert not restart.at_daemon_start(policy("always"), **{**start, "ran_before": False})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "count", "auto"), [("odd", 0, False), ("always", 2, False), ("on-failure", -1, False), ("always", 0, True)])  # fmt: skip
def test_bad_policies(name: str, count: int, auto: bool) -> None:
    """What is no policy, or clashes with auto-remove, is refused."""
    with pytest.raises(InvalidArgument):
        restart.check(policy(name, count), auto)


def probe(code: int) -> HealthResult:
    return HealthResult(exit_code=code)


def test_health_needs_consecutive_failures() -> None:
    """healthy at the first success, unhealthy after `retries` failures in a row, healthy again at one success."""
    state = Health(status="starting")
    seen = []
    for code in (1, 0, 1, 1, 0, 1, 1, 1, 1, 0):
        state = health.judge(state, probe(code), 3, in_start_period=False)
        seen.append((state.status, state.failing_streak))
    assert seen == [
        ("starting", 1), ("healthy", 0), ("healthy", 1), ("healthy", 2), ("healthy", 0), ("healthy", 1), ("healthy", 2),
        ("unhealthy", 3), ("unhealthy", 4), ("healthy", 0),
    ]  # fmt: skip
    assert len(state.log) == 5


def test_failures_in_the_start_period_do_not_count() -> None:
    """In the start period a failing container stays `starting`; once healthy, its failures count even there."""
    state = Health(status="starting")
    for _ in range(10):
        state = health.judge(state, probe(1), 1, in_start_period=True)
    assert (state.status, state.failing_streak) == ("starting", 0)
    state = health.judge(state, probe(0), 1, in_start_period=True)
    assert health.judge(state, probe(1), 1, in_start_period=True).status == "unhealthy"


def test_health_settings() -> None:
    """Docker's defaults; CMD-SHELL runs in the image's shell; NONE and nothing mean no check."""
    plain = health.settings(ContainerConfig(healthcheck=HealthConfig(test=["CMD-SHELL", "x y"])))
    assert plain == health.Settings(["/bin/sh", "-c", "x y"], 30, 30, 3, 0, 5)
    own = ContainerConfig(shell=["/bin/ash", "-c"], healthcheck=HealthConfig(test=["CMD-SHELL", "x"], interval=2 * S))
    settings = health.settings(own)
    assert settings is not None
    assert (settings.command, settings.interval) == (["/bin/ash", "-c", "x"], 2)
    assert health.settings(ContainerConfig(healthcheck=HealthConfig(test=["NONE"]))) is None
    assert health.settings(ContainerConfig()) is None
    with pytest.raises(InvalidArgument):
        health.validate(HealthConfig(test=["CMD", "x"], interval=5))
    early = health.Settings(["x"], 30, 30, 3, 60, 5)
    assert health.next_wait(Health(status="starting"), early, 10) == 5
    assert health.next_wait(Health(status="healthy"), early, 10) == 30


def entry(stream: str, kind: str, text: str, second: int = 0) -> bytes:
    return f"2026-01-01T00:00:{second:02}.123456789+00:00 {stream} {kind} {text}\n".encode()


def test_parts_are_joined_per_stream() -> None:
    """Parts of two streams that come mixed become one line each, with the time of the first part."""
    assembler = Assembler()
    feed = [entry("stdout", "P", "ab"), entry("stderr", "P", "xy", 1), entry("stdout", "F", "c", 2)]
    lines = [line for raw in feed if (line := assembler.feed(raw))]
    assert [(line.stream, line.data, line.stamp) for line in lines] == [(1, b"abc\n", "2026-01-01T00:00:00.123456789Z")]
    assert [(line.stream, line.data) for line in assembler.rest()] == [(2, b"xy")]


def test_nonsense_is_skipped() -> None:
    """A damaged line of a log file is left out, the others are read."""
    assembler = Assembler()
    assert assembler.feed(b"what\n") is None
    assert assembler.feed(b"\n") is None
    line = assembler.feed(entry("stdout", "F", ""))
    assert line is not None and line.data == b"\n"


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=60).filter(lambda b: b"\n" not in b)), max_size=30)
)
def test_whatever_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[int, bytes]]
) -> None:
    """Any bytes but newlines, carriage returns included, come out of the log as they went in, one frame per line."""
    path = tmp_path_factory.mktemp("log") / "log"
    streams = {1: b"stdout", 2: b"stderr"}
    path.write_bytes(b"".join(b"2026-01-01T00:00:00.0+00:00 %s F %s\n" % (streams[n], text) for n, text in wanted))
    reader = LogReader(path, LogOptions())
    assert [(line.stream, line.data) for line in reader.history(final=True) if line] == [
        (n, t + b"\n") for n, t in wanted
    ]
    reader.close()


def test_tail_spans_rotated_files(tmp_path: Path) -> None:
    """`tail` counts lines over rotated files, oldest first; a very long line is passed on in pieces."""
    log = tmp_path / "log"
    Path(f"{log}.2").write_bytes(entry("stdout", "F", "1"))
    Path(f"{log}.1").write_bytes(entry("stdout", "F", "2"))
    log.write_bytes(entry("stdout", "F", "3") + entry("stdout", "P", "x" * LONGEST) + entry("stdout", "F", "rest"))
    reader = LogReader(log, LogOptions(tail=4))
    assert [line.data[:4] for line in reader.history(final=True) if line] == [b"2\n", b"3\n", b"xxxx", b"rest"]
    reader.close()


def rotate_as_conmon_does(log: Path, text: str) -> None:
    """Each old file gets the next number, the log is `.1`, and a new one takes its place."""
    for path in files(log)[:0:-1]:
        path.rename(log.with_suffix(f".{int(path.suffix[1:]) + 1}"))
    os.link(log, f"{log}.1")
    fresh = log.with_name("fresh")
    fresh.write_bytes(entry("stdout", "F", text))
    fresh.rename(log)


@pytest.mark.parametrize("rotations", [1, 2, 3])
@pytest.mark.parametrize("read", range(7))
def test_rotation_loses_nothing_for_who_reads(tmp_path: Path, rotations: int, read: int) -> None:
    """Wherever a reader is when the log is rotated, once or several times, it gets every line once, in order."""
    log = tmp_path / "log"
    log.write_bytes(entry("stdout", "F", "0"))
    for number in (1, 2):
        rotate_as_conmon_does(log, str(number))
    reader = LogReader(log, LogOptions(follow=True))
    lines = (line for line in reader.history(final=False) if line)
    got = [line.data for _, line in zip(range(read), lines, strict=False)]
    for number in range(3, 3 + rotations):
        with log.open("ab") as old:  # between the reader's last look and the rotation
            old.write(entry("stdout", "F", f"before {number}"))
        rotate_as_conmon_does(log, str(number))
    got += [line.data for line in [*lines, *reader.more()] if line]
    reader.close()
    later = [text for number in range(3, 3 + rotations) for text in (f"before {number}", str(number))]
    assert got == [f"{text}\n".encode() for text in ["0", "1", "2", *later]]


@pytest.mark.parametrize("tail", [-1, 1, 2, 3, 4])
def test_a_rotation_under_way_shows_no_line_twice(tmp_path: Path, tail: int) -> None:
    """While conmon has not yet opened a new file, the log and the first of the old ones are one."""
    log = tmp_path / "log"
    log.write_bytes(entry("stdout", "F", "0"))
    rotate_as_conmon_does(log, "1")
    log.with_suffix(".1").rename(f"{log}.2")
    os.link(log, f"{log}.1")
    reader = LogReader(log, LogOptions(tail=tail))
    wanted = [b"0\n", b"1\n"]
    assert [line.data for line in reader.history(final=True) if line] == (wanted if tail < 0 else wanted[-tail:])
    log.write_bytes(log.read_bytes() + entry("stdout", "F", "2"))
    assert [line.data for line in reader.more() if line] == [b"2\n"]
    reader.close()


@pytest.mark.parametrize(
    "options", [LogOptions(since=datetime(2030, 1, 1, tzinfo=UTC)), LogOptions(stderr=False, tail=5), LogOptions()]
)
def test_others_have_their_turn_while_much_is_read(tmp_path: Path, options: LogOptions) -> None:
    """However few lines of a long log are wanted, its reader pauses after every 64 KiB."""
    log = tmp_path / "log"
    log.write_bytes(entry("stderr", "F", "x" * 900) * 2000)
    reader = LogReader(log, options)
    lines = list(reader.history(final=True))
    assert lines.count(None) >= log.stat().st_size // 65536
    assert len(lines) - lines.count(None) == (2000 if options == LogOptions() else 0)
    reader.close()


def test_old_files_are_found_across_a_gap(tmp_path: Path) -> None:
    """A daemon that was killed while it renumbered files leaves a number out: nothing is hidden behind it."""
    for name in ("log", "log.2", "log.11", "log.3", "log.old", "log.3.gz"):
        (tmp_path / name).touch()
    assert [path.name for path in files(tmp_path / "log")] == ["log", "log.2", "log.3", "log.11"]
    assert files(tmp_path / "none" / "log") == []


@given(st.lists(st.tuples(st.sampled_from("PF"), st.text("abc", max_size=5)), max_size=30), st.integers(0, 12))
def test_tail_is_the_end_of_everything(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, str]], tail: int
) -> None:
    """However lines were cut into parts, `tail` gives the last ones of what the whole log gives."""
    log = tmp_path_factory.mktemp("log") / "log"
    log.write_bytes(b"".join(entry("stdout", kind, text) for kind, text in parts))

    def read(options: LogOptions) -> list[bytes]:
        reader = LogReader(log, options)
        try:
            return [line.data for line in reader.history(final=True) if line]
        finally:
            reader.close()

    whole = read(LogOptions())
    assert read(LogOptions(tail=tail)) == whole[len(whole) - tail if tail < len(whole) else 0 :]


def test_rotation_options() -> None:
    """max-size and max-file as docker reads them."""
    assert limits(LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"})) == (10 << 20, 3)
    assert limits(LogConfig(type="json-file")) == (0, 1)
    for bad in ({"max-size": "x"}, {"max-file": "0"}, {"what": "1"}):
        with pytest.raises(InvalidArgument):
            limits(LogConfig(type="json-file", config=bad))


async def test_a_waiter_goes_when_the_call_has_ended() -> None:
    """What a thread does cannot be stopped: nobody clears its files away meanwhile."""
    workers, gate, calls = Workers(1), threading.Event(), []

    def call() -> None:
        gate.wait(10)
        calls.append("ended")

    waiter = asyncio.create_task(workers.run(call))
    await asyncio.wait([waiter], timeout=0)
    waiter.cancel()
    await asyncio.wait([waiter], timeout=0.01)
    assert not waiter.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert calls == ["ended"]
    workers.close()


def test_a_bundle_goes_while_an_exec_ends_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that vanish or appear while a bundle is removed hinder nothing."""
    bundle = tmp_path / "bundle"
    (bundle / "folder").mkdir(parents=True)
    for name in ("x-1.pid", "x-1.log", "folder/file"):
        (bundle / name).touch()
    scandir, rmdir = os.scandir, os.rmdir
    late = [bundle / "x-2.pid", bundle / "x-2.log"]

    def scan(folder: Path) -> Iterator[os.DirEntry[str]]:
        entries = list(scandir(folder))
        (bundle / "x-1.pid").unlink(missing_ok=True)
        return iter(entries)

    def remove(folder: Path) -> None:
        if folder == bundle and late:
            late.pop().touch()
        rmdir(folder)

    monkeypatch.setattr(os, "scandir", scan)
    monkeypatch.setattr(os, "rmdir", remove)
    conmon._remove_flat(bundle)
    assert not bundle.exists()
    assert not late


async def test_the_last_output_comes_although_input_was_not_read(tmp_path: Path) -> None:
    """A container that ends with input unread (`yes | docker run -i IMAGE head -1`) is heard to its last word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "attach"))
        listener.listen(1)
        attachment = Attachment()
        attachment.connect(tmp_path)
        with listener.accept()[0] as conmon_side:
            await attachment.write(b"never read")
            conmon_side.send(b"\x02first")
            conmon_side.send(b"\x03last")
    assert [frame async for frame in attachment] == [(1, b"first"), (2, b"last")]
    attachment.close()


def test_a_file_that_vanishes_has_no_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a running container's files: it may remove some while they are counted."""
    (tmp_path / "stays").write_text("12345")
    monkeypatch.setattr(os, "walk", lambda _: [(str(tmp_path), [], ["gone", "stays"])])
    assert tree_size(tmp_path) == 5


def test_paths_stay_inside_the_root(tmp_path: Path) -> None:
    """Links and dots are followed as the container would: they never lead to the host's files."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("inside")
    (tmp_path / "up").symlink_to("../../../../etc")
    (tmp_path / "absolute").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to("loop")
    assert rootfs.read(tmp_path, "/up/passwd") == "inside"
    assert rootfs.read(tmp_path, "absolute") == "inside"
    assert rootfs.resolve(tmp_path, "/../../new/file") == str(tmp_path / "new/file")
    assert rootfs.read(tmp_path, "/missing") == ""
    os.mkfifo(tmp_path / "pipe")
    assert rootfs.read(tmp_path, "/pipe") == ""  # and does not wait for somebody to write
    with pytest.raises(InvalidArgument):
        rootfs.resolve(tmp_path, "/loop")


async def test_events_are_told_again_and_live() -> None:
    """A listener with `since` gets the past and then the present; `until` in the past ends it."""
    events = Events(SystemClock())
    before = datetime.now(UTC) - timedelta(minutes=1)
    events.publish(Event(type="container", action="old", actor=Actor(id="1"), moment=before))
    live = events.subscribe(since=before)
    events.tell("container", "new", "2", {"name": "x"})
    async with asyncio.timeout(5):
        assert [(await anext(live)).action, (await anext(live)).action] == ["old", "new"]
        past = events.subscribe(since=before, until=before + timedelta(seconds=1))
        assert [event.action async for event in past] == ["old"]


def test_no_process_of_a_container_hands_over_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed daemon left is found also when it ends while it is looked at, and has made another just before."""
    listings = [["1", "20", "self"], ["1", "21"], ["1", "21", "22"], ["1", "22"]]
    alive = {1: False, 20: False, 21: False, 22: True}
    monkeypatch.setattr(restore.os, "listdir", lambda folder: listings.pop(0))
    monkeypatch.setattr(restore, "_belongs", lambda pid, id, bundle: alive[pid])
    assert restore._processes("c", b"/run/c") == [22]


@pytest.mark.parametrize("name", [b"a) R 7 (b", b"\xff\xfe"])
def test_a_process_is_known_by_any_name(name: bytes) -> None:
    """Programs are called what they like, also in no known encoding: a container is not taken for dead for that."""
    pid = os.getpid()
    before, file = linux.start_time(pid), Path(f"/proc/{pid}/task/{pid}/comm")
    kept = file.read_bytes().removesuffix(b"\n")
    try:
        file.write_bytes(name)
        assert linux.start_time(pid) == before > 0
        assert linux.parent(pid) == os.getppid()
    finally:
        file.write_bytes(kept)


def test_who_attaches_is_waited_for_until_conmon_listens(tmp_path: Path) -> None:
    """A container that ends at once is not let go before conmon reads what it is told: else it would not see who attached."""
    conmon = Conmon.__new__(Conmon)
    conmon._options = EngineOptions(data_root=tmp_path, exec_root=tmp_path)
    conmon.bundle("c").mkdir(parents=True)
    os.mkfifo(conmon.bundle("c") / "ctl")
    reader = os.open(conmon.bundle("c") / "ctl", os.O_RDWR)
    waiting = threading.Thread(target=conmon.await_loop, args=("c",))
    try:
        waiting.start()
        until_sync(lambda: linux.unread(reader))
        assert waiting.is_alive()
        assert os.read(reader, 100) == b"0 0 0\n"
        waiting.join(5)
        assert not waiting.is_alive()
    finally:
        os.close(reader)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV])
def test_a_cgroup_whose_parent_goes_meanwhile_is_made_again(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another daemon's or machine's end takes the common parent away at any moment."""
    faults = [OSError(number, "gone"), OSError(number, "gone")]

    def make_parent(self: Cgroups, root: Path, parent: str) -> None:
        if faults:
            raise faults.pop()
        (root / parent).mkdir(exist_ok=True)

    mounts = f"1 1 0:1 / {tmp_path} rw - cgroup2 cgroup2 rw"
    monkeypatch.setattr(Cgroups, "_make_parent", make_parent)
    monkeypatch.setattr(Cgroups, "limit", lambda *_: None)
    monkeypatch.setattr(Cgroups, "_allow_devices", lambda *_: None)
    Cgroups("shoal", mounts).make("shoal/c", HostConfig())
    assert (tmp_path / "shoal/c").is_dir()
    faults += [OSError(errno.ENOSPC, "full")]
    with pytest.raises(OSError, match="full"):
        Cgroups("shoal", mounts).make("shoal/d", HostConfig())


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV])
def test_a_machine_s_cgroup_too(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for machines, which commands make and remove side by side."""
    faults, make = [OSError(number, "gone")], local_cgroups._make

    def failing(*words: Any) -> None:
        if faults:
            raise faults.pop()
        make(*words)

    monkeypatch.setattr(local_cgroups, "_make", failing)
    monkeypatch.setattr(local_cgroups, "current_hierarchies", lambda: [Hierarchy(tmp_path, "pids")])
    assert local_cgroups.create("m1") == [tmp_path / local_cgroups.PARENT / "m1"]
    assert (tmp_path / local_cgroups.PARENT / "m1").is_dir()
