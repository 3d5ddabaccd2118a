"""What a driver must do, and how drivers are found.

A driver makes computers (or takes over existing ones) and knows where they are. It does not know certificates or
engine flags: when it knows the machine's address it asks `prepare(address)` for an `EngineSetup` and sees to it that
the machine's engine runs with that. Its whole state is `data`, the `Driver` object of config.json.

Drivers outside this package register a class under the entry point group `shoal.machine_drivers`.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from shoal.machine.errors import MachineError

ENTRY_POINTS = "shoal.machine_drivers"
BUILT_IN = {
    "generic": "shoal.machine.generic:GenericDriver",
    "none": "shoal.machine.none:NoneDriver",
    "local": "shoal.machine.local.driver:LocalDriver",
    "qemu": "shoal.machine.qemu.driver:QemuDriver",
    "virtualbox": "shoal.machine.virtualbox.driver:VirtualBoxDriver",
    "hyperv": "shoal.machine.hyperv.driver:HypervDriver",
    "amazonec2": "shoal.machine.cloud.amazonec2:AmazonEC2Driver",
    "digitalocean": "shoal.machine.cloud.digitalocean:DigitalOceanDriver",
    "google": "shoal.machine.cloud.google:GoogleDriver",
    "azure": "shoal.machine.cloud.azure:AzureDriver",
    "openstack": "shoal.machine.cloud.openstack:OpenStackDriver",
    "rackspace": "shoal.machine.cloud.rackspace:RackspaceDriver",
    "exoscale": "shoal.machine.cloud.exoscale:ExoscaleDriver",
    "linode": "shoal.machine.cloud.linode:LinodeDriver",
    "vultr": "shoal.machine.cloud.vultr:VultrDriver",
    "libcloud": "shoal.machine.cloud.anycloud:AnyCloudDriver",
}
_LINUX_ONLY = {"local", "qemu"}


class State(StrEnum):
    """What `status` prints and `--filter state=` takes."""

    NONE = ""
    RUNNING = "Running"
    PAUSED = "Paused"
    SAVED = "Saved"
    STOPPED = "Stopped"
    STOPPING = "Stopping"
    STARTING = "Starting"
    ERROR = "Error"
    TIMEOUT = "Timeout"


class Flag(NamedTuple):
    """An option of `create`: `--name`, also taken from the environment (where it has a variable).

    The default's type is the option's type.
    """

    name: str
    help: str
    environment: str
    default: str | int | bool | tuple[str, ...] = ""


class SshEndpoint(NamedTuple):
    """How to reach a machine by ssh. `known_hosts` pins its key under the name `alias`."""

    host: str
    port: int
    user: str
    key: Path | None
    known_hosts: Path | None
    alias: str


class EngineSetup(NamedTuple):
    """What the machine's engine is to be installed with. Paths are the machine's."""

    files: Mapping[str, tuple[int, bytes]]
    arguments: Sequence[str]
    environment: Mapping[str, str]
    install_url: str = ""
    """`none` (--engine-install-url none): nothing is to be installed, the machine has what it needs."""


class Traits(NamedTuple):
    """What `actions` must know of a driver's machines; a driver says so with a class attribute `traits`."""

    ssh_timeout: float = 180.0
    """Seconds until ssh must answer after create or start."""
    engine_timeout: float = 120.0
    """Seconds until the engine must answer then."""
    managed: bool = True
    """Whether the machine is ours to set up: False for an address that was only written down (`none`)."""


def traits(driver: Driver) -> Traits:
    """The driver's traits."""
    found = getattr(driver, "traits", None)
    return found if isinstance(found, Traits) else Traits()


Prepare = Callable[[str], EngineSetup]
"""The setup for a machine at this address; makes or renews its certificates."""


def _unsaved(_: Mapping[str, Any]) -> None:
    """What `save` does for a machine that is in no store."""


class Context(NamedTuple):
    """What a driver gets: the machine's name, its directory, and where to report progress, one line at a time.

    `save(data)` writes the driver's data into the record now. `create` calls it as soon as something exists elsewhere
    that `remove` must find (a cloud's instance), before it waits for anything: whatever ends it, `rm` removes all.
    """

    name: str
    directory: Path
    store: Path
    say: Callable[[str], None]
    save: Callable[[Mapping[str, Any]], None] = _unsaved


