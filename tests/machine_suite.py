"""What every machine driver promises, whatever its machines are made of: one suite for all of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shoal.machine import actions, probe, provisioning, ssh, transfer
from shoal.machine.driver import Context, State, driver_class
from shoal.machine.errors import MachineError, NotRunning
from shoal.machine.host import Host, open_host
from shoal.machine.record import EngineOptions
from shoal.machine.store import Store


@dataclass
class Yard:
    """A store, a driver with its options, and what was said."""

    store: Store
    driver: str
    values: Mapping[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def create(self, name: str = "m1") -> Host:
        """Make a machine."""
        request = actions.Request(name, self.driver, EngineOptions(labels=["a=b"]), self.values)
        return actions.create(self.store, request, self.said.append, datetime.now(UTC))

    def start(self, name: str = "m1", **options: bool) -> bool:
        """Start it."""
        return actions.start(self.store, name, self.said.append, datetime.now(UTC), **options)

    def state(self, name: str = "m1") -> State:
        """What it is doing."""
        return open_host(self.store, name).driver.state()

    def answers(self, name: str = "m1") -> bool:
        """Whether its engine takes our certificate and answers."""
        host = open_host(self.store, name)
        return probe.version(host.driver.url(), name, host.directory) != ""

    def remove_all(self) -> None:
        """Take every machine away."""
        for name in self.store.names():
            actions.remove(self.store, name, self.said.append)


class DriverSuite:
    """Derive, and define the fixture `yard`."""

    def test_created_means_usable(self, yard: Yard) -> None:
        """After create the machine runs, its engine answers with TLS, and the record holds all that is needed."""
        yard.create()
        assert yard.state() is State.RUNNING
        assert yard.answers()
        host = open_host(yard.store, "m1")
        assert host.driver.url().startswith(f"tcp://{host.driver.address()}:")
        assert json.loads((host.directory / "config.json").read_bytes())["Driver"] == host.driver.data
        ssh.wait_for_banner(host.driver.ssh(), 5)

    def test_machines_are_apart(self, yard: Yard) -> None:
        """Two machines have an engine each; what happens to one does not touch the other."""
        yard.create("m1")
        yard.create("m2")
        urls = {open_host(yard.store, name).driver.url() for name in ("m1", "m2")}
        assert len(urls) == 2
        actions.kill(yard.store, "m1", yard.said.append)
        assert (yard.state("m1"), yard.state("m2")) == (State.STOPPED, State.RUNNING)
        assert yard.answers("m2")

    def test_stop_and_start(self, yard: Yard) -> None:
        """A stopped machine has no address to offer and can be started again; asking twice is no failure."""
        yard.create()
        assert actions.stop(yard.store, "m1", yard.said.append)
        assert yard.state() is State.STOPPED
        for ask in ("address", "url"):
            with pytest.raises(NotRunning):
                getattr(open_host(yard.store, "m1").driver, ask)()
        assert not actions.stop(yard.store, "m1", yard.said.append)
        assert yard.start()
        assert not yard.start()
        assert yard.state() is State.RUNNING
        assert yard.answers()

    def test_restart_from_any_state(self, yard: Yard) -> None:
        """Restart ends in Running, from Running and from Stopped."""
        yard.create()
        actions.restart(yard.store, "m1", yard.said.append, datetime.now(UTC))
        assert yard.answers()
        actions.kill(yard.store, "m1", yard.said.append)
        actions.restart(yard.store, "m1", yard.said.append, datetime.now(UTC))
        assert yard.answers()

    def test_a_new_address_or_a_clear_no(self, yard: Yard) -> None:
        """`new_address` makes the next start use another one with certificates that fit, or is refused."""
        yard.create()
        before = open_host(yard.store, "m1").driver.address()
        actions.stop(yard.store, "m1", yard.said.append)
        try:
            yard.start(new_address=True)
        except MachineError:
            return
        assert open_host(yard.store, "m1").driver.address() != before
        assert yard.answers()

    def test_removed_means_gone(self, yard: Yard) -> None:
        """A running machine can be removed; removing what is gone already is no failure of the driver."""
        yard.create()
        driver = open_host(yard.store, "m1").driver
        actions.remove(yard.store, "m1", yard.said.append)
        assert yard.store.names() == []
        driver.remove()
        assert driver.state() in (State.STOPPED, State.NONE)

    def test_flags_are_named_after_the_driver(self, yard: Yard) -> None:
        """Every flag begins with the driver's name, so that drivers cannot collide."""
        assert all(flag.name.startswith(f"{yard.driver}-") for flag in driver_class(yard.driver).flags())

    def test_abandoning_what_never_was_is_fine(self, yard: Yard, tmp_path: Path) -> None:
        """`abandon` is asked about any machine, also one that was never this driver's."""
        driver_class(yard.driver).abandon(Context("nosuch", tmp_path / "nosuch", tmp_path, yard.said.append))


