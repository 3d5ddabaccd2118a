"""Logs, attach and exec: what goes into a container's processes and what comes out of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shoal.engine.attach import Attachment
from shoal.engine.engine import Engine
from shoal.engine.execs import ExecConfig, ExecStream
from shoal.engine.logs import LogOptions
from shoal.model.container import Container, ContainerConfig
from shoal.model.errors import Conflict, NotFound
from tests.system.engine_setup import IMAGE, engine_alone, output, run
from tests.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    async with engine_alone() as engine:
        yield engine


async def everything(stream: Attachment | ExecStream) -> dict[int, bytes]:
    """All output until the end, by stream."""
    got: dict[int, bytes] = {}
    async with asyncio.timeout(20):
        async for number, data in stream:
            got[number] = got.get(number, b"") + data
    return got


async def sleeper(engine: Engine) -> Container:
    return await run(engine, "sleep", "1000")


async def do(engine: Engine, id: str, *command: str, **config: object) -> tuple[int | None, dict[int, bytes]]:
    """Run an exec to its end: exit code and output."""
    asked = ExecConfig(cmd=list(command), attach_stdout=True, attach_stderr=True, **config)  # type: ignore[arg-type]
    exec_id = await engine.containers.exec_create(id, asked)
    stream = await engine.containers.exec_start(exec_id)
    assert stream is not None
    got = await everything(stream)
    return engine.containers.exec_inspect(exec_id).exit_code, got


async def test_follow_ends_with_the_container_and_misses_nothing(engine: Engine) -> None:
    """A follower that comes before the output gets every line once, in order, and the end when the container ends."""
    container = await run(engine, "sh", "-c", "for i in $(seq 2000); do echo line $i; done; printf unfinished")
    lines = [line.data async for line in engine.containers.logs(container.id, LogOptions(follow=True))]
    assert lines == [f"line {i}\n".encode() for i in range(1, 2001)] + [b"unfinished"]


async def test_follow_tells_as_it_happens(engine: Engine) -> None:
    """A follower gets a line while the container still runs."""
    container = await run(engine, "sh", "-c", "echo first; cat", open_stdin=True)
    async with asyncio.timeout(10):
        async for line in engine.containers.logs(container.id, LogOptions(follow=True)):
            assert line.data == b"first\n"
            assert engine.containers.find(container.id).state.running
            break


async def test_tail_since_until_and_streams(engine: Engine) -> None:
    """Logs can be cut to the last lines, to a span of time and to one stream."""
    container = await run(engine, "sh", "-c", "echo a; echo b >&2; read x; echo c", open_stdin=True)

    async def got(**options: object) -> list[bytes]:
        return [line.data async for line in engine.containers.logs(container.id, LogOptions(**options))]  # type: ignore[arg-type]

    async def both() -> bool:
        return len(await got()) == 2

    await until(both)  # what comes at once may be written at one moment
    await (await engine.containers.attach(container.id)).write(b"go\n")
    await engine.containers.wait(container.id)
    assert await got(tail=1) == [b"c\n"]
    assert await got(tail=0) == []
    assert await got(stderr=False) == [b"a\n", b"c\n"]
    lines = [line async for line in engine.containers.logs(container.id, LogOptions())]
    assert await got(since=lines[-1].moment) == [b"c\n"]
    assert await got(until=lines[0].moment, stderr=False) == [b"a\n"]


async def test_long_lines_come_whole(engine: Engine) -> None:
    """A line of 12,000 bytes is one frame; one of 40,000 comes in pieces of at least 16 KiB, and nothing is lost."""
    container = await run(
        engine, "sh", "-c", "head -c 12000 /dev/zero | tr '\\0' x; echo; head -c 40000 /dev/zero | tr '\\0' y; echo"
    )  # fmt: skip
    await engine.containers.wait(container.id)
    frames = [line.data async for line in engine.containers.logs(container.id, LogOptions())]
    if frames and b"not found" in frames[0]:
        pytest.fail("tr is missing in the test image")
    assert frames[0] == b"x" * 12000 + b"\n"
    assert b"".join(frames[1:]) == b"y" * 40000 + b"\n"
    assert all(len(frame) >= 16 * 1024 for frame in frames[1:-1])


async def test_attach_before_start_sees_the_first_byte(engine: Engine) -> None:
    """A client that attaches to a created container gets all of its output, streams apart, and the end."""
    asked = ContainerConfig(image=IMAGE, cmd=["sh", "-c", "echo out; echo err >&2"])
    for _ in range(10):
        container = await engine.containers.create("", asked)
        attachment = await engine.containers.attach(container.id)
        await engine.containers.start(container.id)
        assert await everything(attachment) == {1: b"out\n", 2: b"err\n"}


async def test_half_close_ends_the_input_only(engine: Engine) -> None:
    """With stdin once: the client's end of input is the container's; what it says afterwards still arrives."""
    asked = ContainerConfig(image=IMAGE, cmd=["sh", "-c", "cat; echo done"], open_stdin=True, stdin_once=True)
    container = await engine.containers.create("", asked)
    attachment = await engine.containers.attach(container.id)
    await engine.containers.start(container.id)
    payload = b"".join(b"%d\n" % i for i in range(20000))
    writer = asyncio.ensure_future(attachment.write(payload))
    collected = bytearray()
    closer = None
    async with asyncio.timeout(20):
        async for _, data in attachment:
            collected += data
            if writer.done() and closer is None:
                closer = asyncio.ensure_future(attachment.close_stdin())
    await writer
    assert bytes(collected) == payload + b"done\n"


async def test_detaching_leaves_the_container_running(engine: Engine) -> None:
    """Without stdin once a client may go; the container's input stays open for the next."""
    container = await run(engine, "cat", open_stdin=True)
    first = await engine.containers.attach(container.id)
    await first.write(b"one\n")
    async with asyncio.timeout(10):
        async for _, data in first:
            assert data == b"one\n"
            break
    first.close()
    second = await engine.containers.attach(container.id)
    await second.write(b"two\n")
    await until(lambda: output(engine, container.id))
    async with asyncio.timeout(10):
        async for _, data in second:
            assert data == b"two\n"
            break
    assert engine.containers.find(container.id).state.running
    second.close()