class Driver(Protocol):
    """One machine as its driver sees it. Calls block; failures are MachineErrors."""

    data: dict[str, Any]

    def __init__(self, context: Context, data: dict[str, Any]) -> None: ...

    @staticmethod
    def flags() -> Sequence[Flag]:
        """The options that `create` takes for this driver."""
        ...

    def configure(self, values: Mapping[str, Any]) -> None:
        """Take the options' values (by flag name) into `data`. Raises MachineError for bad ones."""
        ...

    def check(self) -> None:
        """Whether a machine can be made here, without side effects. Raises PreCreateError."""
        ...

    def create(self, prepare: Prepare) -> None:
        """Make the machine and start it."""
        ...

    def start(self, prepare: Prepare) -> None:
        """Start the stopped machine."""
        ...

    def stop(self) -> None:
        """Shut it down in good order."""
        ...

    def kill(self) -> None:
        """Cut its power."""
        ...

    def restart(self, prepare: Prepare) -> None:
        """Stop and start."""
        ...

    def new_address(self) -> None:
        """Have another address at the next start. Raises MachineError where that is not the driver's to choose."""
        ...

    def remove(self) -> None:
        """Take away everything that `create` made outside the machine's directory; what is gone already is fine."""
        ...

    @staticmethod
    def abandon(context: Context) -> None:
        """Remove what can be found of a machine whose record is lost; a machine that was not this driver's is fine."""
        ...

    def state(self) -> State:
        """What it is doing now."""
        ...

    def address(self) -> str:
        """Its address or host name. Raises NotRunning."""
        ...

    def url(self) -> str:
        """Where its Engine API is. Raises NotRunning."""
        ...

    def ssh(self) -> SshEndpoint:
        """Where its sshd is."""
        ...

    def diagnose(self) -> str:
        """The last lines of its log, for a user whose machine does not come up; empty when there is none."""
        ...


@runtime_checkable
class Provisions(Protocol):
    """A driver that sets its machines up otherwise than by `install.over_ssh`, which is what is done without it."""

    def provision(self, prepare: Prepare) -> None:
        """Bring the running machine to what `prepare` says. Changed nothing, nothing is restarted."""
        ...


@runtime_checkable
class Upgrades(Protocol):
    """A driver that brings this client's Shoal to its machines otherwise than by `install.over_ssh(upgrade=True)`."""

    def upgrade(self, prepare: Prepare) -> None:
        """Bring it, and start it."""
        ...


@runtime_checkable
class Restarts(Protocol):
    """A driver whose engines are restarted otherwise than by `install.renew.restart`."""

    def restart_engine(self) -> None:
        """Restart the engine alone; its containers go on."""
        ...


@runtime_checkable
class Moves(Protocol):
    """A driver of hosts whose address only the user knows."""

    def move(self, address: str) -> None:
        """The host is at `address` now. Raises MachineError for what is no address."""
        ...


@runtime_checkable
class Travels(Protocol):
    """A driver that has a say in what a machine is exported and imported with. Others' `data` goes as it is."""

    @classmethod
    def leaving(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """What of `data` goes along. Raises MachineError when the machine cannot be moved."""
        ...

    @classmethod
    def arrived(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """What of `data` is taken, which may come from anybody; numbers that a machine shares with none are new ones.

        Raises MachineError for what no option could have given.
        """
        ...


_registered: dict[str, type[Driver]] = {}


def register(name: str, driver: type[Driver]) -> None:
    """Make `driver` known in this process: for programs that bring their own."""
    _registered[name] = driver


def driver_class(name: str) -> type[Driver]:
    """The driver called `name`. Raises MachineError when there is none, not for this system, or it cannot be loaded."""
    if name in _registered:
        return _registered[name]
    if name in _LINUX_ONLY and sys.platform != "linux":
        raise MachineError(f'Driver "{name}" not supported on this platform.')
    try:
        if name in BUILT_IN:
            module, _, attribute = BUILT_IN[name].partition(":")
            return cast("type[Driver]", getattr(importlib.import_module(module), attribute))
        for point in entry_points(group=ENTRY_POINTS, name=name):
            return cast("type[Driver]", point.load())
    except Exception as fault:
        # Loading runs whatever the driver's author wrote: its machines can be used as far as their records tell.
        raise MachineError(f'Driver "{name}" cannot be loaded: {type(fault).__name__}: {fault}') from fault
    raise MachineError(
        f'Driver "{name}" not found. Do you have the plugin binary "docker-machine-driver-{name}" '
        "accessible in your PATH? (Such programs of docker-machine's are not used: drivers are Python packages.)"
    )


def built_in_drivers() -> list[type[Driver]]:
    """The drivers of this package that work on this operating system and whose extras are installed."""
    found = []
    for name in BUILT_IN:
        if name not in _LINUX_ONLY or sys.platform == "linux":
            with contextlib.suppress(MachineError):
                found.append(driver_class(name))
    return found
