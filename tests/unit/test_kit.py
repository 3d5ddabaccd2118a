"""Kit: durations and sizes as docker writes them, ids, virtual time, scopes of tasks."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.kit import units
from shoal.kit.clock import LoopClock, from_nanoseconds, nanoseconds
from shoal.kit.files import write_atomic
from shoal.kit.ids import RandomIds, SeededIds, base36
from shoal.kit.tasks import Bell, background
from shoal.kit.virtual import run_virtual


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0", 0),
        ("1m30s", 90 * 10**9),
        ("1.5h", 5400 * 10**9),
        ("100ms", 10**8),
        ("-2s", -2 * 10**9),
        ("1h0m0s", 36 * 10**11),
    ],
)
def test_durations_are_read_as_go_does(text: str, nanos: int) -> None:
    """Go's duration grammar: numbers with units, fractions, a sign, a bare zero."""
    assert units.parse_duration(text) == nanos


@pytest.mark.parametrize("text", ["", "5", "1x", "s", "1s2", "1 s", "3000000h", "9" * 400 + "s"])
def test_wrong_durations_are_refused(text: str) -> None:
    """What Go refuses is refused, with Go's words."""
    with pytest.raises(ValueError, match="time: invalid duration"):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "0s"), (10**9, "1s"), (3600 * 10**9, "1h0m0s"), (15 * 10**8, "1.5s"), (10**8, "100ms"), (7, "7ns")],
)
def test_durations_are_written_as_go_does(nanos: int, text: str) -> None:
    """Go's shortest form."""
    assert units.format_duration(nanos) == text


@given(st.integers(-(10**17), 10**17))
def test_a_written_duration_is_read_back(nanos: int) -> None:
    """Writing and reading a duration changes nothing beyond a float's precision."""
    assert units.parse_duration(units.format_duration(nanos)) == pytest.approx(nanos, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "size"), [("50M", 50 << 20), ("1.5gb", 3 << 29), ("1024", 1024), ("4k", 4096), ("2MiB", 2 << 20)]
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    """As docker's --memory."""
    assert units.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "x", "1z", "-1", "8192p", "9" * 400])
def test_wrong_sizes_are_refused(text: str) -> None:
    """Also what does not fit into 64 bits."""
    with pytest.raises(ValueError, match="invalid size"):
        units.parse_bytes(text)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (61, "About a minute"), (300, "5 minutes"),
     (3700, "About an hour"), (7200, "2 hours"), (3 * 86400, "3 days"), (15 * 86400, "2 weeks"), (70 * 86400, "2 months"),
     (800 * 86400, "2 years")],
)  # fmt: skip
def test_spans_are_said_as_docker_says_them(seconds: float, said: str) -> None:
    """The words of docker's tables."""
    assert units.human_duration(seconds) == said


@pytest.mark.parametrize(("size", "said"), [(0, "0B"), (999, "999B"), (7053000, "7.05MB"), (1.23e9, "1.23GB")])
def test_sizes_are_shown_as_docker_images_does(size: float, said: str) -> None:
    """Powers of 1000, three digits."""
    assert units.human_size(size) == said


@given(st.integers(0, 4 * 10**18))
def test_nanoseconds_keep_microseconds(value: int) -> None:
    """A moment survives the way to nanoseconds and back, to the microsecond."""
    assert nanoseconds(from_nanoseconds(value)) == value // 1000 * 1000


def test_ids_have_dockers_shape() -> None:
    """25 of base 36, 64 of hexadecimal, never twice, and the same from the same seed."""
    for ids in (RandomIds(), SeededIds(1)):
        made = {ids.object_id() for _ in range(100)}
        assert len(made) == 100 and all(len(id) == 25 and id.isalnum() and id == id.lower() for id in made)
        assert len(ids.hex_id()) == 64 and int(ids.hex_id(), 16) >= 0
    assert SeededIds(5).object_id() == SeededIds(5).object_id()
    assert base36(35, 3) == "00z"


def test_virtual_time_does_not_wait() -> None:
    """An hour of sleeping passes at once, in order, and the clock agrees."""

    async def main() -> list[tuple[str, float]]:
        clock, seen = LoopClock(), []
        start = clock.now()

        async def sleeper(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, (clock.now() - start).total_seconds()))

        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("late", 3600))
            group.create_task(sleeper("early", 60))
        return seen

    seen = run_virtual(main())
    assert [name for name, _ in seen] == ["early", "late"]
    assert seen[1][1] == pytest.approx(3600, abs=0.01)


async def test_a_scope_ends_its_tasks() -> None:
    """Leaving `background` cancels what runs in it, also what was added later, and waits for it."""
    ended = []

    async def forever(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async with background(forever("a")) as group:
        group.create_task(forever("b"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert sorted(ended) == ["a", "b"]


async def test_a_failure_in_the_background_ends_the_body() -> None:
    """The body is cancelled and the failure itself comes out of the scope."""

    async def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        async with background(fail()):
            await asyncio.Event().wait()


async def test_a_failure_in_the_body_comes_out_as_itself() -> None:
    """Not wrapped in a group."""
    with pytest.raises(KeyError):
        async with background(asyncio.Event().wait()):
            raise KeyError("x")


async def test_rings_before_a_wait_count_once() -> None:
    """A bell remembers that it rang, not how often."""
    bell = Bell()
    bell.ring()
    bell.ring()
    assert await bell.wait(0)
    assert not await bell.wait(0)


def test_a_file_is_replaced_whole_whatever_a_killed_writer_left(tmp_path: Path) -> None:
    """The mode is as asked whatever the umask, an old draft is overwritten, and a failed write changes nothing."""
    path = tmp_path / "state.json"
    (tmp_path / ".state.json.draft").write_bytes(b"half a fi")
    before = os.umask(0o077)
    try:
        write_atomic(path, b"one", 0o644)
    finally:
        os.umask(before)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o644)
    with pytest.raises(TypeError):
        write_atomic(path, None, durable=False)  # type: ignore[arg-type]
    assert path.read_bytes() == b"one"
    write_atomic(path, b"two", durable=False)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """What the disk refuses says which file it was meant for, and the old content stays."""
    path = tmp_path / "state.json"
    write_atomic(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_atomic(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
