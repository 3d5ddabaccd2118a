"""Three managers and a worker on real machines: leaders and workers that die, roles, nodes that go."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.system.swarm_lab import Lab, Refused, lab
from tests.waiting import until_sync

pytestmark = pytest.mark.system

MANAGERS = ("m1", "m2", "m3")
ALL = (*MANAGERS, "m4")
HEALTHY = dict.fromkeys(ALL, ("Ready", "Active"))


@pytest.fixture(scope="module")
def swarm() -> Iterator[Lab]:
    """m1, m2 and m3 are managers, m4 is a worker; a service of six answers at port 80."""
    with lab() as made:
        made.create("m2", "m3", "m4")
        made.init("m1")
        for name in ("m2", "m3"):
            made.join(name, "m1", "manager")
        made.join("m4", "m1")
        made.service("m1", "web", "--replicas", "8", "-p", "80:80")
        made.until_running("m1", "web", 8)
        yield made


@pytest.fixture(autouse=True)
def whole(swarm: Lab) -> Iterator[None]:
    """Every test leaves the swarm as it was: all nodes ready, three managers, eight tasks."""
    yield
    if dead := swarm.machine("ls", "-q", "--filter", "state=Stopped").split():
        swarm.machine("start", *dead)
    until_sync(lambda: healthy(swarm), 60, 0.1)
    swarm.until_running("m1", "web", 8)


def healthy(swarm: Lab) -> bool:
    try:
        states = swarm.node_states("m1")
    except Refused:
        return False
    roles = sorted(state[2] for state in states.values())
    return {name: state[:2] for name, state in states.items()} == HEALTHY and roles == [
        "", "Leader", "Reachable", "Reachable",
    ]  # fmt: skip


def leader(swarm: Lab, ask: str) -> str:
    """Who leads, as `ask` says; empty when nobody does."""
    try:
        states = swarm.node_states(ask)
    except Refused:
        return ""
    return next((name for name, state in states.items() if state[2] == "Leader" and state[0] == "Ready"), "")


def test_when_the_leader_dies_another_leads_and_nothing_running_notices(swarm: Lab) -> None:
    """The leader's machine is cut off: the others serve the API within seconds, their containers run on, its tasks
    run elsewhere; back again, it is a manager like before."""
    old = leader(swarm, "m1")
    others = [name for name in MANAGERS if name != old]
    before = {name: set(swarm.containers(name)) for name in (*others, "m4")}
    began = time.monotonic()
    swarm.machine("kill", old)
    until_sync(lambda: leader(swarm, others[0]) in others, 60, 0.1)
    print(f"another leads after {time.monotonic() - began:.1f} s")
    for name in others:
        until_sync(lambda name=name: "web" in said(swarm, name, "service", "ls"))
    until_sync(lambda: nodes_of(swarm.running(others[1], "web")) == {*others, "m4"}, 60, 0.1)
    swarm.until_running(others[1], "web", 8)
    for name, containers in before.items():
        assert containers <= set(swarm.containers(name))
        until_sync(lambda name=name: len(swarm.answers(name, 80, 8)) == 8)
    swarm.service(others[1], "while", "--replicas", "2")
    swarm.until_running(others[0], "while", 2)
    swarm.machine("start", old)
    until_sync(lambda: healthy(swarm), 40, 0.2)
    assert "while" in said(swarm, old, "service", "ls")
    swarm.docker(old, "service", "rm", "while")
    until_sync(lambda: len(all_containers(swarm)) == 8, 60, 0.1)


def nodes_of(tasks: list[dict[str, str]]) -> set[str]:
    return {task["Node"] for task in tasks}


def said(swarm: Lab, name: str, *words: str) -> str:
    try:
        return swarm.docker(name, *words)
    except Refused as refused:
        return f"refused: {refused}"


def all_containers(swarm: Lab) -> list[str]:
    return [one for name in ALL for one in swarm.containers(name, "web") + swarm.containers(name, "while")]


def test_a_dead_workers_tasks_run_elsewhere(swarm: Lab) -> None:
    """A worker dies: its tasks run on others (`make bench` says how soon); when it comes back its old containers are
    not running."""
    swarm.docker("m1", "service", "update", "--detach", "--force", "--update-parallelism", "0", "web")
    until_sync(lambda: swarm.containers("m4", "web"))
    swarm.until_running("m1", "web", 8)
    swarm.machine("kill", "m4")
    began = time.monotonic()
    until_sync(lambda: len(on_others(swarm)) == 8, 60, 0.05)
    print(f"elsewhere after {time.monotonic() - began:.1f} s")
    assert swarm.node_states("m1")["m4"][0] == "Down"
    swarm.machine("start", "m4")
    until_sync(lambda: swarm.node_states("m1")["m4"][0] == "Ready")
    swarm.until_running("m1", "web", 8)
    until_sync(lambda: len(all_containers(swarm)) == 8 and not swarm.containers("m4"), 60, 0.1)
    until_sync(lambda: sorted(swarm.answers("m4", 80, 16).values()) == [2] * 8)


def on_others(swarm: Lab) -> list[dict[str, str]]:
    return [task for task in swarm.running("m1", "web") if task["Node"] != "m4"]


def test_a_worker_that_was_only_unreachable_stops_what_others_took_over(swarm: Lab) -> None:
    """A worker whose network is cut keeps its containers; when it can be reached again, the old ones stop."""
    swarm.docker("m1", "service", "update", "--detach", "--force", "--update-parallelism", "0", "web")
    until_sync(lambda: len(swarm.containers("m4", "web")) == 2)
    swarm.until_running("m1", "web", 8)
    old = set(swarm.containers("m4", "web"))
    # Only the way to the managers is cut: a link that is down would lose its routes, too.
    rules = "add table inet cut; add chain inet cut in {type filter hook input priority -400;}; "
    rules += f"add rule inet cut in ip saddr {swarm.ip('m1')}-{swarm.ip('m3')} drop"
    swarm.inside("m4", f"nft '{rules}'")
    try:
        until_sync(lambda: len(on_others(swarm)) == 8, 60, 0.05)
        assert set(swarm.containers("m4", "web")) == old
    finally:
        swarm.inside("m4", "nft delete table inet cut")
    until_sync(lambda: swarm.node_states("m1")["m4"][0] == "Ready", 60, 0.1)
    until_sync(lambda: not swarm.containers("m4", "web"), 60, 0.1)
    assert len(swarm.running("m1", "web")) == 8


def test_roles_change_both_ways(swarm: Lab) -> None:
    """promote and demote say docker's words and take effect; a manager that is asked for its role again says so."""
    assert "Node m4 promoted to a manager in the swarm." in swarm.docker("m1", "node", "promote", "m4")
    assert " is already a manager." in swarm.docker("m1", "node", "promote", "m4")
    until_sync(lambda: swarm.node_states("m1")["m4"][2] == "Reachable", 60, 0.1)
    until_sync(lambda: "web" in said(swarm, "m4", "service", "ls"), 60, 0.1)
    assert "Manager m4 demoted in the swarm." in swarm.docker("m1", "node", "demote", "m4")
    until_sync(lambda: "This node is not a swarm manager. Worker nodes" in said(swarm, "m4", "node", "ls"), 60, 0.1)
    assert swarm.node_states("m1")["m4"][2] == ""


