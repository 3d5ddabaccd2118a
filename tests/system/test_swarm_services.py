"""Services on a swarm of three machines: what users rely on, with docker's own command line."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.system.swarm_lab import Lab, lab
from tests.waiting import until_sync

pytestmark = pytest.mark.system

ALL = ("m1", "m2", "m3")


@pytest.fixture(scope="module")
def swarm() -> Iterator[Lab]:
    """A manager, m1, and two workers."""
    with lab() as made:
        made.create("m2", "m3")
        made.init("m1")
        made.join("m2", "m1")
        made.join("m3", "m1")
        yield made


@pytest.fixture(autouse=True)
def empty(swarm: Lab) -> Iterator[None]:
    """Every test begins and ends with a swarm without services."""
    yield
    for name in ALL:
        swarm.docker("m1", "node", "update", "--availability", "active", name)
    swarm.clean("m1", *ALL)


def spread(tasks: list[dict[str, str]]) -> dict[str, int]:
    return {name: sum(task["Node"] == name for task in tasks) for name in ALL}


def update_state(swarm: Lab, service: str) -> str:
    return str(swarm.inspect("m1", "service", service).get("UpdateStatus", {}).get("State", ""))


def test_replicas_are_spread_and_answered_in_turn_at_every_node(swarm: Lab) -> None:
    """Six replicas are two on each node, and each port asked answers with all of them equally often."""
    swarm.service("m1", "web", "--replicas", "6", "-p", "80:80")
    tasks = swarm.until_running("m1", "web", 6)
    assert spread(tasks) == {"m1": 2, "m2": 2, "m3": 2}
    for name in ALL:
        until_sync(lambda name=name: swarm.ask(name))
        # A node hears of an endpoint a moment after the manager does; then it answers with all, and evenly.
        until_sync(lambda name=name: sorted(swarm.answers(name, 80, 12).values()) == [2] * 6)


def test_scaled_to_zero_the_port_refuses(swarm: Lab) -> None:
    """A service scaled to 0 keeps its port, where connections are refused; scaled up again, it answers."""
    swarm.service("m1", "web", "--replicas", "2", "-p", "8081:80")
    swarm.until_running("m1", "web", 2)
    until_sync(lambda: swarm.ask("m3", 8081))
    assert "web scaled to 0" in swarm.docker("m1", "service", "scale", "--detach", "web=0")
    for name in ALL:
        until_sync(lambda name=name: swarm.knock(name, 8081) == "refused")
    until_sync(lambda: swarm.docker("m1", "service", "ls", "--format", "{{.Replicas}}").split() == ["0/0"])
    swarm.docker("m1", "service", "scale", "--detach", "web=1")
    until_sync(lambda: swarm.ask("m2", 8081))


def test_the_mesh_keeps_the_clients_address(swarm: Lab) -> None:
    """A container sees the address of who asks, also when another node took the request."""
    page = "printf '#!/bin/sh\\necho\\necho $REMOTE_ADDR\\n' >/www/cgi-bin/index.cgi; exec httpd -f -p 80 -h /www"
    here = ("--constraint", "node.hostname==m3", "-p", "8082:80")
    swarm.service("m1", "web", *here, command=("sh", "-c", page))
    swarm.until_running("m1", "web", 1)
    for name in ALL:
        page = until_sync(lambda name=name: swarm.page(name, 8082))
        assert re.sub(r"[][]|::ffff:", "", page).strip() == swarm.place.host


def test_drain_moves_pause_keeps_active_takes_new_ones(swarm: Lab) -> None:
    """A drained node's tasks go elsewhere at once; a paused one keeps its own and gets none; active gets new ones."""
    swarm.service("m1", "web", "--replicas", "3")
    swarm.until_running("m1", "web", 3)
    swarm.docker("m1", "node", "update", "--availability", "drain", "m2")
    until_sync(lambda: spread(swarm.running("m1", "web"))["m2"] == 0 and len(swarm.running("m1", "web")) == 3)
    until_sync(lambda: not swarm.containers("m2"))
    swarm.docker("m1", "node", "update", "--availability", "pause", "m3")
    swarm.docker("m1", "service", "scale", "--detach", "web=5")
    before = spread(swarm.running("m1", "web"))["m3"]
    tasks = swarm.until_running("m1", "web", 5)
    assert before >= 1
    assert spread(tasks) == {"m1": 5 - before, "m2": 0, "m3": before}
    for name in ("m2", "m3"):
        swarm.docker("m1", "node", "update", "--availability", "active", name)
    swarm.docker("m1", "service", "scale", "--detach", "web=7")
    after = spread(swarm.until_running("m1", "web", 7))
    assert after["m1"] == 5 - before
    assert after["m2"] >= 1 and abs(after["m2"] - after["m3"]) <= 1  # both went where the fewest were