async def test_a_terminal_has_the_size_it_is_given(engine: Engine) -> None:
    """A container with a terminal sees a tty, one stream, and the size that resize gave it."""
    container = await engine.containers.create(
        "", ContainerConfig(image=IMAGE, cmd=["sh", "-c", "read x; stty size; test -t 0 && echo tty"], tty=True, open_stdin=True)
    )  # fmt: skip
    attachment = await engine.containers.attach(container.id)
    await engine.containers.start(container.id)
    await engine.containers.resize(container.id, 33, 101)
    await attachment.write(b"go\n")
    got = await everything(attachment)
    assert set(got) == {1}
    assert b"33 101\r\n" in got[1]
    assert got[1].endswith(b"tty\r\n")


async def test_exec_runs_beside_with_its_own_exit_code(engine: Engine) -> None:
    """Exec: streams apart, exit code, environment, user and working directory of its own; same limits' cgroup."""
    container = await sleeper(engine)
    code, got = await do(
        engine, container.id, "sh", "-c", "pwd; id -u; echo $A; echo err >&2; cat /proc/self/cgroup; exit 4",
        env=["A=b"], user="web", working_dir="/tmp",
    )  # fmt: skip
    assert code == 4
    assert got[1].startswith(b"/tmp\n1000\nb\n")
    assert container.id.encode() in got[1]
    assert got[2] == b"err\n"
    status = await do(engine, container.id, "grep", "Seccomp:", "/proc/self/status")
    assert b"\t2" in status[1][1]


async def test_exec_of_a_missing_command_is_127(engine: Engine) -> None:
    """A command that is not there: docker's sentence on the stream, exit code 127; and 409 when nothing runs."""
    container = await sleeper(engine)
    code, got = await do(engine, container.id, "nope")
    assert code == 127
    assert got == {
        1: b'OCI runtime exec failed: exec failed: unable to start container process: exec: "nope": executable file '
        b"not found in $PATH: unknown\r\n"
    }
    assert (await do(engine, container.id, "nope", tty=True))[0] == 127
    await engine.containers.stop(container.id, timeout=0)
    with pytest.raises(Conflict, match="is not running"):
        await engine.containers.exec_create(container.id, ExecConfig(cmd=["true"]))
    with pytest.raises(NotFound, match="No such exec instance"):
        engine.containers.exec_inspect("abc")


async def test_exec_takes_input_to_its_end(engine: Engine) -> None:
    """Exec with stdin: the client's end of input reaches the process, output after it still arrives."""
    container = await sleeper(engine)
    id = await engine.containers.exec_create(
        container.id, ExecConfig(cmd=["sh", "-c", "wc -c; echo after"], attach_stdin=True, attach_stdout=True)
    )
    stream = await engine.containers.exec_start(id)
    assert stream is not None
    await stream.write(b"x" * 500_000)
    await stream.close_stdin()
    assert await everything(stream) == {1: b"500000\nafter\n"}
    assert engine.containers.exec_inspect(id).exit_code == 0


async def test_exec_with_a_terminal(engine: Engine) -> None:
    """Exec -it: a terminal of the asked size, resized while it runs, exit code passed on."""
    container = await sleeper(engine)
    id = await engine.containers.exec_create(
        container.id,
        ExecConfig(cmd=["sh", "-c", "stty size; read x; stty size; exit 3"], tty=True, attach_stdin=True, attach_stdout=True),
    )  # fmt: skip
    stream = await engine.containers.exec_start(id, console_size=[20, 60])
    assert stream is not None
    await engine.containers.exec_resize(id, 44, 99)
    await stream.write(b"\n")
    got = await everything(stream)
    assert b"44 99" in got[1]
    assert engine.containers.exec_inspect(id).exit_code == 3


async def test_detached_exec_runs_on(engine: Engine) -> None:
    """Exec -d returns at once; its end and exit code are known later."""
    container = await sleeper(engine)
    id = await engine.containers.exec_create(container.id, ExecConfig(cmd=["sh", "-c", "echo x > /made; exit 6"]))
    assert await engine.containers.exec_start(id, detach=True) is None
    await until(lambda: engine.containers.exec_inspect(id).exit_code == 6)
    assert (await do(engine, container.id, "cat", "/made"))[1] == {1: b"x\n"}
