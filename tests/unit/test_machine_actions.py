"""What is done to machines, with machines that are threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.machine import actions, table
from shoal.machine.driver import register
from shoal.machine.errors import MachineError, NoSuchMachine, PreCreateError
from shoal.machine.store import Store
from tests.machine_fake import FakeDriver
from tests.machine_suite import DriverSuite, Yard

register("fake", FakeDriver)


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


def test_ls_shows_what_is_running(yard: Yard) -> None:
    """Rows have state, URL, version and the star; stopped machines have none of the last three."""
    url = yard.create("m2").driver.url()
    yard.create("m10")
    actions.stop(yard.store, "m10", yard.said.append)
    rows = table.rows(yard.store, {"DOCKER_HOST": url}, 5)
    shown = [(row.name, row.mark, row.driver, row.state, row.url, row.version) for row in rows]
    assert shown == [("m2", "*", "fake", "Running", url, "v9.9.9"), ("m10", "-", "fake", "Stopped", "", "Unknown")]


def test_ls_waits_for_nobody(yard: Yard) -> None:
    """A machine whose driver does not answer in time is shown as Timeout; the others are shown as they are."""
    yard.create("m1")
    yard.create("slow")
    held = FakeDriver.running[yard.store.directory("slow")].engine
    held.shutdown()
    rows = {row.name: row for row in table.rows(yard.store, {}, 0.5)}
    assert rows["m1"].version == "v9.9.9"
    assert rows["slow"].state == "Timeout" or "timeout" in rows["slow"].error
