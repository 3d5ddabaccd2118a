"""kill -9 at any moment, while services come, change and go: nothing acknowledged is lost, nothing is left over."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.swarm_lab import Lab, Refused, lab
from tests.waiting import until_sync

pytestmark = pytest.mark.system

ALL = ("m1", "m2")
SEED = 20261123
ROUNDS = 1
"""More find more; by hand, with other seeds."""


@pytest.fixture(scope="module")
def swarm() -> Iterator[Lab]:
    """A manager and a worker, each with a container of its own, `steady`, that nobody touches."""
    with lab() as made:
        made.create("m2")
        made.init("m1")
        made.join("m2", "m1")
        for name in ALL:
            made.docker(name, "pull", "-q", made.image)
            made.kept.append(made.docker(name, "run", "-d", "--name", "steady", "-p", "80:80", made.image).strip())
        yield made


def victims(swarm: Lab) -> dict[str, Callable[[], list[int]]]:
    """What is killed: by name, the processes that may be it just now."""
    return {
        "the manager's shoald": lambda: [swarm.daemon("m1")],
        "the worker's shoald": lambda: [swarm.daemon("m2")],
        "etcd": lambda: swarm.pids("m1", "etcd"),
        "a conmon": lambda: busy(swarm, "conmon"),
        "a container": lambda: busy(swarm, "httpd"),
        "crun": lambda: swarm.pids("m1", "crun") + swarm.pids("m2", "crun"),
    }


def busy(swarm: Lab, program: str) -> list[int]:
    """Processes of the services' containers."""
    found = [pid for name in ALL for pid in swarm.pids(name, program)]
    return [pid for pid in found if not any(one in _about(pid) for one in swarm.kept)]


class Assassin:
    """Kills one process after `delay` seconds."""

    def __init__(self, swarm: Lab, choose: Callable[[], list[int]], delay: float, rng: random.Random) -> None:
        self.done = threading.Event()

        def strike() -> None:
            try:
                for pid in choose()[:]:
                    swarm.kill(pid)
                    if rng.random() < 0.7:
                        break
            except (OSError, StopIteration):
                pass  # it was not there just then
            finally:
                self.done.set()

        self._timer = threading.Timer(delay, strike)
        self._timer.start()

    def wait(self) -> None:
        assert self.done.wait(60)


def attempt(swarm: Lab, *words: str) -> bool:
    """Whether a command was acknowledged."""
    try:
        swarm.docker("m1", *words)
    except Refused:
        return False
    return True


@pytest.mark.parametrize(
    "victim", ["the manager's shoald", "the worker's shoald", "etcd", "a conmon", "a container", "crun"]
)
def test_killed_at_any_moment(swarm: Lab, victim: str) -> None:
    """Whatever dies while services are created, updated, scaled and removed: what was acknowledged is there afterwards,
    what was not is there wholly or not at all, the desired state is reached, and what is not wanted is gone."""
    rng = random.Random(f"{SEED} {victim}")
    steady = {name: until_sync(lambda name=name: swarm.ask(name)) for name in ALL}
    for round_ in range(ROUNDS):
        name = f"s{round_}"
        steps = [
            ("service", "create", "--with-registry-auth", "--detach", "--name", name, "--replicas", "4",
             "--restart-delay", "100ms", "--update-parallelism", "0", "-p", f"{9000 + round_}:80", swarm.image),
            ("service", "update", "--detach", "--env-add", "A=1", name),
            ("service", "scale", "--detach", f"{name}=2"),
            ("service", "rm", name),
        ]  # fmt: skip
        for number, step in enumerate(steps):
            assassin = Assassin(swarm, victims(swarm)[victim], rng.uniform(0, 0.6), rng)
            sure = attempt(swarm, *step)
            assassin.wait()
            until_sync(lambda: answers(swarm), 60, 0.1)
            if not sure:  # it may have happened all the same, and wholly so
                assert number in (0, 3) or attempt(swarm, "service", "inspect", name)
                until_sync(lambda step=step: done(swarm, step) or attempt(swarm, *step), 60, 0.2)
            reached(swarm, name, number)
        leftovers(swarm)
    assert {name: swarm.ask(name) for name in ALL} == steady


def done(swarm: Lab, step: tuple[str, ...]) -> bool:
    """Whether a step has made or removed its service. (A manager whose etcd is on its way back answers with what it
    knew before: it is asked again.)"""
    match step:
        case ("service", "create", *flags):
            return attempt(swarm, "service", "inspect", flags[flags.index("--name") + 1])
        case ("service", "rm", name):
            return not attempt(swarm, "service", "inspect", name)
    return False


def answers(swarm: Lab) -> bool:
    """Whether the manager is there."""
    return attempt(swarm, "service", "ls")


def reached(swarm: Lab, name: str, number: int) -> None:
    """The state that step `number` asks for."""
    if number < 3:
        swarm.until_running("m1", name, 2 if number == 2 else 4, 40)
        spec = swarm.inspect("m1", "service", name)["Spec"]
        if number:
            assert spec["TaskTemplate"]["ContainerSpec"]["Env"] == ["A=1"]
        until_sync(lambda: swarm.ask("m2", 9000 + int(name[1:])))
    else:
        assert name not in swarm.docker("m1", "service", "ls", "--format", "{{.Name}}").split()


def leftovers(swarm: Lab) -> None:
    """Nothing of removed services is on the machines: containers, processes, sandboxes, mounts, cgroups."""
    for name in ALL:
        try:
            (container,) = until_sync(lambda name=name: only_one(swarm, name), 30, 0.1)
        except AssertionError:
            raise AssertionError(f"{name}:\n{swarm.docker(name, 'ps', '-a')}\n{swarm.log(name)[-5000:]}") from None
        found = left(swarm, name, container)
        deadline = time.monotonic() + 10
        while found and time.monotonic() < deadline:
            found = left(swarm, name, container)
        assert not found, f"{name} has {container}, and of others: {found}\n{swarm.log(name)[-2000:]}"


def only_one(swarm: Lab, name: str) -> list[str]:
    """The machine's containers, if it is but one."""
    try:
        found = swarm.docker(name, "ps", "-aq", "--no-trunc").split()
    except Refused:
        return []
    return found if len(found) == 1 else []


def left(swarm: Lab, name: str, container: str) -> list[str]:
    """What belongs to other containers than `container`: processes, directories, mounts, cgroups."""
    processes = [
        f"{pid} {_about(pid)}"
        for program in ("conmon", "httpd", "crun")
        for pid in swarm.pids(name, program)
        if container not in _about(pid)
    ]
    found = swarm.inside(
        name,
        "ls /run/shoal/netns /run/shoal/c /var/lib/shoal/containers; find /sys/fs/cgroup/pids/ -mindepth 1 -type d; "
        "grep -o '/[^ ]*[0-9a-f]\\{64\\}[^ ]*' /proc/mounts; ls /run/shoal/runtime 2>/dev/null; true",
    )
    return processes + [
        line for line in found.split() if any(len(part) == 64 for part in line.split("/")) and container not in line
    ]


def _about(pid: int) -> str:
    """A process's command and cgroups: both name its container."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""
