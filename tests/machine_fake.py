"""A driver whose machines are two threads on 127.0.0.1: one says hello like an sshd, one answers /version with TLS."""

from __future__ import annotations

import contextlib
import json
import socketserver
import ssl
import tempfile
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from shoal.machine.driver import Context, EngineSetup, Flag, Prepare, SshEndpoint, State, register
from shoal.machine.errors import MachineError, NotRunning, PreCreateError


class _Hello(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-fake\r\n")


class _Version(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"Version": "9.9.9"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Power:
    """A machine that is on."""

    def __init__(self, setup: EngineSetup) -> None:
        self.sshd = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Hello)
        self.engine = ThreadingHTTPServer(("127.0.0.1", 0), _Version)
        self._tls = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            for name in ("ca.pem", "server.pem", "server-key.pem"):
                (Path(folder) / name).write_bytes(setup.files[f"/etc/shoal/tls/{name}"][1])
            context.load_cert_chain(f"{folder}/server.pem", f"{folder}/server-key.pem")
            context.load_verify_locations(f"{folder}/ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        self.engine.socket = context.wrap_socket(self.engine.socket, server_side=True, do_handshake_on_connect=False)
        for server in (self.sshd, self.engine):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def show(self, certificate: Path, key: Path) -> None:
        """Have its engine show another certificate from now on."""
        self._tls.load_cert_chain(certificate, key)

    def off(self) -> None:
        """Cut it."""
        for server in (self.sshd, self.engine):
            server.shutdown()
            server.server_close()


class FakeDriver:
    """`data`: Fail, the steps that are to fail, with commas. What is on is remembered for the whole process, by directory."""

    running: dict[Path, _Power] = {}

    def __init__(self, context: Context, data: dict[str, Any]) -> None:
        self.context, self.data = context, data

    @staticmethod
    def flags() -> Sequence[Flag]:
        return (Flag("fake-fail", "Step that is to fail", ""),)

    def configure(self, values: Mapping[str, Any]) -> None:
        self.data["Fail"] = values.get("fake-fail", "")
        self._step("configure")

    def check(self) -> None:
        if self.data["Fail"] == "check":
            raise PreCreateError("not here")

    def create(self, prepare: Prepare) -> None:
        self._step("create")
        self._on(prepare)

    def start(self, prepare: Prepare) -> None:
        self._step("start")
        self._on(prepare)

    def stop(self) -> None:
        self._off()

    def kill(self) -> None:
        self._off()

    def restart(self, prepare: Prepare) -> None:
        self._off()
        self._on(prepare)

    def new_address(self) -> None:
        raise MachineError("the fake driver has one address")

    def remove(self) -> None:
        self._step("remove")
        self._off()

    @staticmethod
    def abandon(context: Context) -> None:
        with contextlib.suppress(KeyError):
            FakeDriver.running.pop(context.directory).off()

    def state(self) -> State:
        return State.RUNNING if self.context.directory in self.running else State.STOPPED

    def address(self) -> str:
        self._power()
        return "127.0.0.1"

    def url(self) -> str:
        return f"tcp://127.0.0.1:{self._power().engine.server_address[1]}"

    def ssh(self) -> SshEndpoint:
        return SshEndpoint("127.0.0.1", self._power().sshd.server_address[1], "root", None, None, self.context.name)

    def diagnose(self) -> str:
        return ""

    def _step(self, name: str) -> None:
        if name in self.data.get("Fail", "").split(","):
            raise MachineError(f"{name} fails")

    def _on(self, prepare: Prepare) -> None:
        self.running[self.context.directory] = _Power(prepare("127.0.0.1"))

    def _off(self) -> None:
        self.abandon(self.context)

    def _power(self) -> _Power:
        try:
            return self.running[self.context.directory]
        except KeyError:
            raise NotRunning from None


register("fake", FakeDriver)
