"""A store, a subnet and a stand-in engine for tests of machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shoal.machine.files import children
from shoal.machine.local.boot import group_name
from shoal.machine.process import identify

SHOAL = Path(sys.executable).with_name("shoal")

ENGINE = """#!{python}
import argparse, http.server, json, signal, ssl, sys
parser = argparse.ArgumentParser()
for name in ("tlscacert", "tlscert", "tlskey", "data-root"):
    parser.add_argument("--" + name)
given, _ = parser.parse_known_args()
def stop(*_):
    open(getattr(given, "data_root") + "/ended-well", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"Version": "1.2.3", "Arguments": sys.argv[1:]}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(given.tlscert, given.tlskey)
context.load_verify_locations(given.tlscacert)
context.verify_mode = ssl.CERT_REQUIRED
server = http.server.ThreadingHTTPServer(("0.0.0.0", 2376), Answer)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""
"""What a machine runs in place of shoald where a test is about the machine: takes its flags, answers /version."""


@dataclass
class Shop:
    """Machines of one test: their store and subnet. `run` is a command of `shoal machine`."""

    store: Path
    prefix: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its commands."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "MACHINE_"))}
        return {
            **clean,
            "MACHINE_STORAGE_PATH": str(self.store),
            "MACHINE_LOCAL_SUBNET": f"{self.prefix}.0/24",
            "MACHINE_LOCAL_ENGINE": str(self.store.parent / "engine"),
        }

    def run(
        self, *words: str, stdin: str = "", timeout: float = 170, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `shoal machine WORDS...`, for `timeout` seconds at most."""
        return subprocess.run(
            [SHOAL, "machine", *words], input=stdin, capture_output=True, text=True, check=False, timeout=timeout,
            env={**self.environment, **environment},
        )  # fmt: skip

    def ok(self, *words: str, **environment: str) -> str:
        """The output of a command that must succeed."""
        result = self.run(*words, **environment)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def process(self, name: str) -> int:
        """The machine's pid 1, by its number on the host."""
        return int(json.loads((self.store / "machines" / name / "local/run.json").read_bytes())["pid"])

    def traces(self) -> list[str]:
        """Whatever is on this computer because of these machines."""
        found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if self._ours(line)]
        found += [
            str(path) for path in children(Path("/run/shoal-machines")) if path.name.startswith(f"{self.prefix}.0-")
        ]
        groups = Path("/sys/fs/cgroup")
        for hierarchy in (groups, *children(groups)):
            if hierarchy.is_dir():
                found += [str(path) for path in children(hierarchy / "shoal.machines") if self._group(path.name)]
        found += [line for line in _output("ip", "-br", "-4", "address") if f" {self.prefix}.1/" in line]
        for process in Path("/proc").glob("[0-9]*"):
            if identify(int(process.name)) is None:
                continue  # ended, and only not yet reaped by this computer's init
            with suppress(OSError):
                cgroup, command = (process / "cgroup").read_text(), _command(process)
                if self._group(cgroup) or self._ours(command):
                    found.append(f"{process}: {cgroup} {command}")
        return found

    def _ours(self, text: str) -> bool:
        return str(self.store) in text or f"/{self.prefix}.0-24" in text

    def _group(self, text: str) -> bool:
        return any(group_name(self.store / "machines" / f"m{number}") in text for number in range(1, 6))


def _command(process: Path) -> str:
    return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _output(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def shop(folder: Path, prefix: str) -> Shop:
    """An empty store in `folder`, with the engine beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "engine").write_text(ENGINE.format(python=sys.executable))
    (folder / "engine").chmod(0o755)
    return Shop(folder / "store", prefix)
