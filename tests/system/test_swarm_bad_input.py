"""Wrong use of a swarm: every mistake gets docker's status and docker's words, and harms nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from demo.workplace import USER

from tests.system.swarm_lab import Lab, lab
from tests.waiting import until_sync

pytestmark = pytest.mark.system

OLD_WORDS = re.compile(r"Error: No such (\w+): (\S+)")
"""What docker's command line before 23 makes of an answer that something was not found."""

NOT_PART = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm'
)
WORKER = (
    "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this "
    "command on a manager node or promote the current node to a manager."
)
PART = 'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.'


@pytest.fixture(scope="module")
def swarm() -> Iterator[Lab]:
    """m1 is the manager, m2 a worker, m3 in no swarm; a service `web` at port 80, networks and a label are there."""
    with lab() as made:
        made.create("m2", "m3")
        made.init("m1")
        made.join("m2", "m1")
        made.docker("m1", "network", "create", "-d", "overlay", "inner")
        made.docker("m1", "network", "create", "alone")
        made.service("m1", "web", "-p", "80:80", "--network", "inner")
        made.until_running("m1", "web", 1)
        yield made


@pytest.mark.parametrize(
    ("machine", "command", "words"),
    [
        ("m2", "node ls", WORKER),
        ("m2", "service ls", WORKER),
        ("m2", "service create --name x busybox", WORKER),
        ("m2", "swarm join-token worker", WORKER),
        ("m2", "swarm init", PART),
        ("m2", "swarm join --token SWMTKN-1-x-y 10.0.0.1:2377", PART),
        ("m1", "swarm init", PART),
        ("m1", "swarm leave", "Removing the last manager erases all current state of the swarm. Use `--force` to"),
        ("m3", "node ls", NOT_PART),
        ("m3", "service ls", NOT_PART),
        ("m3", "swarm leave", "This node is not part of a swarm"),
        ("m3", "swarm join --token nonsense {m1}:2377", "invalid join token"),
        ("m3", "swarm join --token {worker}x {m1}:2377", "invalid join token"),
        (
            "m3", "swarm join --token {othersecret} {m1}:2377",
            "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster",
        ),
        ("m3", "swarm join --token {otherroot} {m1}:2377", "remote CA does not match fingerprint. Expected: "),
        ("m3", "swarm join --token {worker} {m1}:2376", "rpc error: code = Unavailable desc = connection error"),
        ("m3", "swarm init --advertise-addr 10.9.9.9.9", "advertise address must be a non-zero IP address or network"),
        ("m3", "swarm init --advertise-addr nodev0", "advertise address must be a non-zero IP address or network"),
        ("m3", "swarm init --advertise-addr 0.0.0.0", "advertise address must be a non-zero IP address or network"),
        ("m3", "swarm init --listen-addr nodev0", "listen address must be an IP address or network interface"),
        ("m1", "service create --detach --name web {image}",
         "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists"),
        ("m1", "service create --detach --name WEB {image}", "name conflicts with an existing object"),
        ("m1", "service create --detach --name not_ok_ {image}", "name must be valid as a DNS name component"),
        ("m1", "service create --detach --name " + "n" * 64 + " {image}", "name must be 63 characters or fewer"),
        ("m1", "service create --detach --name x -p 80:80 {image}",
         "rpc error: code = InvalidArgument desc = port '80' is already in use by service 'web' ({web}) as an ingress port"),
        ("m1", "service create --detach --name x -p 81:80 -p 81:81 {image}", "duplicate published ports provided"),
        ("m1", "service create --detach --name x --endpoint-mode dnsrr -p 81:80 {image}",
         "EndpointSpec: port published with ingress mode can't be used with dnsrr mode"),
        ("m1", "service create --detach --name x --network nowhere {image}", "network nowhere not found"),
        ("m1", "service create --detach --name x --network alone {image}", "network alone not found"),
        ("m1", "service create --detach --name x --network ingress {image}",
         'Service cannot be explicitly attached to the ingress network "ingress"'),
        ("m1", "service create --detach --name x --constraint node.role {image}",
         "constraint expected one operator from ==, !="),
        ("m1", "service create --detach --name x --constraint n@de==1 {image}", "key 'n@de' is invalid"),
        ("m1", "service create --detach --name x --reserve-cpu 0.00001 {image}", "Must be at least 0.001"),
        ("m1", "service create --detach --name x --limit-memory 1 {image}", "invalid memory value 1: Must be at least 4MiB"),
        ("m1", "service create --detach --name x --mount type=volume,target=/a --mount type=volume,target=/a {image}",
         "ContainerSpec: duplicate mount point: /a"),
        ("m1", "service create --detach --name x --hostname {{{{.Nope}}}} {image}", "expanding "),
        ("m1", "service create --detach --name x UPPER", 'ContainerSpec: "UPPER" is not a valid repository/tag'),
        ("m1", "service update --detach nosuch", "service nosuch not found"),
        ("m1", "service rm nosuch", "service nosuch not found"),
        ("m1", "service logs nosuch", "no such task or service: nosuch"),
        ("m1", "service rollback --detach web", "service {web} does not have a previous spec"),
        ("m1", "service ps nosuch", "no such service: nosuch"),
        ("m1", "node inspect nosuch", "nosuch"),
        ("m1", "node rm nosuch", "node nosuch not found"),
        ("m1", "node rm m2", "is not down and can't be removed"),
        ("m1", "node demote m1", "attempting to demote the last manager of the swarm"),
        ("m1", "network create -d overlay inner", "network with name inner already exists"),
        ("m1", "network create -d overlay host", "operation is not permitted on predefined host network"),
        ("m1", "network rm inner", "rpc error: code = FailedPrecondition desc = network {inner} is in use by"),
        ("m1", "network rm nosuch", "network nosuch not found"),
        ("m1", "swarm update --cert-expiry 1m", "minimum certificate expiry time is: 1h0m0s"),
        ("m1", "run --rm nosuchimage:latest", "nosuchimage"),
        ("m1", "run --rm {image} nosuchcommand", 'exec: "nosuchcommand": executable file not found in $PATH'),
        ("m1", "run -d -p 2376:80 {image}", "2376"),
        ("m1", "run -d -p 80:80 {image}", "80"),
    ],
)  # fmt: skip
def test_mistakes_get_dockers_words(swarm: Lab, machine: str, command: str, words: str) -> None:
    """Every wrong command fails with docker's message."""
    known = facts(swarm)
    said = swarm.refusal(machine, *[word.format(**known) for word in command.split()])
    assert words.format(**known) in OLD_WORDS.sub(r"\1 \2 not found", said), said


