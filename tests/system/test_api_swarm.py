"""The official docker CLI against real daemons in a swarm: nodes, services, stacks, logs, refusals."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.api_daemon import IMAGE, Daemon, connect, daemon
from tests.waiting import until_sync

pytestmark = pytest.mark.system

STACK = f"""
version: "3"
services:
  web:
    image: {IMAGE}
    command: ["sh", "-c", "while true; do printf 'HTTP/1.0 200 OK\\\\r\\\\n\\\\r\\\\n%s' $$HOSTNAME | nc -l -p 80; done"]
    hostname: "{{{{.Task.Slot}}}}"
    deploy:
      replicas: 2
      resources: {{limits: {{cpus: "0.1", memory: 50M}}}}
      restart_policy: {{condition: on-failure}}
    ports: ["8090:80"]
    networks: [webnet]
networks:
  webnet:
"""


@pytest.fixture(scope="module")
def swarm() -> Iterator[list[Daemon]]:
    """A manager and a worker."""
    with ExitStack() as stack:
        daemons = [stack.enter_context(daemon(name=f"api-m{number}")) for number in (1, 2)]
        addresses = connect([one.host for one in daemons])
        said = daemons[0].docker("swarm", "init", "--advertise-addr", addresses[0])
        assert re.search(r"Swarm initialized: current node \(\w{25}\) is now a manager\.", said)
        token = daemons[0].docker("swarm", "join-token", "-q", "worker").strip()
        assert f"docker swarm join --token {token} {addresses[0]}:2377" in said
        joined = daemons[1].docker("swarm", "join", "--token", token, f"{addresses[0]}:2377")
        assert joined.strip() == "This node joined a swarm as a worker."
        until_sync(lambda: daemons[0].docker("node", "ls", "--format", "{{.Status}}").split() == ["Ready", "Ready"])
        yield daemons


def states(manager: Daemon, service: str) -> list[str]:
    """The current state of the tasks that should run."""
    rows = manager.docker(
        "service", "ps", service, "--filter", "desired-state=running", "--format", "{{.CurrentState}}"
    ).splitlines()
    return [row.split()[0] for row in rows]


def test_nodes(swarm: list[Daemon]) -> None:
    """`node ls` marks the own node and the leader; `info` tells the same; availability and labels are updated."""
    manager, worker = swarm
    rows = manager.docker("node", "ls", "--format", "{{.Hostname}} {{.Self}} {{.ManagerStatus}}").splitlines()
    assert sorted(row.strip() for row in rows) == ["api-m1 true Leader", "api-m2 false"]
    info = json.loads(manager.docker("info", "--format", "{{json .Swarm}}"))
    assert (info["LocalNodeState"], info["ControlAvailable"], info["Nodes"], info["Managers"]) == ("active", True, 2, 1)
    assert "JoinTokens" not in info["Cluster"]
    manager.docker("node", "update", "--label-add", "disk=ssd", "--availability", "pause", "api-m2")
    node = json.loads(manager.docker("node", "inspect", "api-m2"))[0]
    assert node["Spec"] == {"Labels": {"disk": "ssd"}, "Role": "worker", "Availability": "pause"}
    manager.docker("node", "update", "--availability", "active", "api-m2")
    info = json.loads(worker.docker("info", "--format", "{{json .Swarm}}"))
    assert (info["LocalNodeState"], info["ControlAvailable"]) == ("active", False)


def test_what_a_worker_refuses(swarm: list[Daemon]) -> None:
    """A worker that is asked for a manager's command answers with docker's sentence; nobody joins twice."""
    manager, worker = swarm
    refused = worker.try_docker("node", "ls").stderr
    assert b"This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state." in refused
    assert b"This node is already part of a swarm" in manager.try_docker("swarm", "init").stderr
    assert b"You are attempting to leave the swarm on a node that is participating as a manager." in (
        manager.try_docker("swarm", "leave").stderr
    )


def test_a_service_from_creation_to_removal(swarm: list[Daemon]) -> None:
    """create waits for convergence, then ls, ps, inspect, scale, logs, update, rollback, rm."""
    manager = swarm[0]
    script = "echo started $MARK; exec sleep 1000"
    said = manager.docker(
        "service", "create", "--no-resolve-image", "--name", "svc", "--replicas", "2", "--env", "MARK=one",
        "--stop-grace-period", "0s", "--update-monitor", "100ms", IMAGE, "sh", "-c", script,
    )  # fmt: skip
    assert "verify: Service" in said
    assert (
        manager.docker("service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}}").strip() == "svc replicated 2/2"
    )
    manager.docker("service", "scale", "-d", "svc=3")
    until_sync(lambda: states(manager, "svc") == ["Running"] * 3)
    nodes = manager.docker("service", "ps", "svc", "--format", "{{.Node}}").split()
    assert set(nodes) == {"api-m1", "api-m2"}
    until_sync(lambda: manager.docker("service", "logs", "--raw", "svc").split() == ["started", "one"] * 3)
    line = manager.docker("service", "logs", "svc").splitlines()[0]
    assert re.match(r"svc\.\d\.\w{12}@api-m\d +\| started one", line)
    manager.docker(
        "service", "update", "--env-add", "MARK=two", "--no-resolve-image", "--update-parallelism", "0", "svc"
    )
    pretty = manager.docker("service", "inspect", "--pretty", "svc")
    assert "MARK=two" in pretty
    manager.docker("service", "rollback", "svc")
    assert "MARK=one" in manager.docker("service", "inspect", "--pretty", "svc")
    manager.docker("service", "rm", "svc")
    assert b"no such service: svc" in manager.try_docker("service", "ps", "svc").stderr
    until_sync(lambda: not any(one.docker("ps", "-q").split() for one in swarm))


def test_refusals_of_services(swarm: list[Daemon]) -> None:
    """A name used twice, an unknown network, a local network, a taken port: docker's status and words."""
    manager = swarm[0]
    create = ("service", "create", "-d", "--no-resolve-image", "--replicas", "0")
    manager.docker(*create, "--name", "once", "-p", "9090:80", IMAGE)
    twice = manager.try_docker(*create, "--name", "once", IMAGE).stderr
    assert b"name conflicts with an existing object: service once already exists" in twice
    taken = manager.try_docker(*create, "--name", "other", "-p", "9090:80", IMAGE).stderr
    assert b"port '9090' is already in use by service 'once'" in taken
    manager.docker("network", "create", "local1")
    # Docker's command line before 23 has words of its own for "not found".
    for name, also in (("nosuch", ""), ("local1", "|cannot be used with services")):
        said = manager.try_docker(*create, "--network", name, IMAGE).stderr.decode()
        assert re.search(f"network {name} not found|No such network: {name}{also}", said), said
    manager.docker("network", "rm", "local1")
    manager.docker("service", "rm", "once")


