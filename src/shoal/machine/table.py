"""What `ls` and `active` show: one row per machine, asked in parallel, each within its own time."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from msgspec import to_builtins

from shoal.machine import probe
from shoal.machine.driver import State, traits
from shoal.machine.errors import MachineError, NotRunning
from shoal.machine.host import Host, open_host
from shoal.machine.record import Record, SwarmOptions
from shoal.machine.store import Store

COLUMNS = {
    "Name": "NAME", "Active": "ACTIVE", "ActiveHost": "ACTIVE_HOST", "ActiveSwarm": "ACTIVE_SWARM",
    "DriverName": "DRIVER", "State": "STATE", "URL": "URL", "SwarmOptions": "SWARM_OPTIONS", "Swarm": "SWARM",
    "EngineOptions": "ENGINE_OPTIONS", "Error": "ERRORS", "DockerVersion": "DOCKER", "ResponseTime": "RESPONSE",
}  # fmt: skip
"""What a template can name, and its heading."""

DEFAULT = ("Name", "Active", "DriverName", "State", "URL", "Swarm", "DockerVersion", "Error")
"""The columns of the plain table."""

FILTER_KEYS = ("driver", "state", "name", "label", "swarm")


class Row(NamedTuple):
    """One machine as `ls` shows it. `seconds` is how long the answer took."""

    name: str
    driver: str = ""
    state: str = ""
    url: str = ""
    version: str = ""
    error: str = ""
    active: bool | None = None
    seconds: float = 0.0
    record: Record | None = None
    swarm: str = ""
    """The master of the classic Swarm that the machine was made for, by docker-machine."""
    swarm_active: bool = False
    """Whether DOCKER_HOST points to the classic Swarm that this machine is the master of."""

    @property
    def mark(self) -> str:
        """The ACTIVE column: `*`, `-`, or nothing when it is not known."""
        return "" if self.active is None else "* (swarm)" if self.swarm_active else "*" if self.active else "-"

    def fields(self) -> Mapping[str, Any]:
        """The row by its template names."""
        options = self.record.host_options if self.record else None
        return {
            "Name": self.name, "Active": self.mark, "ActiveHost": bool(self.active),
            "ActiveSwarm": self.swarm_active, "Swarm": self.swarm,
            "DriverName": self.driver, "State": self.state, "URL": self.url, "Error": self.error,
            "DockerVersion": self.version, "ResponseTime": f"{self.seconds * 1000:.0f}ms",
            "SwarmOptions": to_builtins(options.swarm_options) if options else {},
            "EngineOptions": to_builtins(options.engine_options) if options else {},
        }  # fmt: skip


Filters = Mapping[str, Sequence[str]]


def parse_filters(texts: Iterable[str]) -> Filters:
    """`key=value` each: values of a key are alternatives, keys are all needed. Raises MachineError."""
    found: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise MachineError("Unsupported filter syntax")
        if key.lower() not in FILTER_KEYS:
            raise MachineError(f"Unsupported filter key '{key}'")
        if key.lower() == "name":
            try:
                re.compile(value)
            except re.error as fault:
                raise MachineError(f"error parsing regexp: {fault}") from fault
        found.setdefault(key.lower(), []).append(value)
    return found


def matches(row: Row, filters: Filters) -> bool:
    """Whether the row passes. A row whose record is broken has only its name and state to be matched."""
    labels = row.record.host_options.engine_options.labels if row.record else []
    tests: Mapping[str, Callable[[str], bool]] = {
        "driver": lambda wanted: row.driver.lower() == wanted.lower(),
        "state": lambda wanted: row.state.lower() == wanted.lower(),
        "name": lambda wanted: re.search(wanted, row.name) is not None,
        "label": lambda wanted: any(_label_matches(label, wanted) for label in labels),
        "swarm": lambda wanted: row.swarm.removesuffix(" (master)").lower() == wanted.lower(),
    }
    return all(any(tests[key](value) for value in values) for key, values in filters.items())


def _label_matches(label: str, wanted: str) -> bool:
    """`key=value`, the value in any case; `key` alone for a label of any value."""
    name, _, value = label.partition("=")
    key, equals, wish = wanted.partition("=")
    return name == key and (not equals or value.lower() == wish.lower())


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key: numbers inside names by their value, letters in any case."""
    parts = re.findall(r"\d+|\D+", name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts], name


