"""Machines come back with other addresses, and the swarm is whole again by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.system.etcd import addresses_known
from tests.system.swarm_lab import Lab, Refused, lab
from tests.waiting import until_sync

pytestmark = pytest.mark.system

ALL = ("m1", "m2", "m3")
TASKS = 6


@pytest.fixture(scope="module")
def swarm() -> Iterator[Lab]:
    """m1 is the manager; six tasks on an overlay network answer at port 80 of every machine."""
    with lab() as made:
        made.create("m2", "m3")
        made.init("m1")
        for name in ("m2", "m3"):
            made.join(name, "m1")
        made.docker("m1", "network", "create", "-d", "overlay", "net1")
        quick = ("--restart-delay", "100ms")
        made.service("m1", "web", "--replicas", str(TASKS), "-p", "80:80", "--network", "net1", *quick)
        made.service("m1", "probe", "--mode", "global", "--network", "net1", command=("sleep", "86400"))
        until_sync(lambda: problem(made) == "", 60, 0.1)
        yield made


def problem(swarm: Lab, managers: tuple[str, ...] = ("m1",)) -> str:
    """What keeps the swarm from being whole, as every manager sees it; empty when nothing does."""
    try:
        for manager in managers:
            for name in ALL:
                status = swarm.inspect(manager, "node", name)["Status"]
                if status != {"State": "ready", "Addr": swarm.ip(name)}:
                    return f"{manager} says of {name}, which is at {swarm.ip(name)}: {status}"
        running = swarm.running(managers[0], "web")
        if len(running) != TASKS:
            return f"{len(running)} tasks run"
        for name in ALL:
            seen = swarm.answers(name, 80, 2 * TASKS)
            if sorted(seen.values()) != [2] * TASKS or "" in seen:
                return f"at {name}: {seen}"
    except (Refused, OSError) as fault:
        return str(fault)
    return ""


def whole(swarm: Lab, what: str, managers: tuple[str, ...] = ("m1",), timeout: float = 120) -> float:
    """Wait until the swarm is whole; returns how long it took."""
    begun, last = time.monotonic(), ""

    def good() -> bool:
        nonlocal last
        last = problem(swarm, managers)
        return not last

    try:
        until_sync(good, timeout, 0.1)
    except AssertionError:
        raise AssertionError(f"{what}: {last}\n" + "\n".join(swarm.log(name)[-2500:] for name in ALL)) from None
    took = time.monotonic() - begun
    print(f"{what}: whole {took:.1f} s after the last machine was up")
    return took


def by_name(swarm: Lab, name: str) -> None:
    """A container on machine `name` finds the service by name, and reaches all its tasks over the overlay."""
    probe = until_sync(lambda: swarm.containers(name, "probe"), 30)[0]
    ask = r"printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 30 web 80 | grep -o 'Hostname:</b> [0-9a-f]*'"
    script = f"for i in $(seq {2 * TASKS}); do {ask}; done"
    said = swarm.docker(name, "exec", probe, "sh", "-c", script).splitlines()
    assert len(said) == 2 * TASKS
    assert len(set(said)) == TASKS


def restart(swarm: Lab, stopped: tuple[str, ...], moved: tuple[str, ...]) -> None:
    """Stop machines, and start them in that order, some with other addresses."""
    swarm.machine("stop", *stopped)
    for name in stopped:
        before = swarm.ip(name)
        swarm.machine("start", *(["--new-address"] if name in moved else []), name)
        assert (swarm.ip(name) != before) == (name in moved)


@pytest.mark.parametrize(
    ("stopped", "moved"),
    [
        (("m1", "m2"), ("m1",)),
        (("m2", "m1"), ("m1",)),
        (("m2",), ("m2",)),
        (("m1", "m2", "m3"), ("m1", "m2", "m3")),
        (("m3", "m2", "m1"), ("m1", "m2", "m3")),
    ],
    ids=["manager", "manager-last", "worker", "all-manager-first", "all-manager-last"],
)
def test_a_swarm_is_whole_again(swarm: Lab, stopped: tuple[str, ...], moved: tuple[str, ...]) -> None:
    """Whoever moved, and in whatever order machines come back: all nodes are ready at their new addresses, all tasks
    run, and the mesh and the overlay reach every one of them."""
    restart(swarm, stopped, moved)
    whole(swarm, f"{'+'.join(moved)} moved")
    for name in ALL:
        by_name(swarm, name)


@pytest.mark.parametrize("moved", [("m3",), ALL], ids=["one-of-three", "all-three"])
def test_managers_agree_again(swarm: Lab, moved: tuple[str, ...]) -> None:
    """With three managers, one that moved is a member again at its new address; and when all of them moved at once,
    they find each other, agree, and every one of them serves."""
    swarm.docker("m1", "node", "promote", "m2", "m3")
    until_sync(lambda: [one[2] for one in swarm.node_states("m1").values()].count("Reachable") == 2, 60, 0.1)
    until_sync(lambda: all(len(remembered(swarm, name)) == 3 for name in ALL), 60, 0.1)
    restart(swarm, moved, moved)
    whole(swarm, f"managers {'+'.join(moved)} moved", ALL)
    until_sync(lambda: [one[2] for one in swarm.node_states("m3").values()].count("Reachable") == 2, 60, 0.1)
    until_sync(lambda: all(remembered(swarm, name) == {swarm.ip(one) for one in ALL} for name in ALL), 60, 0.1)


def remembered(swarm: Lab, name: str) -> set[str]:
    """Where a manager's etcd looks for the managers."""
    return addresses_known(swarm.root(name) / "var/lib/shoal/swarm/etcd")