def facts(swarm: Lab) -> dict[str, str]:
    """What the commands and messages of the table mention."""
    worker = swarm.tokens["worker"]
    head, version, root, secret = worker.split("-")
    return {
        "m1": swarm.ip("m1"),
        "image": swarm.image,
        "worker": worker,
        "othersecret": "-".join([head, version, root, secret[::-1]]),
        "otherroot": "-".join([head, version, "1" + "0" * 49, secret]),
        "web": str(swarm.inspect("m1", "service", "web")["ID"]),
        "inner": str(swarm.inspect("m1", "network", "inner")["Id"]),
    }


TASK = {"ContainerSpec": {"Image": "busybox"}}
SERVICE = {"Name": "x", "TaskTemplate": TASK}


@pytest.mark.parametrize(
    ("machine", "method", "path", "body", "status", "words"),
    [
        ("m2", "GET", "/services", None, 503, WORKER),
        ("m3", "GET", "/nodes", None, 503, NOT_PART),
        ("m3", "POST", "/swarm/leave", None, 503, "This node is not part of a swarm"),
        ("m1", "POST", "/swarm/init", {"ListenAddr": "0.0.0.0:2377"}, 503, PART),
        ("m1", "POST", "/swarm/leave", None, 503, "You are attempting to leave the swarm on a node that is participating"),
        ("m3", "POST", "/swarm/join", {"RemoteAddrs": ["1.2.3.4:2377"], "JoinToken": "x"}, 500, "invalid join token"),
        ("m3", "POST", "/swarm/init", {"AdvertiseAddr": "nodev0", "ListenAddr": "0.0.0.0:2377"}, 400, "advertise address"),
        ("m1", "POST", "/services/create", {}, 400, ""),
        ("m1", "POST", "/services/create", b"{not json", 400, ""),
        ("m1", "POST", "/services/create", [], 400, ""),
        ("m1", "POST", "/services/create", {**SERVICE, "Name": "web"}, 409, "service web already exists"),
        ("m1", "POST", "/services/create", {**SERVICE, "TaskTemplate": {"ContainerSpec": {"Image": ""}}}, 400,
         "ContainerSpec: image reference must be provided"),
        ("m1", "POST", "/services/create", {**SERVICE, "TaskTemplate": {"ContainerSpec": {"Image": "A B"}}}, 400,
         'ContainerSpec: "A B" is not a valid repository/tag'),
        ("m1", "POST", "/services/create",
         {**SERVICE, "TaskTemplate": {"ContainerSpec": {"Image": "a"}, "Placement": {"Constraints": ["x"]}}}, 400,
         "constraint expected one operator"),
        ("m1", "POST", "/services/create", {**SERVICE, "Mode": {"Replicated": {"Replicas": -1}}}, 400, ""),
        ("m1", "POST", "/services/create", {**SERVICE, "Mode": {"Global": {}, "Replicated": {}}}, 400, ""),
        ("m1", "POST", "/services/create", {**SERVICE, "EndpointSpec": {"Ports": [{"TargetPort": 99999}]}}, 400, ""),
        ("m1", "GET", "/services/nosuch", None, 404, "service nosuch not found"),
        ("m1", "POST", "/services/create", {**SERVICE, "TaskTemplate": {**TASK, "Networks": [{"Target": "alone"}]}}, 403,
         "The network alone cannot be used with services. Only networks scoped to the swarm can be used, such as those"),
        ("m1", "DELETE", "/networks/ingress", None, 400, "ingress network cannot be removed because service"),
        ("m1", "DELETE", "/services/nosuch", None, 404, "service nosuch not found"),
        ("m1", "GET", "/tasks/nosuch", None, 404, "task nosuch not found"),
        ("m1", "GET", "/nodes/nosuch", None, 404, "node nosuch not found"),
        ("m1", "GET", "/services?filters=x", None, 400, ""),
        ("m1", "GET", '/services?filters={"nosuch":["1"]}', None, 400, "invalid filter 'nosuch'"),
        ("m1", "GET", '/tasks?filters={"nosuch":["1"]}', None, 400, "invalid filter 'nosuch'"),
        ("m1", "GET", '/nodes?filters={"role":["king"]}', None, 400, ""),
        ("m1", "POST", "/services/web/update?version=x", SERVICE, 400, ""),
        ("m1", "POST", "/services/web/update", SERVICE, 400, ""),
        ("m1", "POST", "/nodes/m2/update?version=1", {"Role": "worker", "Availability": "sleepy"}, 400, ""),
        ("m1", "POST", "/networks/create", {"Name": "", "Driver": "overlay"}, 400, ""),
        ("m1", "POST", "/networks/create", {"Name": "z", "Driver": "nosuch"}, 404, "nosuch"),
        ("m1", "POST", "/networks/create",
         {"Name": "z", "Driver": "overlay", "IPAM": {"Config": [{"Subnet": "10.0.0.0/99"}]}}, 400, ""),
        ("m1", "GET", "/nosuch", None, 404, "page not found"),
        ("m1", "GET", "/v9.99/info", None, 400, "client version 9.99 is too new"),
    ],
)  # fmt: skip
def test_mistakes_get_dockers_status(
    swarm: Lab, machine: str, method: str, path: str, body: object, status: int, words: str
) -> None:
    """Raw requests that are wrong get the status, and a message in JSON."""
    path = path.replace('"', "%22").replace("{", "%7B").replace("}", "%7D")
    got, answer = swarm.api(machine, method, path if path.startswith("/v") else f"/v1.44{path}", body)
    assert (got, words in answer["message"]) == (status, True), (got, answer)
    assert "Traceback" not in json.dumps(answer) and "object has no attribute" not in json.dumps(answer)


