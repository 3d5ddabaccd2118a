"""Commands against a daemon that answers from a table: what they print, what they ask, how they end.

The files below `golden/` hold what docker 28's own command line prints for the same answers.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.cli.main import main
from tests.fakedaemon import FakeDaemon, fake_daemon
from tests.samples import CONTAINERS, INFO, NODES, ROUTES, TASKS, WEB

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    with fake_daemon(tmp_path / "s", copy.deepcopy(ROUTES)) as daemon:
        yield daemon


class Result:
    """Exit code and output of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(fake: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def command(*words: str) -> Result:
        code = main(["-H", fake.url, "--config", str(tmp_path / "docker"), *words], program="docker")
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return command


LISTINGS = {
    "node-ls": ["node", "ls"],
    "node-ls-json": ["node", "ls", "--format", "json"],
    "node-ls-table": ["node", "ls", "--format", r"table {{.ID}}\t{{.Self}}\t{{.TLSStatus}}"],
    "node-inspect-pretty": ["node", "inspect", "--pretty", "myvm1", "myvm2"],
    "service-ls": ["service", "ls"],
    "service-ls-json": ["service", "ls", "--format", "json"],
    "service-inspect-pretty": ["service", "inspect", "--pretty", "agent"],
    "service-ps": ["service", "ps", "--format", r"table {{.ID}}\t{{.Name}}\t{{.Node}}\t{{.DesiredState}}\t{{.Error}}\t{{.Ports}}", "getstartedlab_web"],
    "network-ls": ["network", "ls"],
    "network-ls-json": ["network", "ls", "--format", "json"],
    "volume-ls": ["volume", "ls"],
    "images": ["images", "--digests", "--format", r"table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.Size}}"],
    "ps": ["ps", "--format", r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Label `b`}}"],
    "join-token": ["swarm", "join-token", "worker"],
    "help-node": ["node", "--help"],
    "help-node-ls": ["node", "ls", "--help"],
    "help-service-scale": ["service", "scale", "--help"],
    "help-swarm-join": ["swarm", "join", "--help"],
}  # fmt: skip


@pytest.mark.parametrize("name", LISTINGS)
def test_cli_prints_what_docker_prints(run: Any, name: str) -> None:
    """Listings, templates and help are docker's, to the blank."""
    result = run(*LISTINGS[name])
    assert result.code == 0
    assert result.out == (GOLDEN / f"{name}.txt").read_text()