def test_overlays_are_for_services(swarm: list[Daemon]) -> None:
    """`docker run` on an overlay, by its own address or not, and `network connect`: refused in docker's words, whether
    tasks on this node use it or not; encryption and IPv6 are refused at creation, attachable ones are made."""
    manager = swarm[0]
    manager.docker("network", "create", "-d", "overlay", "closed")
    manager.docker("network", "create", "-d", "overlay", "--attachable", "open")
    denied = (
        b"Could not attach to network closed: rpc error: code = PermissionDenied desc = network closed not manually"
    )
    later = b"joining an attachable overlay network from docker run is not supported yet; use a service"
    manager.docker("run", "-d", "--name", "plain", IMAGE, "sleep", "1000")
    for name, words in (("closed", denied), ("open", later)):
        for options in ([], ["--ip", "10.0.1.77"]):
            assert words in manager.try_docker("run", "--rm", "--network", name, *options, IMAGE, "true").stderr
        assert words in manager.try_docker("network", "connect", name, "plain").stderr
    create = ("network", "create", "-d", "overlay")
    assert b'"encrypted" is not supported' in manager.try_docker(*create, "--opt", "encrypted", "secret").stderr
    assert b"IPv6 is not supported" in manager.try_docker(*create, "--ipv6", "six").stderr
    manager.docker("rm", "-f", "plain")
    manager.docker("network", "rm", "closed", "open")


def test_a_stack_answers_on_every_node(swarm: list[Daemon], tmp_path: Path) -> None:
    """`stack deploy` of the tutorial's kind of file: every replica answers through each node's port; rm removes all."""
    manager = swarm[0]
    file = tmp_path / "compose.yml"
    file.write_text(STACK)
    manager.docker("stack", "deploy", "--resolve-image", "never", "-c", str(file), "demo")
    until_sync(lambda: states(manager, "demo_web") == ["Running", "Running"])
    assert manager.docker("stack", "ls", "--format", "{{.Name}} {{.Services}}").strip() == "demo 1"
    assert "*:8090->80/tcp" in manager.docker("stack", "services", "demo")
    for one in swarm:
        heard: set[str] = set()

        def ask(one: Daemon = one, heard: set[str] = heard) -> bool:
            command = one.host.enter("curl", "-s", "-m", "2", "http://127.0.0.1:8090/")
            heard.add(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
            return {"1", "2"} <= heard

        until_sync(ask)
    for one in swarm:
        inspected = json.loads(one.docker("network", "inspect", "demo_webnet"))[0]
        assert (inspected["Scope"], inspected["Driver"]) == ("swarm", "overlay")
        assert [entry["Name"].split(".")[0] for entry in inspected["Containers"].values()] == ["demo_web"]
    manager.docker("stack", "rm", "demo")
    until_sync(lambda: "demo_webnet" not in manager.docker("network", "ls", "--format", "{{.Name}}"))


def test_tokens_rotate(swarm: list[Daemon]) -> None:
    """A rotated token is a new one, and the old one admits nobody."""
    manager = swarm[0]
    old = manager.docker("swarm", "join-token", "-q", "manager").strip()
    new = manager.docker("swarm", "join-token", "-q", "--rotate", "manager").strip()
    assert new.startswith("SWMTKN-1-")
    assert new != old
    assert new.split("-")[2] == old.split("-")[2]


def test_a_worker_leaves_and_is_removed() -> None:
    """A node that left shows Down and can be removed; the last manager leaves only by force."""
    with daemon(name="api-l1") as manager, daemon(name="api-l2") as worker:
        addresses = connect([manager.host, worker.host], "10.67.0")
        manager.docker("swarm", "init", "--advertise-addr", addresses[0])
        token = manager.docker("swarm", "join-token", "-q", "worker").strip()
        wrong = worker.try_docker("swarm", "join", "--token", token[:-1] + "?", f"{addresses[0]}:2377")
        assert b"invalid join token" in wrong.stderr
        worker.docker("swarm", "join", "--token", token, f"{addresses[0]}:2377")
        assert worker.docker("swarm", "leave").strip() == "Node left the swarm."
        until_sync(lambda: "Down" in manager.docker("node", "ls", "--format", "{{.Status}}"))
        manager.docker("node", "rm", "api-l2")
        assert manager.docker("node", "ls", "-q").split() == [manager.docker("info", "-f", "{{.Swarm.NodeID}}").strip()]
        assert manager.docker("swarm", "leave", "--force").strip() == "Node left the swarm."
