"""Rows, filters and order of `machine ls`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from shoal.machine import driver
from shoal.machine.driver import State, register
from shoal.machine.errors import MachineError
from shoal.machine.host import open_host
from shoal.machine.record import EngineOptions, HostOptions, Record
from shoal.machine.store import Store
from shoal.machine.table import Row, is_active, matches, natural, parse_filters, rows
from tests.machine_fake import FakeDriver

WEB = Row("web1", "local", "Running", record=Record(host_options=HostOptions(engine_options=EngineOptions(labels=["role=Web", "plain"]))))  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "passes"),
    [([], True), (["driver=LOCAL"], True), (["state=running", "state=stopped"], True), (["state=stopped"], False),
     (["name=eb"], True), (["name=^b"], False), (["label=role=web"], True), (["label=role"], True),
     (["label=plain"], True), (["label=role=db"], False), (["driver=local", "state=stopped"], False),
     (["DRIVER=local"], True), (["swarm=x"], False)],
)  # fmt: skip
def test_filters(filters: list[str], passes: bool) -> None:
    """Values of a key are alternatives, keys are all needed; a label may be asked for without its value."""
    assert matches(WEB, parse_filters(filters)) is passes


@pytest.mark.parametrize(
    ("text", "message"),
    [("driver", "Unsupported filter syntax"), ("foo=bar", "Unsupported filter key 'foo'"), ("name=[", "error parsing regexp")],
)  # fmt: skip
def test_bad_filters(text: str, message: str) -> None:
    """What is no filter is refused in docker-machine's words."""
    with pytest.raises(MachineError, match=message):
        parse_filters([text])


def test_the_order_is_natural() -> None:
    """Numbers count by value, letters in any case, and names that differ only by case stay apart."""
    assert sorted(["vm10", "VM2", "vm1", "foo", "Foo", "1"], key=natural) == ["1", "Foo", "foo", "vm1", "VM2", "vm10"]


@pytest.mark.parametrize(
    ("host", "active"),
    [("tcp://10.0.0.1:2376", True), ("tcp://10.0.0.1:2376/", True), ("tcp://10.0.0.11:2376", False), ("", False),
     ("unix:///var/run/docker.sock", False)],
)  # fmt: skip
def test_the_active_machine_is_where_docker_host_points(host: str, active: bool) -> None:
    """DOCKER_HOST makes a machine active, with or without a slash at its end."""
    assert is_active("tcp://10.0.0.1:2376", {"DOCKER_HOST": host}) is active


def test_broken_machines_are_shown(tmp_path: Path) -> None:
    """A machine without a readable record, or whose driver is not here, has a row that says so."""
    store = Store(tmp_path)
    (store.machines / "broken").mkdir(parents=True)
    (store.machines / "broken/config.json").write_text("{")
    store.save("old", replace(Record(), driver_name="nosuch"))
    broken, old = rows(store, {}, 5)
    assert (broken.driver, broken.state, broken.mark) == ("not found", "Error", "")
    assert "Error loading host broken" in broken.error
    assert (old.driver, old.state) == ("nosuch", "Error")
    assert 'Driver "nosuch" not found.' in old.error


class Mistaken(FakeDriver):
    """A driver whose author overlooked something."""

    def state(self) -> State:
        raise KeyError("InstanceId")


def test_a_drivers_mistake_is_a_row(tmp_path: Path) -> None:
    """A driver that fails in a way nobody foresaw has a row that says so, at once, and the others have theirs."""
    register("mistaken", Mistaken)
    store = Store(tmp_path)
    for name in ("a", "b"):
        store.save(name, replace(Record(), driver_name="mistaken" if name == "a" else "nosuch"))
    shown = rows(store, {}, 30)
    assert [(row.name, row.state) for row in shown] == [("a", "Error"), ("b", "Error")]
    assert shown[0].error == "KeyError: 'InstanceId'"
    assert shown[0].seconds < 10


@pytest.mark.parametrize(
    ("source", "fault"),
    [("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
     ("", "AttributeError: module 'lame_driver' has no attribute 'Lame'"), ("1 / 0", "ZeroDivisionError: division by zero")],
)  # fmt: skip
def test_a_driver_that_cannot_be_loaded_is_as_one_that_is_gone(
    source: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver and its fault are named, at once; the machine can be used as far as its record tells."""
    (tmp_path / "lame_driver.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "lame_driver", raising=False)
    monkeypatch.setitem(driver.BUILT_IN, "lame", "lame_driver:Lame")
    words = f'Driver "lame" cannot be loaded: {fault}'
    with pytest.raises(MachineError) as caught:
        driver.driver_class("lame")
    assert words in str(caught.value)
    store = Store(tmp_path / "store")
    store.save("m1", replace(Record(name="m1", driver_name="lame"), driver={}))
    [row] = rows(store, {}, 30)
    assert (row.driver, row.state) == ("lame", "Error")
    assert words in row.error
    store.save("m1", replace(Record(name="m1", driver_name="lame"), driver={"IPAddress": "192.0.2.7"}))
    assert open_host(store, "m1").driver.address() == "192.0.2.7"
    assert "local" in {kind.__module__.split(".")[2] for kind in driver.built_in_drivers()}


class Unborn(FakeDriver):
    """A driver that cannot read what it remembers."""

    def __init__(self, context: driver.Context, data: dict[str, Any]) -> None:
        raise KeyError("InstanceId")


def test_a_drivers_mistake_at_its_beginning_is_a_row(tmp_path: Path) -> None:
    """Such a machine has its row at once: it is not one that does not answer in time."""
    register("unborn", Unborn)
    store = Store(tmp_path)
    store.save("m1", replace(Record(), driver_name="unborn"))
    [row] = rows(store, {}, 30)
    assert (row.driver, row.state, row.error) == ("unborn", "Error", "KeyError: 'InstanceId'")