def test_a_rotated_token_is_no_token(swarm: Lab) -> None:
    """After a rotation the old token is refused, the new one joins, and who is in stays in."""
    old = swarm.docker("m1", "swarm", "join-token", "-q", "worker").strip()
    said = swarm.docker("m1", "swarm", "join-token", "--rotate", "worker")
    assert "Successfully rotated worker join token." in said
    swarm.tokens["worker"] = swarm.docker("m1", "swarm", "join-token", "-q", "worker").strip()
    refused = swarm.refusal("m3", "swarm", "join", "--token", old, f"{swarm.ip('m1')}:2377")
    assert "A valid join token is necessary to join this cluster" in refused
    assert swarm.docker("m3", "info", "-f", "{{.Swarm.LocalNodeState}}").strip() == "inactive"
    swarm.join("m3", "m1")
    until_sync(lambda: swarm.node_states("m1").get("m3", ("",))[0] == "Ready")
    assert swarm.node_states("m1")["m2"][0] == "Ready"
    swarm.docker("m3", "swarm", "leave")
    until_sync(lambda: swarm.node_states("m1")["m3"][0] == "Down")
    swarm.docker("m1", "node", "rm", "m3")


def test_images_that_cannot_be_had(swarm: Lab) -> None:
    """A service whose image does not exist, or whose registry says no, says so in `service ps`, and is tried again."""
    create = ("service", "create", "--detach", "--no-resolve-image", "--restart-delay", "1s")
    other = f"{swarm.image[:-1]}2"
    swarm.docker("m1", *create, "--name", "gone", "--constraint", "node.hostname==m2", f"{swarm.registry}/me/gone:1")
    swarm.docker("m1", *create, "--name", "denied", "--constraint", "node.hostname==m2", other)
    swarm.docker(
        "m1", *create, "--name", "nocommand", "--with-registry-auth", "--constraint", "node.hostname==m2",
        "--restart-condition", "none", swarm.image, "nosuchcommand",
    )  # fmt: skip

    def error(service: str) -> str:
        return until_sync(lambda: " ".join(task["Error"] for task in swarm.tasks("m1", service)).strip(), 20, 0.1)

    try:
        assert "No such image: " in error("gone")
        assert any(word in error("denied") for word in ("No such image", "no basic auth credentials", "denied"))
        assert 'exec: "nosuchcommand": executable file not found in $PATH' in error("nocommand")
        until_sync(lambda: len(swarm.tasks("m1", "gone")) > 1, 60, 0.1)
    finally:
        swarm.docker("m1", "service", "rm", "gone", "denied", "nocommand")


def test_registry_logins_that_fail(swarm: Lab) -> None:
    """A wrong password, or no registry at all, is told as such."""
    assert "401 Unauthorized" in swarm.refusal(
        "m1", "login", "-u", USER, "--password-stdin", swarm.registry, stdin="wrong"
    )
    assert "connection refused" in swarm.refusal(
        "m1", "login", "-u", USER, "--password-stdin", "127.0.0.1:9", stdin="x"
    )


def test_stack_files_that_are_wrong(swarm: Lab) -> None:
    """A wrong key is named with its place, before anything is made."""
    text = "version: '3.8'\nservices:\n  web:\n    image: a\n    deploy:\n      replics: 3\n"
    said = swarm.refusal("m1", "stack", "deploy", "-c", "-", "broken", stdin=text)
    assert "services.web.deploy Additional property replics is not allowed" in said
    assert "broken" not in swarm.docker("m1", "stack", "ls")