def test_global_services_follow_the_nodes(swarm: Lab) -> None:
    """A global service has one task on every node that is eligible, and none on the others."""
    swarm.service("m1", "every", "--mode", "global")
    tasks = swarm.until_running("m1", "every", 3)
    assert spread(tasks) == {"m1": 1, "m2": 1, "m3": 1}
    swarm.docker("m1", "node", "update", "--availability", "drain", "m3")
    until_sync(lambda: not swarm.containers("m3"))
    assert spread(swarm.until_running("m1", "every", 2))["m3"] == 0
    swarm.docker("m1", "node", "update", "--availability", "active", "m3")
    swarm.until_running("m1", "every", 3)
    swarm.docker("m1", "service", "update", "--detach", "--constraint-add", "node.role==worker", "every")
    assert spread(swarm.until_running("m1", "every", 2)) == {"m1": 0, "m2": 1, "m3": 1}
    said = swarm.refusal("m1", "service", "scale", "every=3")
    assert "scale can only be used with replicated or replicated-job mode" in said


def test_waiting_tasks_say_why(swarm: Lab) -> None:
    """What cannot be placed waits, and `service ps` says why; when the reason goes, it runs."""
    swarm.service("m1", "picky", "--constraint", "node.labels.disk==ssd")
    swarm.service("m1", "hungry", "--reserve-memory", "1000g")
    swarm.service("m1", "crowded", "--replicas", "4", "-p", "mode=host,target=80,published=8083")
    swarm.service("m1", "few", "--replicas", "4", "--replicas-max-per-node", "1")

    def why(service: str, text: str) -> None:
        until_sync(lambda: any(text in task["Error"] for task in swarm.tasks("m1", service)), 60, 0.1)

    why("picky", "no suitable node (scheduling constraints not satisfied on 3 nodes)")
    why("hungry", "no suitable node (insufficient resources on 3 nodes)")
    why("crowded", "no suitable node (host-mode port already in use on 3 nodes)")
    why("few", "no suitable node (max replicas per node limit exceed)")
    assert len(swarm.running("m1", "few")) <= 3
    swarm.docker("m1", "node", "update", "--label-add", "disk=ssd", "m2")
    assert spread(swarm.until_running("m1", "picky", 1))["m2"] == 1
    for name in ALL:
        until_sync(lambda name=name: swarm.ask(name, 8083))
    swarm.docker("m1", "node", "update", "--label-rm", "disk", "m2")
    until_sync(lambda: not swarm.containers("m2", "picky"))
    why("picky", "no suitable node (scheduling constraints not satisfied on 3 nodes)")


def test_preferences_spread_over_labels(swarm: Lab) -> None:
    """`--placement-pref spread=` divides the tasks evenly between the values of a label, not between nodes."""
    for name, rack in zip(ALL, ("a", "b", "b"), strict=True):
        swarm.docker("m1", "node", "update", "--label-add", f"rack={rack}", name)
    swarm.service("m1", "web", "--replicas", "4", "--placement-pref", "spread=node.labels.rack")
    assert spread(swarm.until_running("m1", "web", 4)) == {"m1": 2, "m2": 1, "m3": 1}


def test_a_rolling_update_goes_on_at_most_so_many_at_once(swarm: Lab) -> None:
    """With parallelism 2 no more than two tasks are missing at any moment, and in the end all are new."""
    swarm.service("m1", "web", "--replicas", "5", "--update-parallelism", "2", "--update-monitor", "100ms")
    swarm.until_running("m1", "web", 5)
    swarm.docker("m1", "service", "update", "--detach", "--image", swarm.image[:-1] + "2", "web")
    least = 5

    def done() -> bool:
        nonlocal least
        least = min(least, len(swarm.running("m1", "web")))
        return update_state(swarm, "web") == "completed"

    until_sync(done, 40, 0.05)
    assert least >= 3
    images = {task["Image"].partition("@")[0] for task in swarm.until_running("m1", "web", 5)}
    assert images == {swarm.image[:-1] + "2"}


