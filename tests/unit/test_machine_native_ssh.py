"""ssh by asyncssh: whatever it fails with is told in a sentence."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from shoal.machine import ssh_native
from shoal.machine.driver import SshEndpoint
from shoal.machine.ssh import SshError

ENDPOINT = SshEndpoint("192.0.2.1", 22, "root", None, None, "m1")


class Stream:
    """A stream of a process whose end comes as `fault`, after `data`."""

    def __init__(self, data: bytes, fault: Exception | None) -> None:
        self._data, self._fault = data, fault

    async def read(self, size: int) -> bytes:
        data, self._data = self._data[:size], self._data[size:]
        if not data and self._fault:
            raise self._fault
        return data

    def write(self, data: bytes) -> None:
        del data

    async def drain(self) -> None:
        if self._fault:
            raise self._fault

    def write_eof(self) -> None:
        pass


class Connection:
    """A connection that ends with `fault` in the middle of a command; without one, well."""

    returncode = 0

    def __init__(self, fault: Exception | None) -> None:
        self._fault = fault
        self.stdin, self.stdout, self.stderr = Stream(b"", fault), Stream(b"half", fault), Stream(b"", None)

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def create_process(self, command: str, **options: Any) -> Connection:
        del command, options
        return self

    async def communicate(self, input: bytes) -> tuple[bytes, bytes]:
        del input
        if self._fault:
            raise self._fault
        return b"", b""

    async def wait_closed(self) -> None:
        pass


def connected(monkeypatch: pytest.MonkeyPatch, fault: Exception | None) -> None:
    async def connect(endpoint: SshEndpoint) -> Connection:
        del endpoint
        return Connection(fault)

    monkeypatch.setattr(ssh_native, "_connect", connect)


LOST = [
    (asyncssh.ConnectionLost("Connection lost"), "ssh to root@192.0.2.1:22: Connection lost"),
    (ConnectionResetError(104, "Connection reset by peer"), "ssh to root@192.0.2.1:22: .*Connection reset by peer"),
    (asyncssh.ChannelOpenError(1, "no more sessions"), "ssh to root@192.0.2.1:22: no more sessions"),
]


@pytest.mark.parametrize(("fault", "words"), LOST)
def test_a_connection_that_is_lost_meanwhile(fault: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose connection ends, for whatever reason, is an SshError that says with whom."""
    connected(monkeypatch, fault)
    with pytest.raises(SshError, match=words):
        ssh_native.run(ENDPOINT, "ls", b"", 60)


@pytest.mark.parametrize(("fault", "words"), LOST)
def test_a_session_that_is_lost(
    fault: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """So is a session's; what came before is shown, and no thread's traceback."""
    connected(monkeypatch, fault)
    fed, feed = threading.Event(), ssh_native._feed

    def feeding(*given: Any) -> None:
        feed(*given)
        fed.set()

    monkeypatch.setattr(ssh_native, "_feed", feeding)
    monkeypatch.setattr(ssh_native, "_raw", lambda terminal: ssh_native.suppress())
    with pytest.raises(SshError, match=words):
        ssh_native.hand_over(ENDPOINT, ["ls"])
    assert fed.wait(10)
    shown = capfd.readouterr()
    assert shown.out == "half"
    assert "Traceback" not in shown.err


def test_output_that_nobody_reads_is_not_the_machines_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ssh m1 cat x | head -1` ends as every program does whose pipe is closed."""
    connected(monkeypatch, None)

    def write(descriptor: int, data: bytes) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(BrokenPipeError):
        ssh_native.hand_over(ENDPOINT, ["ls"])


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_key_that_cannot_be_used_is_named(tmp_path: Path, encrypted: bool) -> None:
    """A key with a passphrase, which nobody can be asked for, and a file that is no key."""
    key = tmp_path / "id"
    secret = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.BestAvailableEncryption(b"x")
    )
    key.write_bytes(secret if encrypted else b"no key")
    with pytest.raises(SshError, match=f"the key {key} cannot be used: "):
        ssh_native.run(ENDPOINT._replace(host="127.0.0.1", port=1, key=key), "ls", b"", 60)