FAILURES = [
    (["node", "lsx"], 1, "docker: unknown command: docker node lsx\n\nUsage:  docker node\n\n"
     "Run 'docker node --help' for more information\n"),
    (["foo"], 1, "docker: unknown command: docker foo\n\nRun 'docker --help' for more information\n"),
    (["node", "ls", "--foo"], 125, "unknown flag: --foo\n\nUsage:  docker node ls [OPTIONS]\n\n"
     "Run 'docker node ls --help' for more information\n"),
    (["run"], 1, "docker: 'docker run' requires at least 1 argument\n\n"
     "Usage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nSee 'docker run --help' for more information\n"),
    (["node", "ls", "x"], 1, "docker: 'docker node ls' accepts no arguments\n\nUsage:  docker node ls [OPTIONS]\n\n"
     "Run 'docker node ls --help' for more information\n"),
    (["rename", "a"], 1, "docker: 'docker rename' requires 2 arguments\n\n"
     "Usage:  docker rename CONTAINER NEW_NAME\n\nRun 'docker rename --help' for more information\n"),
    (["run", "-p", "abc:def:x", "x"], 125, "docker: invalid IP address: abc\n\n"
     "Run 'docker run --help' for more information\n"),
    (["node", "ls", "--format", "{{foo}}"], 1, 'template parsing error: template: :1: function "foo" not defined\n'),
    (["service", "ps", "foo"], 1, "no such service: foo\n"),
    (["service", "inspect", "foo"], 1, "Error: no such service: foo\n"),
    (["inspect", "nope"], 1, "Error: No such object: nope\n"),
    (["service", "create", "--mode", "global", "--replicas", "2", "x"], 1,
     "replicas can only be used with replicated or replicated-job mode\n"),
    (["service", "scale", "-d", "agent=3"], 1,
     "agent: scale can only be used with replicated or replicated-job mode\n"),
    (["stack", "deploy", "x"], 1, "Specify a Compose file (with --compose-file)\n"),
    (["swarm", "join-token", "foo"], 1, "unknown role foo\n"),
    (["node", "update", "--label-rm", "nope", "myvm1"], 1, "key nope doesn't exist in node's labels\n"),
    (["volume", "inspect", "nope"], 1, "Error response from daemon: page not found\n"),
    (["stop", "nope"], 1, "Error response from daemon: page not found\n"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code", "message"), FAILURES)
def test_cli_failures(run: Any, fake: FakeDaemon, words: list[str], code: int, message: str) -> None:
    """Wrong use and refusals have docker's words and exit codes."""
    fake.routes["POST /containers/nope/stop"] = (404, {"message": "page not found"})
    result = run(*words)
    assert (result.code, result.err) == (code, message)


def test_cli_daemon_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a daemon a listing ends with 1, `run` with 125."""
    url = f"unix://{tmp_path}/none"
    sentence = f"Cannot connect to the Docker daemon at {url}. Is the docker daemon running?"
    assert main(["-H", url, "node", "ls"], program="docker") == 1
    assert capsys.readouterr().err == f"{sentence}\n"
    assert main(["-H", url, "run", "x"], program="docker") == 125
    assert capsys.readouterr().err == f"docker: {sentence}\n\nRun 'docker run --help' for more information\n"


def test_cli_several_things_go_on_after_a_failure(run: Any, fake: FakeDaemon) -> None:
    """Of several containers the good ones are done and named, the bad ones reported, and the code is 1."""
    result = run("rm", "nope", "coolName")
    assert (result.code, result.out) == (1, "coolName\n")
    assert result.err == "Error response from daemon: page not found\n"


def test_cli_service_create_asks(run: Any, fake: FakeDaemon) -> None:
    """Options become the spec; the image is pinned to what the registry has, credentials go along when asked."""
    fake.routes["GET /distribution/redis:7/json"] = {
        "Descriptor": {"digest": "sha256:" + "a" * 64},
        "Platforms": [{"architecture": "amd64", "os": "linux"}],
    }
    result = run("service", "create", "-d", "--name", "r", "--replicas", "3", "-p", "80:80", "--with-registry-auth",
                 "--network", "getstartedlab_webnet", "--env", "A=1", "redis:7", "cmd", "-x")  # fmt: skip
    assert (result.code, result.out, result.err) == (0, WEB["ID"] + "\n", "")
    [request] = fake.asked()
    assert request.headers["x-registry-auth"] == base64.urlsafe_b64encode(b"{}").decode()
    spec = request.body
    assert spec["Mode"] == {"Replicated": {"Replicas": 3}}
    assert spec["TaskTemplate"]["ContainerSpec"]["Image"] == "redis:7@sha256:" + "a" * 64
    assert spec["TaskTemplate"]["ContainerSpec"]["Args"] == ["cmd", "-x"]
    assert spec["TaskTemplate"]["Placement"]["Platforms"] == [{"Architecture": "amd64", "OS": "linux"}]
    assert spec["TaskTemplate"]["Networks"] == [{"Target": "o5jvowif16djo4ptkqv9mfbd2"}]
    assert spec["EndpointSpec"]["Ports"] == [
        {"Protocol": "tcp", "TargetPort": 80, "PublishMode": "ingress", "PublishedPort": 80}
    ]


def test_cli_service_create_without_registry(run: Any) -> None:
    """A registry that does not answer is a warning, not a failure."""
    result = run("service", "create", "-d", "redis")
    assert result.code == 0
    assert result.err.startswith("image redis:latest could not be accessed on a registry to record\n")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("inspect", "container"),
        ("network inspect", "network"),
        ("network rm", "network"),
        ("volume inspect", "volume"),
        ("node ps", "node"),
        ("service inspect", "service"),
        ("service create --network=", "network"),
        ("stop", "container"),
        ("wait", "container"),
    ],
)
def test_an_empty_name_is_nobodys(run: Any, fake: FakeDaemon, line: str, kind: str) -> None:
    """Where a script's variable is empty, nothing is asked for by that name: it could be the list of all."""
    result = run(*line.split(), "" if "=" not in line else "image")
    assert result.code == 1
    assert result.err == f"invalid {kind} name or ID: value is empty\n"
    assert not fake.asked()


def test_names_that_cannot_be_empty(run: Any) -> None:
    """In docker's words, and nothing of ours."""
    assert (result := run("rm", "/")).code == 1 and result.err == "container name cannot be empty\n"
    assert (result := run("run", "--network", "", "image")).code == 125 and "no name set for network" in result.err
    assert (result := run("run", "--network", "alias=x", "image")).code == 125 and "no name set" in result.err
    for command in (["stack", "ps"], ["stack", "services"], ["stack", "rm"]):
        assert (result := run(*command, "")).code == 1 and result.err == 'invalid stack name: ""\n'


def test_a_quote_that_does_not_end(run: Any) -> None:
    """In an option of fields, as Go's reader of CSV says it."""
    result = run("service", "create", "--mount", '"', "image")
    assert result.code == 125
    assert result.err.startswith(
        'invalid argument "\\"" for "--mount" flag: parse error on line 1: extraneous or missing "'
    )


def test_cli_service_update_changes_only_what_it_must(run: Any, fake: FakeDaemon) -> None:
    """An update sends the spec it read with the version it read, changed in one place."""
    assert run("service", "update", "-d", "--env-add", "C=3", "--env-rm", "A", "getstartedlab_web").code == 0
    [request] = fake.asked()
    expected = copy.deepcopy(WEB["Spec"])
    expected["TaskTemplate"]["ContainerSpec"]["Env"] = ["B=two words", "C=3"]
    assert request.query == {"version": "21", "registryAuthFrom": "spec"}
    assert request.body == expected


def test_cli_service_rollback(run: Any, fake: FakeDaemon) -> None:
    """A rollback asks for the previous spec."""
    assert run("service", "rollback", "-d", "getstartedlab_web").out == "getstartedlab_web\n"
    assert fake.asked()[0].query == {"version": "21", "rollback": "previous"}


def test_cli_run_detached(run: Any, fake: FakeDaemon) -> None:
    """`run -d` creates, starts and prints the id."""
    result = run("run", "-d", "--name", "n", "-p", "80:80", "-e", "A=1", "img", "cmd")
    assert (result.code, result.out) == (0, CONTAINERS[0]["Id"] + "\n")
    create, start = fake.asked()
    assert create.query == {"name": "n"}
    assert create.body["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "80"}]}
    assert (create.body["Image"], create.body["Cmd"], create.body["Env"]) == ("img", ["cmd"], ["A=1"])
    assert start.path.endswith("/start")


def test_cli_run_pulls_what_is_missing(run: Any, fake: FakeDaemon) -> None:
    """An image that is not there is pulled, with the progress on standard error."""
    answers = iter([(404, {"message": "No such image: img:latest"}), (201, {"Id": "abc"})])
    fake.routes["POST /containers/create"] = lambda request: next(answers)
    fake.routes["POST /images/create"] = b'{"status":"Pulling from library/img","id":"latest"}\n{"status":"Status: ok"}'
    result = run("run", "-d", "img")
    assert (result.code, result.out) == (0, "abc\n")
    assert result.err == ("Unable to find image 'img:latest' locally\nlatest: Pulling from library/img\nStatus: ok\n")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "nosuch": executable file not found in $PATH', 127),
        ('exec: "/etc": permission denied', 126),
        ("port is already allocated", 125),
    ],
)
def test_cli_run_exit_codes(run: Any, fake: FakeDaemon, message: str, code: int) -> None:
    """A container that cannot start ends `run` as a shell would end."""
    fake.routes["POST /containers/[^/]*/start"] = (400, {"message": message})
    result = run("run", "-d", "img", "nosuch")
    assert result.code == code
    assert result.err.startswith(f"docker: Error response from daemon: {message}\n")


def test_cli_pull_failure(run: Any, fake: FakeDaemon) -> None:
    """A failure in the middle of the progress is a failure of the command."""
    fake.routes["POST /images/create"] = b'{"status":"x"}\n{"errorDetail":{"message":"denied"},"error":"denied"}'
    result = run("pull", "img:1")
    assert (result.code, result.err) == (1, "denied\n")


def test_cli_logs_go_to_their_streams(run: Any, fake: FakeDaemon) -> None:
    """What the container wrote on standard error comes out on standard error."""
    fake.routes["GET /containers/c/logs"] = b"\1\0\0\0\0\0\0\4out\n\2\0\0\0\0\0\0\4err\n"
    result = run("logs", "--tail", "5", "c")
    assert (result.code, result.out, result.err) == (0, "out\n", "err\n")
    assert fake.requests[-1].query == {"stdout": "1", "stderr": "1", "tail": "5"}


def test_cli_service_logs_name_the_task(run: Any, fake: FakeDaemon) -> None:
    """Before each line stands who wrote it: task, its id, the node."""
    task, node = TASKS[0]["ID"], NODES[0]["ID"]
    line = f"com.docker.swarm.node.id={node},com.docker.swarm.service.id=x,com.docker.swarm.task.id={task} hello\n"
    fake.routes["GET /services/[^/]*/logs"] = b"\1\0\0\0" + len(line).to_bytes(4, "big") + line.encode()
    fake.routes[f"GET /tasks/{task}"] = TASKS[0]
    result = run("service", "logs", "getstartedlab_web")
    assert result.out == f"getstartedlab_web.1.{task[:12]}@myvm1    | hello\n"


def test_cli_login_keeps_credentials_private(run: Any, fake: FakeDaemon, tmp_path: Path) -> None:
    """Credentials that the registry took are in config.json in docker's shape, readable by the user alone."""
    fake.routes["POST /auth"] = {"Status": "Login Succeeded"}
    assert run("login", "-u", "me", "-p", "secret:x", "registry.example.com:5000").code == 0
    path = tmp_path / "docker" / "config.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    stored = json.loads(path.read_text())["auths"]["registry.example.com:5000"]["auth"]
    assert base64.b64decode(stored).decode() == "me:secret:x"
    run("push", "registry.example.com:5000/img:1")
    sent = json.loads(base64.urlsafe_b64decode(fake.asked()[-1].headers["x-registry-auth"]))
    assert sent == {"serveraddress": "registry.example.com:5000", "username": "me", "password": "secret:x"}
    run("logout", "registry.example.com:5000")
    assert json.loads(path.read_text())["auths"] == {}


def test_cli_login_refused(run: Any, fake: FakeDaemon, tmp_path: Path) -> None:
    """Credentials that the registry refuses are not kept."""
    fake.routes["POST /auth"] = (401, {"message": "unauthorized: incorrect username or password"})
    result = run("login", "-u", "me", "-p", "x", "r.example.com")
    assert result.code == 1
    assert "Error response from daemon: unauthorized" in result.err
    assert not (tmp_path / "docker" / "config.json").exists()


def test_cli_import_and_save(run: Any, fake: FakeDaemon, tmp_path: Path) -> None:
    """Files go in whole and come out whole."""
    fake.routes["POST /images/create"] = lambda request: {"status": f"sha256:{len(request.raw)}"}
    fake.routes["GET /images/[^/]*/get"] = b"tar" * 1000
    (tmp_path / "in.tar").write_bytes(b"x" * 300_000)
    assert run("import", str(tmp_path / "in.tar"), "bb:1").out == "sha256:300000\n"
    assert fake.asked()[0].query["repo"] == "bb"
    assert run("save", "-o", str(tmp_path / "out.tar"), "bb:1").code == 0
    assert (tmp_path / "out.tar").read_bytes() == b"tar" * 1000
    assert "out.tar.part" not in os.listdir(tmp_path)


def test_cli_events(run: Any, fake: FakeDaemon) -> None:
    """An event is a line with its time, type, action, id and attributes."""
    event = {"Type": "container", "Action": "start", "Actor": {"ID": "abc", "Attributes": {"name": "w", "image": "i"}},
             "time": 1767323045, "timeNano": 1767323045000000006}  # fmt: skip
    fake.routes["GET /events"] = json.dumps(event).encode()
    line = run("events", "--format", "{{.Type}} {{.Actor.ID}}").out
    assert line == "container abc\n"
    assert run("events").out.endswith(" container start abc (image=i, name=w)\n")


def test_cli_swarm_init(run: Any, fake: FakeDaemon) -> None:
    """`swarm init` tells the node's id and how others join."""
    result = run("swarm", "init", "--advertise-addr", "192.168.99.101")
    assert result.out == (GOLDEN / "swarm-init.txt").read_text()
    assert fake.asked()[0].body["AdvertiseAddr"] == "192.168.99.101"
    assert fake.asked()[0].body["ListenAddr"] == "0.0.0.0:2377"


def test_cli_swarm_join(run: Any, fake: FakeDaemon) -> None:
    """`swarm join` says what the node has become."""
    assert run("swarm", "join", "--token", "t", "1.2.3.4:2377").out == "This node joined a swarm as a manager.\n"
    fake.routes["GET /info"] = {**INFO, "Swarm": {**INFO["Swarm"], "ControlAvailable": False}}
    assert run("swarm", "join", "--token", "t", "1.2.3.4:2377").out == "This node joined a swarm as a worker.\n"


def test_cli_as_shoal_names_itself(fake: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Called as shoal, usage and join commands say shoal."""
    assert main(["-H", fake.url, "swarm", "join-token", "worker"], program="shoal") == 0
    assert "    shoal swarm join --token " in capsys.readouterr().out


def test_cli_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of the tree is declared, and its help is complete."""
    from shoal.cli import tree

    for path in tree.COMMANDS:
        assert main([*path.split(), "--help"], program="shoal") == 0
        assert capsys.readouterr().out.startswith(f"Usage:  shoal {path}")
    assert sys.modules["shoal.cli.command"].DECLARED.keys() == tree.COMMANDS.keys()
