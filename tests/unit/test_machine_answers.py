"""What docker-machine's commands answer: to questions, to a person's y or n, about classic Swarm, and on Windows."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.cli import machine_env
from shoal.machine import provisioning, table
from shoal.machine.driver import State, register
from shoal.machine.errors import MachineError
from shoal.machine.record import Record
from shoal.machine.store import Store
from tests.machine_cli import alone, say
from tests.machine_fake import FakeDriver


class Mute(FakeDriver):
    """Machines that cannot be asked: `hung` answers when the test is over, others fail."""

    over = threading.Event()

    def state(self) -> State:
        if self.context.name == "hung":
            self.over.wait(60)
        raise MachineError("nobody knows")


register("mute", Mute)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of its own, and an environment that says nothing else about machines."""
    with alone(tmp_path, monkeypatch) as store:
        yield store


# --- active, status, ls ------------------------------------------------------------------------------------------------


def test_active_says_who_was_too_slow(
    here: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is active: when a machine did not answer in `-t` seconds it may be that one; the machine that is found counts."""
    here.save("broken", Record(name="broken", driver_name="mute"))
    assert say(capsys, "active", code=1) == "No active host found\n"
    here.save("hung", Record(name="hung", driver_name="mute"))
    monkeypatch.setattr(Mute, "over", threading.Event())
    try:
        assert say(capsys, "active", "-t", "0", code=1) == "Error getting active host: timeout\n"
        url = "tcp://192.0.2.1:2376"
        here.save("good", Record(name="good", driver_name="none", driver={"URL": url, "IPAddress": "192.0.2.1:2376"}))
        monkeypatch.setenv("DOCKER_HOST", url)
        assert say(capsys, "active", "--timeout", "5") == "good\n"
    finally:
        Mute.over.set()


def test_a_status_that_cannot_be_had(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The machine is named, with the reason."""
    here.save("m1", Record(name="m1", driver_name="mute"))
    assert say(capsys, "status", "m1", code=1) == "error getting state for host m1: nobody knows\n"


def test_ls_as_json(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """`--format json` is a line per machine, with everything that a template can name."""
    say(capsys, "create", "-d", "fake", "--engine-label", "a=b", "m1")
    here.save("m2", Record(name="m2", driver_name="mute"))
    rows = [json.loads(line) for line in say(capsys, "ls", "--format", "json").splitlines()]
    assert [set(row) for row in rows] == [set(table.COLUMNS)] * 2
    first, second = rows
    assert [first[key] for key in ("Name", "Active", "ActiveHost", "DriverName", "State", "DockerVersion", "Error")] == [
        "m1", "-", False, "fake", "Running", "v9.9.9", "",
    ]  # fmt: skip
    assert first["EngineOptions"]["Labels"] == ["a=b"]
    assert first["URL"] == say(capsys, "url", "m1").strip()
    assert (second["State"], second["Error"]) == ("Error", "nobody knows")


# --- y or n ------------------------------------------------------------------------------------------------------------

ANSWERS = {
    "y\n": True,
    "Yes\n": True,
    " Y \n": True,
    "y": True,
    "n\n": False,
    "no\n": False,
    "\n": False,
    "ny\n": False,
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_rm_asks(answer: str, here: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins with y removes; anything else leaves the machine as it is, and 1 says that it remained."""
    say(capsys, "create", "-d", "fake", "m1")
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    text = say(capsys, "rm", "m1", code=0 if ANSWERS[answer] else 1)
    assert "Are you sure? (y/n): " in text
    assert ("Successfully removed m1" in text) is ANSWERS[answer]
    assert here.exists("m1") is not ANSWERS[answer]
    assert ANSWERS[answer] or say(capsys, "status", "m1") == "Running\n"


def test_rm_without_an_answer(here: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of input nothing is removed, and how to do without an answer is said."""
    here.save("m1", Record(name="m1", driver_name="fake"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert "use -y" in say(capsys, "rm", "m1", code=1)
    assert here.exists("m1")


@pytest.mark.parametrize(
    ("words", "answer", "code", "done"),
    [*(([], answer, 0, yes) for answer, yes in ANSWERS.items()), ([], "", 1, False), (["-f"], "", 0, True),
     (["--force"], "n\n", 0, True)],
)  # fmt: skip
def test_regenerate_certs_asks(
    words: list[str], answer: str, code: int, done: bool, here: Store, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What begins with y regenerates, anything else does nothing; with -f nobody is asked; the end of input is an error."""
    here.save("m1", Record(name="m1", driver_name="fake"))
    regenerated: list[Any] = []
    monkeypatch.setattr(provisioning, "regenerate", lambda store, name, say, now: regenerated.append(name))
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    text = say(capsys, "regenerate-certs", *words, "m1", code=code)
    assert ("Warning: this is irreversible. (y/n): " in text) is not bool(words)
    assert regenerated == (["m1"] if done else [])
    assert ("Regenerating TLS certificates" in text) is done
    assert text.endswith("EOF\n") is (code == 1)


# --- classic Swarm -----------------------------------------------------------------------------------------------------


def be_master(store: Store, port: int) -> None:
    """m1 was made the master of a classic Swarm, whose manager listens at `port`."""
    path = store.directory("m1") / "config.json"
    config = json.loads(path.read_text())
    config["HostOptions"]["SwarmOptions"].update(
        IsSwarm=True, Master=True, Discovery="token://x", Host=f"tcp://0.0.0.0:{port}"
    )
    path.write_text(json.dumps(config))


def test_classic_swarm(here: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`--swarm` points to the manager's port where it answers, else says that the certificates are not at fault; `active`
    and `ls` know the machine by that port."""
    say(capsys, "create", "-d", "fake", "m1")
    assert 'Error running connection boilerplate: "m1" is not a swarm master' in say(
        capsys, "config", "--swarm", "m1", code=1
    )
    with socket.create_server(("127.0.0.1", 0)) as manager:
        port = manager.getsockname()[1]
        be_master(here, port)
        assert f'export DOCKER_HOST="tcp://127.0.0.1:{port}"' in say(capsys, "env", "--swarm", "--shell", "sh", "m1")
        assert say(capsys, "config", "--swarm", "m1").splitlines()[-1] == f"-H=tcp://127.0.0.1:{port}"
    for command, prefix in (
        ("env", "Error checking TLS connection: "),
        ("config", "Error running connection boilerplate: "),
    ):
        assert say(capsys, command, "--swarm", "m1", code=1) == (
            f"{prefix}Connection to Swarm cannot be checked but the certs are valid. Maybe swarm is not started\n"
        )
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    assert say(capsys, "active") == "m1\n"
    assert say(capsys, "ls", "-f", "{{.Active}} {{.ActiveHost}} {{.ActiveSwarm}}") == "* (swarm) false true\n"


# --- Windows -----------------------------------------------------------------------------------------------------------


def test_env_on_windows(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """There old docker-compose is told to convert paths, after the other variables, and `-u` takes that back too."""
    say(capsys, "create", "-d", "fake", "m1")
    words = ("env", "--shell", "cmd")
    assert "COMPOSE" not in say(capsys, *words, "m1") + say(capsys, *words, "-u")
    monkeypatch.setattr(machine_env, "os", SimpleNamespace(name="nt", environ=os.environ))
    lines = say(capsys, *words, "--no-proxy", "m1").splitlines()
    assert [line.split()[1].partition("=")[0] for line in lines[:6]] == [
        "DOCKER_TLS_VERIFY", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_MACHINE_NAME", "COMPOSE_CONVERT_WINDOWS_PATHS",
        "NO_PROXY",
    ]  # fmt: skip
    assert lines[4] == "SET COMPOSE_CONVERT_WINDOWS_PATHS=true"
    assert say(capsys, *words, "-u").splitlines()[4] == "SET COMPOSE_CONVERT_WINDOWS_PATHS="