def test_an_update_that_fails_pauses_and_rollback_brings_the_old_back(swarm: Lab) -> None:
    """The first failing task pauses the update with docker's message; the others run on; `rollback` undoes it."""
    swarm.service("m1", "web", "--replicas", "3", "--update-monitor", "1s", "--rollback-monitor", "500ms")
    swarm.until_running("m1", "web", 3)
    swarm.docker("m1", "service", "update", "--detach", "--args", "nosuchcommand", "web")
    until_sync(lambda: update_state(swarm, "web") == "paused", 60, 0.1)
    message = swarm.inspect("m1", "service", "web")["UpdateStatus"]["Message"]
    assert re.fullmatch(r"update paused due to failure or early termination of task \w{25}", message)
    assert len(swarm.running("m1", "web")) >= 2
    swarm.docker("m1", "service", "rollback", "--detach", "web")
    until_sync(lambda: update_state(swarm, "web") == "rollback_completed", 60, 0.1)
    swarm.until_running("m1", "web", 3)
    assert "Args" not in swarm.inspect("m1", "service", "web")["Spec"]["TaskTemplate"]["ContainerSpec"]


def test_an_update_can_roll_itself_back(swarm: Lab) -> None:
    """With failure action rollback a failing update ends with the old specification, and history says so."""
    watch = ("--update-monitor", "1s", "--rollback-monitor", "500ms")
    swarm.service("m1", "web", "--replicas", "2", "--update-failure-action", "rollback", *watch)
    swarm.until_running("m1", "web", 2)
    swarm.docker("m1", "service", "update", "--detach", "--env-add", "A=1", "--args", "nosuchcommand", "web")
    until_sync(lambda: update_state(swarm, "web") == "rollback_completed", 40, 0.1)
    swarm.until_running("m1", "web", 2)
    assert "Env" not in swarm.inspect("m1", "service", "web")["Spec"]["TaskTemplate"]["ContainerSpec"]
    assert any("nosuchcommand" in task["Error"] for task in swarm.tasks("m1", "web"))


def test_health_checks_gate_running(swarm: Lab) -> None:
    """A task with a health check is Starting until it is healthy, gets no requests before, and is replaced when sick."""
    check = ("--health-cmd", "test -e /tmp/ok", "--health-interval", "300ms", "--health-retries", "30")
    swarm.service("m1", "web", "--constraint", "node.hostname==m1", "-p", "8084:80", *check)

    def state() -> str:
        return " ".join(task["CurrentState"].split()[0] for task in swarm.tasks("m1", "web"))

    until_sync(lambda: state() == "Starting")
    (container,) = until_sync(lambda: swarm.containers("m1", "web"))
    assert swarm.knock("m2", 8084) == "refused"
    swarm.docker("m1", "exec", container, "touch", "/tmp/ok")
    swarm.until_running("m1", "web", 1)
    assert until_sync(lambda: swarm.ask("m2", 8084)) == container[:12]


def test_sick_tasks_are_replaced(swarm: Lab) -> None:
    """A task that turns unhealthy fails with docker's words, and another takes its place."""
    check = ("--health-cmd", "test ! -e /tmp/sick", "--health-interval", "200ms", "--health-retries", "2")
    swarm.service("m1", "web", "--constraint", "node.hostname==m1", "--restart-delay", "0s", *check)
    swarm.until_running("m1", "web", 1)
    (container,) = swarm.containers("m1", "web")
    swarm.docker("m1", "exec", container, "touch", "/tmp/sick")
    until_sync(lambda: swarm.containers("m1", "web") not in ([container], []))
    swarm.until_running("m1", "web", 1)
    errors = [task["Error"] for task in swarm.tasks("m1", "web")]
    assert any("unhealthy container" in error for error in errors), errors


def test_restart_policy_and_history(swarm: Lab) -> None:
    """At most `max-attempts` restarts; the exit status is told; `none` and on-failure leave a finished task alone."""
    swarm.service("m1", "fails", "--restart-delay", "0s", "--restart-max-attempts", "2", command=("sh", "-c", "exit 3"))
    swarm.service("m1", "ends", "--restart-condition", "on-failure", "--restart-delay", "0s", command=("true",))
    swarm.service("m1", "once", "--restart-condition", "none", command=("false",))

    def states(service: str) -> list[str]:
        return [task["CurrentState"].split()[0] for task in swarm.tasks("m1", service)]

    until_sync(lambda: states("fails") == ["Failed"] * 3, 60, 0.1)
    assert {task["Error"].strip('"') for task in swarm.tasks("m1", "fails")} == {"task: non-zero exit (3)"}
    until_sync(lambda: states("ends") == ["Complete"], 60, 0.1)
    until_sync(lambda: states("once") == ["Failed"], 60, 0.1)