def test_the_leader_can_be_demoted(swarm: Lab) -> None:
    """Demoting the leader makes another lead; promoted again it is a manager again."""
    old = leader(swarm, "m1")
    other = next(name for name in MANAGERS if name != old)
    swarm.docker(other, "node", "demote", old)
    until_sync(lambda: leader(swarm, other) not in ("", old), 60, 0.1)
    until_sync(lambda: swarm.node_states(other)[old][2] == "", 60, 0.1)
    until_sync(lambda: "Worker nodes can't be used" in said(swarm, old, "node", "ls"), 60, 0.1)
    swarm.docker(other, "node", "promote", old)
    until_sync(lambda: healthy(swarm), 40, 0.2)


def test_nodes_that_are_up_or_managers_are_not_removed(swarm: Lab) -> None:
    """`node rm` refuses managers and nodes that are not down, in docker's words."""
    worker = swarm.inspect("m1", "node", "m4")["ID"]
    manager = swarm.inspect("m1", "node", "m2")["ID"]
    up = swarm.refusal("m1", "node", "rm", "m4")
    assert f"rpc error: code = FailedPrecondition desc = node {worker} is not down and can't be removed" in up
    text = f"node {manager} is a cluster manager and is a member of the raft cluster. It must be demoted to worker"
    assert text in swarm.refusal("m1", "node", "rm", "m2")
    assert text in swarm.refusal("m1", "node", "rm", "--force", "m2")