class LifeSuite:
    """The same promises for drivers whose machines take long to boot, in one machine's life. Define `yard`, as above.

    That machines are apart is seen in the tutorial, which has two.
    """

    def test_one_machine_s_life(self, yard: Yard) -> None:
        """Created means usable; stop, moving, start, upgrade, kill and removal do what they say, twice too."""
        yard.create()
        self._usable(yard)
        driver = open_host(yard.store, "m1").driver
        assert json.loads((yard.store.directory("m1") / "config.json").read_bytes())["Driver"] == driver.data
        before = driver.address()
        assert not ssh.run(driver.ssh(), "printf marked >/root/mark").status
        assert actions.stop(yard.store, "m1", yard.said.append)
        assert yard.state() is State.STOPPED
        for ask in (driver.address, driver.url):
            with pytest.raises(NotRunning):
                ask()
        assert not actions.stop(yard.store, "m1", yard.said.append)
        self._move(yard)
        moved = self._start_elsewhere(yard)
        self._usable(yard)
        assert not moved or open_host(yard.store, "m1").driver.address() != before
        assert not yard.start()
        provisioning.upgrade(yard.store, "m1", yard.said.append, datetime.now(UTC))
        self._usable(yard)
        assert not any("cutting" in line or "turning" in line for line in yard.said), (
            "it was not shut down in good order"
        )
        assert ssh.run(open_host(yard.store, "m1").driver.ssh(), "cat /root/mark").text == "marked"
        assert actions.kill(yard.store, "m1", yard.said.append)
        assert yard.state() is State.STOPPED
        driver = open_host(yard.store, "m1").driver
        actions.remove(yard.store, "m1", yard.said.append)
        assert yard.store.names() == []
        driver.remove()
        assert driver.state() in (State.STOPPED, State.NONE)

    def _usable(self, yard: Yard) -> None:
        assert yard.state() is State.RUNNING
        assert yard.answers()
        driver = open_host(yard.store, "m1").driver
        assert driver.url().startswith(f"tcp://{driver.address()}:")
        said = ssh.run(driver.ssh(), "hostname; docker version --format '{{.Server.Version}}'")
        assert said.text.split()[:1] == ["m1"] and said.status == 0, said

    def _move(self, yard: Yard) -> None:
        """Export it, forget it here, and bring it back: with all that was on its disk."""
        with tempfile.TemporaryFile() as file:
            transfer.export_whole(yard.store, "m1", file, yard.said.append, datetime.now(UTC))
            actions.remove(yard.store, "m1", yard.said.append)
            assert yard.store.names() == []
            file.seek(0)
            assert transfer.import_machine(yard.store, file, "", yard.said.append) == "m1"
        assert yard.state() is State.STOPPED

    def _start_elsewhere(self, yard: Yard) -> bool:
        """Start it at another address where the driver chooses addresses; False where the network's DHCP server does."""
        try:
            yard.start(new_address=True)
        except MachineError:
            assert yard.start()
            return False
        return True

    def test_flags_are_named_after_the_driver(self, yard: Yard) -> None:
        """Every flag begins with the driver's name, so that drivers cannot collide."""
        assert all(flag.name.startswith(f"{yard.driver}-") for flag in driver_class(yard.driver).flags())

    def test_abandoning_what_never_was_is_fine(self, yard: Yard, tmp_path: Path) -> None:
        """`abandon` is asked about any machine, also one that was never this driver's."""
        driver_class(yard.driver).abandon(Context("nosuch", tmp_path / "nosuch", tmp_path, yard.said.append))
