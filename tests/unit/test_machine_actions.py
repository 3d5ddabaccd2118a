"""What is done to machines, with machines that are threads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shoal.machine import actions, certs, table
from shoal.machine.driver import Context, Prepare, register
from shoal.machine.errors import MachineError, NoSuchMachine, PreCreateError
from shoal.machine.host import open_host
from shoal.machine.record import EngineOptions
from shoal.machine.store import Store
from tests.machine_fake import FakeDriver
from tests.machine_suite import DriverSuite, Yard

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard(Store(tmp_path / "store"), "fake", {})
    yield made
    for directory in list(FakeDriver.running):
        if directory.is_relative_to(tmp_path):
            FakeDriver.running.pop(directory).off()


class TestFakeDriver(DriverSuite):
    """The suite holds for the driver that the other tests trust."""


def test_create_says_what_docker_machine_says(yard: Yard) -> None:
    """The lines of create, in order; the authority is made for the first machine only."""
    yard.create("m1")
    certs = yard.store.certs
    first = [f"Creating CA: {certs / 'ca.pem'}", f"Creating client certificate: {certs / 'cert.pem'}"]
    lines = [
        "Running pre-create checks...",
        "Creating machine...",
        "Copying certs to the local machine directory...",
        "Copying certs to the remote machine...",
        "Setting Docker configuration on the remote daemon...",
        "Waiting for machine to be running, this may take a few minutes...",
        "Waiting for SSH to be available...",
        "Checking connection to Docker...",
        "Docker is up and running!",
    ]
    assert yard.said == [*first, *lines]
    yard.said.clear()
    yard.create("m2")
    assert yard.said == lines


@pytest.mark.parametrize(
    ("step", "kind", "message"),
    [("configure", MachineError, "Error setting machine configuration from flags provided: configure fails"),
     ("check", PreCreateError, 'Error with pre-create check: "not here"'),
     ("create", MachineError, "Error creating machine: create fails")],
)  # fmt: skip
def test_a_create_that_fails_leaves_nothing(yard: Yard, step: str, kind: type[MachineError], message: str) -> None:
    """Whichever step fails, neither directory nor lock stays, and the step is named; the check exits with 3."""
    yard.values = {"fake-fail": step}
    with pytest.raises(kind) as caught:
        yard.create()
    assert str(caught.value) == message
    assert caught.value.exit_status == (3 if step == "check" else 1)
    assert yard.store.names() == []
    assert [path.name for path in (yard.store.root / "locks").iterdir() if "machine" in path.name] == []


def test_a_failed_create_that_cannot_be_taken_back_is_listed(yard: Yard) -> None:
    """When not even the removal works both failures are told, and the machine stays listed so that rm can try again."""
    yard.values = {"fake-fail": "create,remove"}
    with pytest.raises(MachineError, match="Error creating machine: create fails"):
        yard.create()
    assert yard.said[-1] == 'Error removing host "m1": remove fails'
    assert yard.store.names() == ["m1"]


def test_a_name_is_used_once(yard: Yard) -> None:
    """A second machine of the same name is refused and does the first one no harm."""
    yard.create()
    with pytest.raises(MachineError, match='Docker machine "m1" already exists'):
        yard.create()
    assert yard.answers()


def test_remove_keeps_what_the_driver_could_not_remove(yard: Yard) -> None:
    """When the driver fails the machine stays; with force its directory goes, and the failure is told all the same."""
    yard.values = {"fake-fail": "remove"}
    yard.create()
    with pytest.raises(MachineError, match='Error removing host "m1": remove fails'):
        actions.remove(yard.store, "m1", yard.said.append)
    assert yard.store.names() == ["m1"]
    with pytest.raises(MachineError, match="remove fails"):
        actions.remove(yard.store, "m1", yard.said.append, force=True)
    assert yard.store.names() == []
    with pytest.raises(NoSuchMachine):
        actions.remove(yard.store, "m1", yard.said.append)


ODD = [
    (PermissionError(13, "Permission denied", "/run/x.lock"), "/run/x.lock: Permission denied"),
    (OSError("timed out"), "timed out"),
    (KeyError("Disk"), "unexpected KeyError: 'Disk' .--debug shows where"),
    (ValueError("odd"), "unexpected ValueError: odd"),
]


@pytest.mark.parametrize(("fault", "words"), ODD)
def test_remove_with_force_survives_whatever_comes(yard: Yard, fault: Exception, words: str) -> None:
    """Whatever a driver fails with is told in a sentence; with force the machine goes all the same."""

    class Odd(FakeDriver):
        def remove(self) -> None:
            raise fault

    register("odd", Odd)
    yard.driver = "odd"
    yard.create()
    with pytest.raises(MachineError, match=f'Error removing host "m1": {words}'):
        actions.remove(yard.store, "m1", yard.said.append)
    assert yard.store.names() == ["m1"]
    with pytest.raises(MachineError, match=f'Error removing host "m1": {words}') as caught:
        actions.remove(yard.store, "m1", yard.said.append, force=True)
    assert caught.value.__cause__ is fault
    assert yard.store.names() == []


def test_abandon_asks_every_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose record is damaged: whatever one driver fails with, the next is asked all the same."""
    asked = list[str]()

    class Broken(FakeDriver):
        @staticmethod
        def abandon(context: Context) -> None:
            asked.append("broken")
            raise PermissionError(13, "Permission denied")

    class Fine(FakeDriver):
        @staticmethod
        def abandon(context: Context) -> None:
            asked.append("fine")

    monkeypatch.setattr(actions, "built_in_drivers", lambda: [Broken, Fine])
    directory = tmp_path / "machines" / "m1"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{")
    with pytest.raises(MachineError, match='Error removing host "m1": Error loading host m1'):
        actions.remove(Store(tmp_path), "m1", lambda line: None, force=True)
    assert asked == ["broken", "fine"]
    assert not directory.exists()


@pytest.mark.parametrize(("fault", "words"), ODD)
def test_whatever_create_fails_with_is_taken_back_and_told(yard: Yard, fault: Exception, words: str) -> None:
    """Also what nobody foresaw, in the making and in taking it back, is a sentence."""

    class Odd(FakeDriver):
        def create(self, prepare: Prepare) -> None:
            raise fault

    class Odder(Odd):
        def remove(self) -> None:
            raise fault

    register("odd", Odd)
    register("odder", Odder)
    yard.driver = "odd"
    with pytest.raises(MachineError, match=f"Error creating machine: {words}"):
        yard.create()
    assert yard.store.names() == []
    yard.driver = "odder"
    with pytest.raises(MachineError, match=f"Error creating machine: {words}"):
        yard.create()
    assert yard.said[-1].startswith('Error removing host "m1": ')
    assert "None" not in yard.said[-1]
    assert yard.store.names() == ["m1"]


def test_a_name_that_no_certificate_can_hold_is_refused_first(yard: Yard) -> None:
    """Nothing is made, at home or in a cloud, for a --tls-san that would fail in the end."""
    request = actions.Request("m1", "fake", EngineOptions(), {}, ("exämple.org", "ä..b"))
    with pytest.raises(MachineError, match=r'no certificate can be valid for "ä\.\.b"'):
        actions.create(yard.store, request, yard.said.append, NOW)
    assert yard.said == []
    assert yard.store.names() == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"SSHPort": "abc"}, "its config.json says SSHPort 'abc', no port"), ({"EnginePort": 70000}, "EnginePort 70000"),
     ({"SSHPort": [1]}, "SSHPort"), ({"SSHPort": "22"}, ""), ({"SSHPort": None}, ""), ({"EnginePort": ""}, "")],
)  # fmt: skip
def test_a_record_that_somebody_edited(yard: Yard, changed: dict[str, object], words: str) -> None:
    """A port that is none is told when the machine is loaded; what drivers have always taken is taken."""
    path = yard.create().directory / "config.json"
    record = json.loads(path.read_bytes())
    record["Driver"].update(changed)
    path.write_text(json.dumps(record))
    if words:
        with pytest.raises(MachineError, match=f"Error loading host m1: .*{words}"):
            open_host(yard.store, "m1")
    else:
        assert open_host(yard.store, "m1").driver.data[next(iter(changed))] == next(iter(changed.values()))


