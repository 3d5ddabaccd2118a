"""Stacks against a daemon: deploying, waiting, removing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.api.client import Address, Client
from shoal.cli.main import main
from shoal.stack.run import Removal
from tests.fakedaemon import FakeDaemon, Request, fake_daemon
from tests.samples import INFO, NETWORKS, NODES, ROUTES, WEB

FILE = """
services:
  web: {image: "username/repo:tag", networks: [webnet]}
  db: {image: "redis:1"}
networks: {webnet: }
"""


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    routes = {**copy.deepcopy(ROUTES), "GET /services": [], "GET /networks": [], "DELETE /.*": None, "GET /tasks": []}
    (tmp_path / "f.yml").write_text(FILE)
    with fake_daemon(tmp_path / "s", routes) as daemon:
        yield daemon


@pytest.fixture
def run(fake: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def command(*words: str) -> tuple[int, str, str]:
        arguments = [str(tmp_path / word) if word.endswith(".yml") else word for word in words]
        code = main(["-H", fake.url, "--config", str(tmp_path), *arguments], program="docker")
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def test_stack_deploy_order(run: Any, fake: FakeDaemon) -> None:
    """Networks first, then services by name; each step is said before it is done."""
    code, out, _ = run("stack", "deploy", "-d", "-c", "f.yml", "lab")
    assert code == 0
    assert out.splitlines() == [
        "Creating network lab_default",
        "Creating network lab_webnet",
        "Creating service lab_db",
        "Creating service lab_web",
    ]
    assert [request.path for request in fake.asked()] == ["/networks/create"] * 2 + ["/services/create"] * 2


def test_stack_deploy_waits_unless_detached(run: Any, fake: FakeDaemon, tmp_path: Path) -> None:
    """Without -d the command ends when the services have converged."""
    quick = copy.deepcopy(WEB)
    quick["Spec"]["Mode"] = {"Replicated": {"Replicas": 0}}
    quick["Spec"]["UpdateConfig"]["Monitor"] = 1
    quick["UpdateStatus"] = None
    fake.routes["GET /services/.*"] = quick
    code, out, _ = run("stack", "deploy", "-c", "f.yml", "lab")
    assert code == 0
    assert out.splitlines()[-2:] == ["overall progress: 0 out of 0 tasks", "verify: Service lab_web converged"]


def test_stack_deploy_needs_a_manager(run: Any, fake: FakeDaemon) -> None:
    """A daemon that is no manager is refused before anything is done."""
    fake.routes["GET /info"] = {**INFO, "Swarm": {"LocalNodeState": "inactive"}}
    code, _, err = run("stack", "deploy", "-d", "-c", "f.yml", "lab")
    assert code == 1
    assert err == (
        'this node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
        "and try again\n"
    )
    assert fake.asked() == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, {"message": "network out not found"}),
         'network "out" is declared as external, but could not be found. You need to create a swarm-scoped network '
         "before the stack is deployed\n"),
        ({"Id": "x", "Scope": "local"},
         'network "out" is declared as external, but it is not in the right scope: "local" instead of "swarm"\n'),
    ],
)  # fmt: skip
def test_stack_deploy_external_network(run: Any, fake: FakeDaemon, tmp_path: Path, answer: Any, message: str) -> None:
    """An external network must be there, for the whole swarm."""
    (tmp_path / "f.yml").write_text("services: {w: {image: a, networks: [out]}}\nnetworks: {out: {external: true}}")
    fake.routes["GET /networks/out"] = answer
    code, _, err = run("stack", "deploy", "-d", "-c", "f.yml", "lab")
    assert (code, err) == (1, message)


def test_stack_deploy_failure_names_the_step(run: Any, fake: FakeDaemon) -> None:
    """What the daemon refuses is said with the step that it refused."""
    fake.routes["POST /services/create"] = (500, {"message": "boom"})
    code, _, err = run("stack", "deploy", "-d", "--resolve-image", "never", "-c", "f.yml", "lab")
    assert (code, err) == (1, "failed to create service lab_db: Error response from daemon: boom\n")


def test_stack_deploy_sends_credentials(run: Any, fake: FakeDaemon) -> None:
    """With --with-registry-auth every service carries its registry's credentials; without, none does."""
    run("stack", "deploy", "-d", "--with-registry-auth", "-c", "f.yml", "lab")
    run("stack", "deploy", "-d", "-c", "f.yml", "lab")
    headers = ["x-registry-auth" in request.headers for request in fake.asked() if "services" in request.path]
    assert headers == [True, True, False, False]


def test_stack_removal_waits_for_tasks_then_networks(fake: FakeDaemon) -> None:
    """Services go first; networks when the last task has stopped, tried again while they are in use."""
    answers = iter([[{"Status": {"State": "running"}}], [{"Status": {"State": "shutdown"}}]])
    busy = iter([(400, {"message": "network x is in use by task y"}), (204, None)])
    fake.routes |= {
        "GET /services": [WEB],
        "GET /networks": [NETWORKS[0]],
        "GET /tasks": lambda request: next(answers),
        "DELETE /networks/.*": lambda request: next(busy),
    }
    said: list[str] = []
    slept: list[float] = []
    removal = Removal(Client(Address(fake.url)), "lab", said.append, wait=True, sleep=slept.append)
    assert removal.run()
    assert removal.faults == []
    assert said == ["Removing service getstartedlab_web", "Removing network getstartedlab_webnet"]
    assert len(slept) == 2
    assert [request.path for request in fake.asked("DELETE")] == [
        f"/services/{WEB['ID']}", f"/networks/{NETWORKS[0]['Id']}", f"/networks/{NETWORKS[0]['Id']}",
    ]  # fmt: skip


def test_stack_removal_of_nothing(run: Any) -> None:
    """A stack that is not there is no failure."""
    assert run("stack", "rm", "lab") == (0, "", "Nothing found in stack: lab\n")


def test_stack_removal_partly_failed(run: Any, fake: FakeDaemon) -> None:
    """What could not be removed is said, and the command fails."""
    fake.routes |= {"GET /services": [WEB], "DELETE /services/.*": (500, {"message": "boom"})}
    code, _, err = run("stack", "rm", "lab")
    assert code == 1
    assert err.endswith("Failed to remove some resources from stack: lab\n")


def test_stack_ls_counts(run: Any, fake: FakeDaemon) -> None:
    """`stack ls` counts services by their label."""
    fake.routes["GET /services"] = [WEB, WEB]
    assert run("stack", "ls")[1] == "NAME            SERVICES\ngetstartedlab   2\n"


def test_stack_wait_shows_progress_and_pause(run: Any, fake: FakeDaemon) -> None:
    """An update that is paused ends the wait with the reason and a failure."""
    states = iter(["updating", "paused"])

    def service(request: Request) -> object:
        if request.method == "GET" and fake.asked():
            return {**WEB, "UpdateStatus": {"State": next(states), "Message": "because"}}
        return WEB

    fake.routes["GET /services/[^/]*"] = service
    fake.routes["GET /nodes"] = NODES
    code, out, err = run("service", "update", "--force", "getstartedlab_web")
    assert (code, err) == (1, "service update paused: because\n")
    assert out.splitlines() == ["getstartedlab_web", "overall progress: 0 out of 5 tasks"]