def rows(store: Store, environment: Mapping[str, str], timeout: float, *, versions: bool = True) -> list[Row]:
    """A row for every machine, in natural order. Who does not answer in `timeout` seconds has the state Timeout."""
    names = sorted(store.names(), key=natural)
    found: dict[str, Row] = {}
    done = threading.Condition()

    def ask(name: str) -> None:
        row = _row(store, name, environment, timeout, versions)
        with done:
            found[name] = row
            done.notify()

    # Threads that nobody waits for at the end: a driver that hangs must not keep the command.
    for name in names:
        threading.Thread(target=ask, args=(name,), daemon=True).start()
    deadline = time.monotonic() + timeout
    with done:
        while len(found) < len(names) and (left := deadline - time.monotonic()) > 0:
            done.wait(left)
        return with_swarms([found.get(name) or _late(store, name, timeout) for name in names], environment)


def with_swarms(rows: Sequence[Row], environment: Mapping[str, str]) -> list[Row]:
    """The rows with what they have to do with classic Swarm: who has the same discovery address belongs together."""
    swarms = [row.record.host_options.swarm_options if row.record else None for row in rows]
    masters = {swarm.discovery: row.name for row, swarm in zip(rows, swarms, strict=True) if swarm and swarm.master}
    found = []
    for row, swarm in zip(rows, swarms, strict=True):
        if swarm and swarm.discovery in masters and swarm.discovery:
            master = " (master)" if swarm.master else ""
            row = row._replace(swarm=masters[swarm.discovery] + master)
        if swarm and swarm.master and row.url:
            row = row._replace(swarm_active=is_active(swarm_url(row.url, swarm), environment))
        found.append(row)
    return found


def swarm_url(url: str, swarm: SwarmOptions) -> str:
    """Where a classic Swarm's manager answers on the machine whose engine is at `url`."""
    return f"{url.rpartition(':')[0]}:{swarm.host.rpartition(':')[2]}"


def _late(store: Store, name: str, timeout: float) -> Row:
    return Row(name, _driver_name(store, name), State.TIMEOUT, seconds=timeout)


def _driver_name(store: Store, name: str) -> str:
    try:
        return store.load(name).driver_name
    except MachineError:
        return "not found"


def _row(store: Store, name: str, environment: Mapping[str, str], timeout: float, versions: bool) -> Row:
    began = time.monotonic()
    try:
        host = open_host(store, name)
    except Exception as fault:
        return Row(name, _driver_name(store, name), State.ERROR, error=_words(fault))
    row = Row(name, host.record.driver_name, record=host.record, active=False, version="Unknown")
    try:
        row = row._replace(state=host.driver.state())
        if row.state == State.RUNNING:
            row = row._replace(url=host.driver.url())
            row = row._replace(active=is_active(row.url, environment))
            if versions:
                engine = probe.engine(row.url, host.name, host.directory, timeout)
                row = row._replace(version=f"v{engine.version}", error=_ending(host, engine.ends, datetime.now(UTC)))
    except NotRunning:
        row = row._replace(state=State.STOPPED, url="", active=False)
    except Exception as fault:
        row = row._replace(error=_words(fault), state=row.state or State.ERROR)
    return row._replace(seconds=time.monotonic() - began)


def _words(fault: Exception) -> str:
    """What failed. One driver's mistake, whatever it raises, must not take the others' rows with it."""
    expected = isinstance(fault, MachineError)
    return str(fault).strip().replace("\n", " ") if expected else f"{type(fault).__name__}: {fault}"


def _ending(host: Host, ends: datetime, now: datetime) -> str:
    """That the engine's certificate ends soon, and what renews it where that can be done from here."""
    if ends - now >= probe.RENEW_BEFORE:
        return ""
    # Not at the top: cryptography takes longer to import than all the rest of `ls`.
    from shoal.machine.provision import has_authority

    auth = host.record.host_options.auth_options
    ours = auth and traits(host.driver).managed and has_authority(auth)
    return f"certificate ends {ends:%Y-%m-%d}" + (f": `regenerate-certs {host.name}` renews it" if ours else "")


def is_active(url: str, environment: Mapping[str, str]) -> bool:
    """Whether DOCKER_HOST points to `url`."""
    wanted, own = urlsplit(environment.get("DOCKER_HOST", "")), urlsplit(url)
    return bool(own.netloc) and (wanted.scheme, wanted.netloc) == (own.scheme, own.netloc)
