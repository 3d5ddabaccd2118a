"""A machine that was loaded: its record and its driver together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from shoal.machine.driver import Context, Driver, driver_class
from shoal.machine.errors import MachineError
from shoal.machine.record import Record
from shoal.machine.store import Store

_PORTS = ("SSHPort", "EnginePort")

Say = Callable[[str], None]
"""Takes one line of progress."""


def silent(_: str) -> None:
    """A `Say` that nobody hears."""


class Host(NamedTuple):
    """One machine: what the store knows, and the driver that knows the rest."""

    store: Store
    record: Record
    driver: Driver

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.record.name

    @property
    def directory(self) -> Path:
        """Its directory: DOCKER_CERT_PATH."""
        return self.store.directory(self.record.name)

    @property
    def current(self) -> Record:
        """Its record with what the driver remembers by now."""
        return replace(self.record, driver=dict(self.driver.data))

    def save(self) -> None:
        """Write its record with what the driver has to remember."""
        self.store.save(self.name, self.current)


class _Data(dict[str, Any]):
    """What a driver remembers. A key that config.json has not is an error for the user, who may have edited it."""

    def __init__(self, name: str, data: Mapping[str, Any]) -> None:
        super().__init__(data)
        self._name = name

    def __missing__(self, key: str) -> Any:
        raise MachineError(f"Error loading host {self._name}: its config.json has no {key}")

    def check(self) -> None:
        """Whether the ports are some. Raises MachineError."""
        for key in _PORTS:
            value = self.get(key)
            try:
                good = 0 <= int(value or 0) < 65536
            except (ValueError, TypeError):
                good = False
            if not good:
                raise MachineError(f"Error loading host {self._name}: its config.json says {key} {value!r}, no port")


def open_host(store: Store, name: str, say: Say = silent) -> Host:
    """Load machine `name`. Raises NoSuchMachine, or MachineError when its record cannot be read.

    Without its driver it can still be looked at and used as far as its record tells: `stranded`.
    """
    return attach(store, store.load(name), say)


def attach(store: Store, record: Record, say: Say = silent) -> Host:
    """The host of `record`; what its driver says comes with the machine's name before it."""

    def named(line: str) -> None:
        say(f"({record.name}) {line}")

    def save(data: Mapping[str, Any]) -> None:
        store.save(record.name, replace(record, driver=dict(data)))

    context = Context(record.name, store.directory(record.name), store.root, named, save)
    return Host(store, record, _driver(context, record))


def _driver(context: Context, record: Record) -> Driver:
    data = _Data(record.name, record.driver)
    try:
        found = driver_class(record.driver_name)
    except MachineError as missing:
        from shoal.machine.stranded import StrandedDriver

        return StrandedDriver(context, data, missing)
    data.check()
    return found(context, data)