def test_a_worker_leaves_goes_down_is_removed_and_joins_again(swarm: Lab) -> None:
    """After leave the node is Down and its tasks run elsewhere; it can be removed, and join as a new node."""
    assert "Node left the swarm." in swarm.docker("m4", "swarm", "leave")
    assert "This node is not part of a swarm" in swarm.refusal("m4", "swarm", "leave")
    until_sync(lambda: swarm.node_states("m1")["m4"][0] == "Down", 60, 0.1)
    assert swarm.docker("m4", "ps", "-aq") == ""
    swarm.until_running("m1", "web", 8)
    assert swarm.docker("m1", "node", "rm", "m4").strip() == "m4"
    assert "m4" not in swarm.node_states("m1")
    swarm.join("m4", "m1")
    until_sync(lambda: swarm.node_states("m1").get("m4", ("",))[0] == "Ready")


def test_a_node_removed_by_force_is_out(swarm: Lab) -> None:
    """`node rm --force` throws a running worker out: it cannot speak to the swarm any more until it leaves and joins."""
    old = swarm.inspect("m1", "node", "m4")["ID"]
    swarm.docker("m1", "node", "rm", "--force", "m4")
    swarm.until_running("m1", "web", 8)
    assert old not in swarm.docker("m1", "node", "ls")
    swarm.docker("m4", "swarm", "leave", "--force")
    swarm.join("m4", "m1")
    until_sync(lambda: swarm.node_states("m1").get("m4", ("",))[0] == "Ready")
    assert swarm.inspect("m1", "node", "m4")["ID"] != old


def test_a_dead_manager_is_replaced(swarm: Lab) -> None:
    """A manager that is gone for good is demoted, removed, and another joins; if it comes back, it is out until it
    leaves and joins again."""
    swarm.machine("kill", "m3")
    until_sync(lambda: swarm.node_states("m1")["m3"][0] == "Down", 60, 0.1)
    words = "must be demoted to worker before removal"
    assert words in swarm.refusal("m1", "node", "rm", "m3")
    swarm.docker("m1", "node", "demote", "m3")
    until_sync(lambda: swarm.node_states("m1")["m3"][2] == "", 60, 0.1)
    swarm.docker("m1", "node", "promote", "m4")
    until_sync(lambda: swarm.node_states("m1")["m4"][2] == "Reachable", 60, 0.1)
    until_sync(lambda: "m3" in said(swarm, "m1", "node", "rm", "m3").split(), 60, 0.1)
    swarm.machine("start", "m3")
    assert "m3" not in swarm.node_states("m1")
    until_sync(lambda: swarm.docker("m3", "info", "-f", "{{.Swarm.Error}}").strip() not in ("", "<no value>"), 60, 0.2)
    swarm.docker("m3", "swarm", "leave", "--force")
    swarm.join("m3", "m1", "manager")
    swarm.docker("m1", "node", "demote", "m4")


def test_without_a_quorum_it_says_so_and_runs_on(swarm: Lab) -> None:
    """Two of three managers die: the third answers with docker's words, containers run on, and all is well again
    when one comes back. Leaving a manager is refused without --force."""
    text = "You are attempting to leave the swarm on a node that is participating as a manager."
    assert text in swarm.refusal("m1", "swarm", "leave")
    before = set(swarm.containers("m1"))
    swarm.machine("kill", "m2")
    swarm.machine("kill", "m3")
    words = "The swarm does not have a leader. It's possible that too few managers are online."
    until_sync(lambda: words in said(swarm, "m1", "service", "scale", "--detach", "web=9"), 40, 0.2)
    assert before <= set(swarm.containers("m1"))
    # Nobody is left to say that the others' tasks are gone; those that are there take their turns.
    assert any("Hello" in swarm.page("m1", 80, timeout=0.5) for _ in range(8))
    swarm.machine("start", "m2")
    until_sync(lambda: leader(swarm, "m1"), 60, 0.1)
    # What was not acknowledged may have happened or not.
    until_sync(lambda: "web scaled to 8" in said(swarm, "m1", "service", "scale", "--detach", "web=8"), 60, 0.2)
    swarm.until_running("m1", "web", 8)
    swarm.machine("start", "m3")
    until_sync(lambda: healthy(swarm), 40, 0.2)