def test_a_record_without_what_its_driver_needs(yard: Yard) -> None:
    """A key that is missing in the record is named, whichever driver misses it."""
    path = yard.create().directory / "config.json"
    record = json.loads(path.read_bytes())
    record["DriverName"], record["Driver"] = "generic", {}
    path.write_text(json.dumps(record))
    host = open_host(yard.store, "m1")
    with pytest.raises(MachineError, match=r"Error loading host m1: its config\.json has no IPAddress"):
        host.driver.ssh()
    assert host.current.driver == {}


def test_ls_shows_what_is_running(yard: Yard) -> None:
    """Rows have state, URL, version and the star; stopped machines have none of the last three."""
    url = yard.create("m2").driver.url()
    yard.create("m10")
    actions.stop(yard.store, "m10", yard.said.append)
    rows = table.rows(yard.store, {"DOCKER_HOST": url}, 5)
    shown = [(row.name, row.mark, row.driver, row.state, row.url, row.version) for row in rows]
    assert shown == [("m2", "*", "fake", "Running", url, "v9.9.9"), ("m10", "-", "fake", "Stopped", "", "Unknown")]


def test_ls_says_when_a_certificate_ends(yard: Yard) -> None:
    """With less than 60 days left the date is in ERRORS, and what renews it where that can be done from here."""
    now = datetime.now(UTC)
    for name, left in (("m1", 59), ("m2", 61)):
        yard.create(name)
        pair = certs.Pair(yard.store.directory(name) / "server.pem", yard.store.directory(name) / "server-key.pem")
        authority = certs.Pair(yard.store.certs / "ca.pem", yard.store.certs / "ca-key.pem")
        certs.issue_server(pair, authority, name, [name], now + timedelta(days=left) - certs.VALIDITY)
        FakeDriver.running[yard.store.directory(name)].show(*pair)
    rows = table.rows(yard.store, {}, 10)
    ends = f"certificate ends {now + timedelta(days=59):%Y-%m-%d}"
    remedy = "`regenerate-certs m1` renews it"
    assert [(row.version, row.error) for row in rows] == [("v9.9.9", f"{ends}: {remedy}"), ("v9.9.9", "")]
    (yard.store.certs / "ca-key.pem").unlink()
    assert [row.error for row in table.rows(yard.store, {}, 10)] == [ends, ""]


def test_ls_waits_for_nobody(yard: Yard) -> None:
    """A machine whose driver does not answer in time is shown as Timeout; the others are shown as they are."""
    yard.create("m1")
    yard.create("slow")
    held = FakeDriver.running[yard.store.directory("slow")].engine
    held.shutdown()
    rows = {row.name: row for row in table.rows(yard.store, {}, 3)}
    assert rows["m1"].version == "v9.9.9"
    assert rows["slow"].state == "Timeout" or "timeout" in rows["slow"].error
