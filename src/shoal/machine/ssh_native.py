"""ssh by asyncssh, for computers without OpenSSH and for `--native-ssh`. An extra: `pip install shoal[ssh]`.

Keys are pinned in the same known_hosts files as OpenSSH's, by the same rule: the first contact writes the machine's
key down, every later one must show it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from shoal.machine.driver import SshEndpoint
from shoal.machine.errors import MachineError
from shoal.machine.files import write_atomic
from shoal.machine.ssh import Result, SshError, pinned, where

CONNECT_TIMEOUT = 10.0
_LOST = 255


def run(endpoint: SshEndpoint, command: str, input: bytes, timeout: float) -> Result:
    """As `ssh.run`. Raises SshError."""
    try:
        return asyncio.run(asyncio.wait_for(_run(endpoint, command, input), timeout))
    except TimeoutError as fault:
        raise SshError(f"ssh to {where(endpoint)}: nothing came back within {timeout:g} seconds") from fault


async def _run(endpoint: SshEndpoint, command: str, input: bytes) -> Result:
    connection = await _connect(endpoint)
    with _explained(endpoint):
        async with connection:
            process = await connection.create_process(command, encoding=None)
            output, errors = await process.communicate(input)
            status = process.returncode
        return Result(_LOST if status is None else status, output, errors)


def hand_over(endpoint: SshEndpoint, words: Sequence[str]) -> int:
    """Run `words`, or a shell, with our standard streams; the exit status. Raises SshError without a connection."""
    if words and words[0].startswith("-"):
        raise MachineError(f"--native-ssh does not know OpenSSH's options ({words[0]})")
    return asyncio.run(_session(endpoint, " ".join(words) or None))


async def _session(endpoint: SshEndpoint, command: str | None) -> int:
    connection = await _connect(endpoint)
    terminal = command is None and sys.stdin.isatty()
    async with connection:
        size = shutil.get_terminal_size()
        with _explained(endpoint):
            process = await connection.create_process(
                command, encoding=None, term_type=os.environ.get("TERM", "xterm") if terminal else None,
                term_size=(size.columns, size.lines) if terminal else None,
            )  # fmt: skip
        loop = asyncio.get_running_loop()
        # Reading a file or a terminal blocks, and whatever is left of it when the command ends is not waited for.
        threading.Thread(target=_feed, args=(loop, process), daemon=True).start()
        with _raw(terminal):
            await asyncio.gather(_pass_on(endpoint, process.stdout, 1), _pass_on(endpoint, process.stderr, 2))
            with _explained(endpoint):
                await process.wait_closed()
        return _LOST if process.returncode is None else int(process.returncode)


def _feed(loop: asyncio.AbstractEventLoop, process: Any) -> None:
    # Whatever ends the connection is told by those who read from it.
    with suppress(Exception):
        while data := os.read(0, 65536):
            asyncio.run_coroutine_threadsafe(_write(process, data), loop).result()
        loop.call_soon_threadsafe(process.stdin.write_eof)


async def _write(process: Any, data: bytes) -> None:
    process.stdin.write(data)
    await process.stdin.drain()


async def _pass_on(endpoint: SshEndpoint, source: Any, descriptor: int) -> None:
    while data := await _read(endpoint, source):
        # Not explained: that nobody reads our output any more is no trouble of the machine's.
        while data:
            data = data[os.write(descriptor, data) :]


async def _read(endpoint: SshEndpoint, source: Any) -> bytes:
    with _explained(endpoint):
        data: bytes = await source.read(65536)
    return data


@contextmanager
def _explained(endpoint: SshEndpoint) -> Iterator[None]:
    """A scope in which whatever asyncssh raises becomes SshError."""
    import asyncssh

    try:
        yield
    except asyncssh.HostKeyNotVerifiable as fault:
        raise SshError(
            f"ssh to {where(endpoint)}: its key is not the one pinned in {endpoint.known_hosts}. If it was installed "
            "anew, remove that file"
        ) from fault
    except asyncssh.PermissionDenied as fault:
        raise SshError(
            f"ssh to {where(endpoint)}: the machine does not accept our key "
            f"({endpoint.key or 'agent or default keys'}) for {endpoint.user}"
        ) from fault
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as fault:
        raise SshError(f"ssh to {where(endpoint)}: the key {endpoint.key} cannot be used: {fault}") from fault
    except (OSError, ValueError, asyncssh.Error) as fault:
        raise SshError(f"ssh to {where(endpoint)}: {str(fault) or 'nothing answers'}") from fault


async def _connect(endpoint: SshEndpoint) -> Any:
    try:
        import asyncssh
    except ImportError as fault:
        raise MachineError(
            "--native-ssh needs asyncssh: install it with `pip install shoal[ssh]`, or install the ssh program"
        ) from fault
    # Without a file nothing is kept: any key is taken, as OpenSSH's accept-new does then.
    known = (str(endpoint.known_hosts) if pinned(endpoint) else None) if endpoint.known_hosts else None
    chosen: dict[str, Any] = {"client_keys": [str(endpoint.key)], "agent_path": None} if endpoint.key else {}
    with _explained(endpoint):
        connection = await asyncssh.connect(
            endpoint.host, endpoint.port, username=endpoint.user, known_hosts=known, host_key_alias=endpoint.alias,
            config=None, connect_timeout=CONNECT_TIMEOUT, login_timeout=CONNECT_TIMEOUT * 3, keepalive_interval=60,
            password=None, kbdint_auth=False, **chosen,
        )  # fmt: skip
    if endpoint.known_hosts and known is None:
        shown = connection.get_server_host_key()
        assert shown is not None
        key = shown.export_public_key().decode().split()
        endpoint.known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(endpoint.known_hosts, f"{endpoint.alias} {key[0]} {key[1]}\n".encode(), 0o600)
    return connection


class _raw:
    """A scope in which the terminal hands over every key."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted and sys.platform != "win32"
        self._before: Any = None

    def __enter__(self) -> None:
        if self._wanted:
            import termios
            import tty

            self._before = termios.tcgetattr(0)
            tty.setraw(0)

    def __exit__(self, *_: object) -> None:
        if self._wanted:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._before)
