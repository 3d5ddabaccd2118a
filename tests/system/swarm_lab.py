"""Whole swarms on local machines: a registry with a password, an image in it, machines, and the docker command line."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.workplace import EXAMPLES, PASSWORD, USER, Workplace, registry

from tests.system.machines import SHOAL, Shop
from tests.waiting import until_sync

DOCKER = shutil.which("docker") or str(SHOAL)
"""The command line of these tests: docker's own where it is installed, since scripts are written for that one."""


class Refused(Exception):
    """A command failed; the text is what it printed."""


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("shoal", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


@dataclass
class Lab:
    """Machines of one module of tests, with everything that a swarm needs; `image` is a small web server."""

    shop: Shop
    place: Workplace
    registry: str = ""
    tokens: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    """Containers that must not be touched."""

    @property
    def image(self) -> str:
        """A web server whose page names its container, in the registry with a password."""
        return f"{self.registry}/me/app:1"

    # --- machines ---

    def create(self, *names: str, flags: tuple[str, ...] = ()) -> None:
        """Make machines that trust the registry."""
        for name in names:
            self.machine("create", "--driver", "local", "--engine-insecure-registry", self.registry, *flags, name)

    def machine(self, *words: str) -> str:
        """`shoal machine WORDS...`."""
        done = subprocess.run(
            [SHOAL, "machine", *words], capture_output=True, text=True, check=False, timeout=120, env=self._environment
        )
        if done.returncode:
            raise Refused(f"{done.stdout}{done.stderr}(exit status {done.returncode})")
        return done.stdout

    def ip(self, name: str) -> str:
        """A machine's address."""
        record = json.loads((self.shop.store / "machines" / name / "config.json").read_text())
        return str(record["Driver"]["IPAddress"])

    def inside(self, name: str, script: str) -> str:
        """What a shell in the machine's namespaces prints. Raises Refused."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.shop.process(name)), "-m", "-u", "-i", "-n", "-p", "bash", "-c", script],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if done.returncode:
            raise Refused(done.stdout + done.stderr)
        return done.stdout

    def root(self, name: str) -> Path:
        """The machine's file tree as the host sees it."""
        return Path(f"/proc/{self.shop.process(name)}/root")

    def pids(self, name: str, program: str) -> list[int]:
        """Host pids of a machine's processes whose command (`comm`) is `program`."""
        space = os.readlink(f"/proc/{self.shop.process(name)}/ns/pid")
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "ns/pid") == space and (process / "comm").read_text().strip() == program:
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def daemon(self, name: str) -> int:
        """The host's pid of the machine's shoald."""
        inner = (self.root(name) / "run/shoald.pid").read_text().strip()
        return next(
            int(p.name)
            for p in Path("/proc").glob("[0-9]*")
            if _status(p, "NSpid").split()[1:2] == [inner] and _same_space(p, self.shop.process(name))
        )

    def kill(self, pid: int) -> None:
        """kill -9, of a process of these machines."""
        os.kill(pid, signal.SIGKILL)

    # --- docker ---

    @property
    def _environment(self) -> dict[str, str]:
        shell = self.place.shell(show=False).env
        return {**shell, "MACHINE_STORAGE_PATH": str(self.shop.store)}

    def docker(self, name: str, *words: str, stdin: str | bytes = b"", timeout: float = 90) -> str:
        """A docker command at machine `name`, the way `machine env` sets it up. Raises Refused with what it said."""
        folder = self.shop.store / "machines" / name
        env = {
            **self._environment,
            "DOCKER_HOST": f"tcp://{self.ip(name)}:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(folder),
        }  # fmt: skip
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run([DOCKER, *words], input=data, capture_output=True, check=False, timeout=timeout, env=env)
        said = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode:
            raise Refused(said)
        return said

    def refusal(self, name: str, *words: str, stdin: str | bytes = b"") -> str:
        """What a docker command says that must fail."""
        try:
            said = self.docker(name, *words, stdin=stdin)
        except Refused as refused:
            return str(refused)
        raise AssertionError(f"docker {' '.join(words)} did not fail: {said}")

    def api(self, name: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request to the machine's API socket: status and JSON."""
        link = _Unix(str(self.root(name) / "run/docker.sock"))
        try:
            text = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            link.request(method, path, text, {"Content-Type": "application/json"})
            answer = link.getresponse()
            data = answer.read()
        finally:
            link.close()
        return answer.status, json.loads(data) if data.strip() else None

    # --- swarms ---

    def init(self, name: str) -> None:
        """A swarm of one."""
        self.docker(name, "swarm", "init", "--advertise-addr", self.ip(name))
        for role in ("worker", "manager"):
            self.tokens[role] = self.docker(name, "swarm", "join-token", "-q", role).strip()

    def join(self, name: str, to: str, role: str = "worker") -> None:
        """One more node."""
        self.docker(name, "swarm", "join", "--token", self.tokens[role], f"{self.ip(to)}:2377")

    def publish(self, name: str) -> None:
        """Bring the image into the registry."""
        tar = subprocess.run([EXAMPLES / "friendlyhello/build"], check=True, capture_output=True).stdout
        change = ["-c", 'CMD ["httpd","-f","-p","80","-h","/www"]', "-c", "STOPSIGNAL SIGKILL"]
        self.docker(name, "import", *change, "-", self.image, stdin=tar)
        self.docker(name, "tag", self.image, self.image[:-1] + "2")
        self.docker(name, "login", "-u", USER, "--password-stdin", self.registry, stdin=PASSWORD)
        for tag in "12":
            self.docker(name, "push", f"{self.image[:-1]}{tag}")

    def service(self, manager: str, name: str, *flags: str, command: tuple[str, ...] = ()) -> str:
        """Create a service of the image, detached; returns what was printed."""
        always = ("--with-registry-auth", "--detach", "--name", name)
        return self.docker(manager, "service", "create", *always, *flags, self.image, *command)

    def tasks(self, manager: str, service: str, *flags: str) -> list[dict[str, str]]:
        """`service ps`, as objects."""
        lines = self.docker(manager, "service", "ps", "--no-trunc", "--format", "{{json .}}", *flags, service)
        return [json.loads(line) for line in lines.splitlines()]

    def running(self, manager: str, service: str) -> list[dict[str, str]]:
        """The tasks that run and shall run."""
        tasks = self.tasks(manager, service, "--filter", "desired-state=running")
        return [task for task in tasks if task["CurrentState"].startswith("Running")]

    def until_running(self, manager: str, service: str, count: int, timeout: float = 30) -> list[dict[str, str]]:
        """Wait until exactly `count` tasks run, and nothing else is wanted."""

        def good() -> list[dict[str, str]] | None:
            tasks = self.tasks(manager, service, "--filter", "desired-state=running")
            states = [task["CurrentState"].split()[0] for task in tasks]
            return tasks if states == ["Running"] * count else None

        try:
            return until_sync(lambda: _safely(good), timeout, 0.1) or []
        except AssertionError:
            raise AssertionError(f"{service}: not {count} running:\n{self._ps(manager, service)}") from None

    def _ps(self, manager: str, service: str) -> str:
        return str(_safely(lambda: self.docker(manager, "service", "ps", "--no-trunc", service)))

    def inspect(self, manager: str, *words: str) -> dict[str, Any]:
        """`inspect`'s object."""
        found: list[dict[str, Any]] = json.loads(self.docker(manager, *words[:-1], "inspect", words[-1]))
        return found[0]

    def node_states(self, manager: str) -> dict[str, tuple[str, str, str]]:
        """Hostname -> status, availability, manager status."""
        text = self.docker(
            manager, "node", "ls", "--format", "{{.Hostname}}|{{.Status}}|{{.Availability}}|{{.ManagerStatus}}"
        )
        rows = [line.split("|") for line in text.splitlines()]
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    def containers(self, name: str, service: str = "") -> list[str]:
        """Ids of the running containers of a machine, of a service on request."""
        label = ["--filter", f"label=com.docker.swarm.service.name={service}"] if service else []
        return self.docker(name, "ps", "-q", "--no-trunc", *label).split()

    def clean(self, manager: str, *machines: str) -> None:
        """Remove all services and wait until their containers are gone everywhere."""
        if names := self.docker(manager, "service", "ls", "-q").split():
            self.docker(manager, "service", "rm", *names)
        for name in machines:
            until_sync(lambda name=name: not self.docker(name, "ps", "-aq").split(), 60, 0.1)

    # --- requests ---

    def page(self, name: str, port: int, timeout: float = 3) -> str:
        """What a machine's port answers to GET /; empty when it does not."""
        link = http.client.HTTPConnection(self.ip(name), port, timeout=timeout)
        try:
            link.request("GET", "/")
            return link.getresponse().read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            link.close()

    def ask(self, name: str, port: int = 80) -> str:
        """The container that answers at a machine's port; empty when none does."""
        found = re.search(r"Hostname:</b> (\w+)", self.page(name, port))
        return found.group(1) if found else ""

    def knock(self, name: str, port: int) -> str:
        """What comes of connecting to a machine's port: open, refused, or silence."""
        try:
            socket.create_connection((self.ip(name), port), 2).close()
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "silence"
        return "open"

    def answers(self, name: str, port: int, count: int) -> Counter[str]:
        """Who answered how often."""
        return Counter(self.ask(name, port) for _ in range(count))

    def log(self, name: str) -> str:
        """shoald's log."""
        return (self.shop.store / "machines" / name / "local/disk/var/log/shoald.log").read_text(errors="replace")


def _safely(function: Any) -> Any:
    try:
        return function()
    except (Refused, OSError, http.client.HTTPException):
        return None


def _status(process: Path, key: str) -> str:
    try:
        return next(
            line.split(":", 1)[1]
            for line in (process / "status").read_text(errors="replace").splitlines()
            if line.startswith(key)
        )
    except (OSError, StopIteration):
        return ""


def _same_space(process: Path, pid: int) -> bool:
    try:
        return os.readlink(process / "ns/pid") == os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return False


@contextmanager
def lab(first: str = "m1", *, network: str = "10.92") -> Iterator[Lab]:
    """A lab with one machine, `first`, and the image in the registry. Everything is removed, which is checked.

    Labs that are there at the same time need different `network`s, of which each run takes a part of its own.
    """
    subnet = f"{network}.{os.getpid() % 250}"
    folder = Path(tempfile.mkdtemp(prefix="shoal-swarm-", dir="/var/tmp"))
    for name in ("bin", "home", "docker", "app"):
        (folder / name).mkdir()
    shop = Shop(folder / "store", subnet)
    place = Workplace(folder, subnet, DOCKER)
    made = Lab(shop, place, f"{place.host}:5000")
    try:
        made.create(first)
        with registry(place):
            made.publish(first)
            yield made
            names = made.machine("ls", "-q").split()
            made.machine("rm", "-f", "-y", *names)
            traces = shop.traces()
            assert not traces, traces
    finally:
        if names := made.machine("ls", "-q").split():
            made.machine("rm", "-f", "-y", *names)
        shutil.rmtree(folder, ignore_errors=True)