def test_history_is_limited(swarm: Lab) -> None:
    """`service ps` keeps as many tasks of a slot as the swarm's task history limit says."""
    swarm.docker("m1", "swarm", "update", "--task-history-limit", "2")
    try:
        swarm.service("m1", "fails", "--restart-delay", "0s", command=("false",))
        seen: set[str] = set()

        def enough() -> bool:
            seen.update(task["ID"] for task in swarm.tasks("m1", "fails"))
            return len(seen) > 5

        until_sync(enough, 60, 0.1)
        swarm.docker("m1", "service", "scale", "--detach", "fails=0")
        until_sync(lambda: len(swarm.tasks("m1", "fails")) <= 2, 60, 0.1)
    finally:
        swarm.docker("m1", "swarm", "update", "--task-history-limit", "5")


def test_names_of_tasks_and_virtual_addresses(swarm: Lab) -> None:
    """In a network `web` is one virtual address, `tasks.web` all tasks' addresses; connections are spread evenly."""
    swarm.docker("m1", "network", "create", "-d", "overlay", "inner")
    try:
        swarm.service("m1", "web", "--replicas", "3", "--network", "inner")
        swarm.service(
            "m1", "client", "--network", "inner", "--constraint", "node.hostname==m2", command=("sleep", "99")
        )
        swarm.until_running("m1", "web", 3)
        swarm.until_running("m1", "client", 1)
        (client,) = swarm.containers("m2", "client")

        def look(name: str) -> set[str]:
            said = swarm.docker("m2", "exec", client, "nslookup", name, "127.0.0.11")
            return set(re.findall(r"Address(?: \d)?: (\d+\.\d+\.\d+\.\d+)(?!:)\b", said)) - {"127.0.0.11"}

        until_sync(lambda: len(look("tasks.web")) == 3)
        (virtual,) = look("web")
        endpoint = swarm.inspect("m1", "service", "web")["Endpoint"]["VirtualIPs"]
        assert [entry["Addr"].partition("/")[0] for entry in endpoint] == [virtual]
        assert virtual not in look("tasks.web")
        loop = "for i in 1 2 3 4 5 6; do wget -qO- http://web/ | grep -o 'Hostname:</b> [0-9a-f]*'; done"
        said = swarm.docker("m2", "exec", client, "sh", "-c", loop).split()
        assert sorted(said.count(word) for word in set(said) if "Host" not in word) == [2, 2, 2]
    finally:
        swarm.clean("m1", *ALL)
        swarm.docker("m1", "network", "rm", "inner")


def test_service_logs_come_from_all_nodes(swarm: Lab) -> None:
    """`service logs` shows the lines of every task with its name and node; --tail counts for each task."""
    script = "echo one; echo two >&2; sleep 99"
    swarm.service("m1", "talks", "--replicas", "3", command=("sh", "-c", script))
    swarm.until_running("m1", "talks", 3)
    lines = until_sync(lambda: _lines(swarm.docker("m1", "service", "logs", "talks"), 6))
    assert {re.sub(r"\.\w{12}@", "@", line.split("|")[0]).strip() for line in lines} == {
        f"talks.{task['Name'].rsplit('.', 1)[1]}@{task['Node']}" for task in swarm.running("m1", "talks")
    }
    assert len(_lines(swarm.docker("m1", "service", "logs", "--tail", "1", "talks"), 3)) == 3


def _lines(text: str, count: int) -> list[str]:
    lines = [line for line in text.splitlines() if "|" in line]
    return lines if len(lines) == count else []


def test_an_update_out_of_sequence_is_refused(swarm: Lab) -> None:
    """Who writes with an old version is told so, and nothing changes."""
    swarm.service("m1", "web", "--replicas", "0")
    service = swarm.inspect("m1", "service", "web")
    version, spec = service["Version"]["Index"], service["Spec"]
    path = f"/v1.44/services/{service['ID']}/update?version="
    spec["Labels"] = {"a": "1"}
    assert swarm.api("m1", "POST", f"{path}{version}", spec)[0] == 200
    spec["Labels"] = {"a": "2"}
    status, body = swarm.api("m1", "POST", f"{path}{version}", spec)
    assert (status, body["message"]) in [
        (status, "rpc error: code = Unknown desc = update out of sequence") for status in (409, 500)
    ]
    assert swarm.inspect("m1", "service", "web")["Spec"]["Labels"] == {"a": "1"}
