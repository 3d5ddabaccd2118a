"""QemuDriver: virtual machines on this computer."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shoal.machine import hypervisor, image, seed
from shoal.machine.addresses import DEFAULT
from shoal.machine.driver import Context, EngineSetup, Flag, Prepare, SshEndpoint, State, Traits
from shoal.machine.errors import MachineError, NotRunning, PreCreateError
from shoal.machine.qemu import accel, settings
from shoal.machine.qemu.command import DISK, INITRD, KERNEL, ROOT, Machine, command_line
from shoal.machine.qemu.life import Life
from shoal.machine.qemu.place import ENGINE_PORT, Place, Spot, interfaces, place, places_of
from shoal.machine.store import Store

ROOM = 512
"""MB that must be free where the machine's disk will be: it grows as it is written to."""

_MB = 1 << 20


class QemuDriver:
    """One virtual machine. `data`: CPU, Memory, DiskSize, Accel, Binary, Network, Subnet, Forwards, Image, Made and
    docker-machine's common fields; IPAddress is where this computer reaches it, NetworkAddress where other machines do.
    """

    traits = Traits(ssh_timeout=300.0, engine_timeout=300.0)
    """On a busy computer, emulated, a boot is slow; a machine that ends instead is noticed at once."""

    def __init__(self, context: Context, data: dict[str, Any]) -> None:
        self.context = context
        self.data = data
        self._files = context.directory / "qemu"
        self._life = Life(self._files)
        self._avoid: str | None = None
        self._accelerator = ""

    @staticmethod
    def flags() -> Sequence[Flag]:
        """`--qemu-*`."""
        return settings.FLAGS

    def configure(self, values: Mapping[str, Any]) -> None:
        """Take the flags' values. Raises MachineError for those that cannot be."""
        self.data.update(
            IPAddress="", MachineName=self.context.name, SSHUser="root",
            SSHKeyPath=str(self.context.directory / "id_ed25519"), StorePath=str(self.context.store),
            **settings.settings(values),
        )  # fmt: skip
        self.data["SSHPort"] = self._place().ssh_port

    def check(self) -> None:
        """Whether this computer can: QEMU, an image, the network, room on the disk, memory, KVM if it was demanded."""
        if platform.system() != "Linux":
            raise PreCreateError('Driver "qemu" not supported on this platform.')
        try:
            binary, made = self._binary(), image.ensure(self.context.store, self.context.say)
            if trouble := self._place().trouble():
                raise MachineError(trouble)
            self._check_room()
            self._accelerator = self._accel(binary, made.kernel)
        except MachineError as fault:
            raise PreCreateError(str(fault)) from fault

    def create(self, prepare: Prepare) -> None:
        """Make keys and disk, and start."""
        self.context.say("Creating SSH key...")
        hypervisor.make_keys(self.context, Path(self.data["SSHKeyPath"]))
        self.context.say("Creating the disk...")
        self._files.mkdir(mode=0o700, exist_ok=True)
        self._take_image()
        with open(self._files / DISK, "xb", opener=_private) as disk:
            disk.truncate(seed.DATA_OFFSET + self.data["DiskSize"] * _MB)
        self._boot(prepare, first=True)
        self.data["Made"] = True

    def start(self, prepare: Prepare) -> None:
        """Start it, at its old address unless that was given away or a new one was asked for; resume a paused one."""
        if not self.data.get("Made"):
            raise MachineError(f'"{self.context.name}" was never finished: remove it and create it again')
        if self._life.state() is State.PAUSED:
            self._life.resume()
            return
        self._boot(prepare)

    def new_address(self) -> None:
        """Have another address at the next start."""
        self._avoid = self.data.get("NetworkAddress")

    def stop(self) -> None:
        """Press its power button, and wait."""
        self._life.power_off(self.context.say)

    def kill(self) -> None:
        """Cut its power."""
        self._life.cut()

    def restart(self, prepare: Prepare) -> None:
        """Stop and start."""
        self.stop()
        self.start(prepare)

    def upgrade(self, prepare: Prepare) -> None:
        """Boot the image that the store has now; what lasts on the machine's disk stays."""
        image.cached(self.context.store)
        self.stop()
        self._take_image()
        self.start(prepare)

    def remove(self) -> None:
        """End it and give its address back; the network goes with the last machine."""
        self._life.cut()
        where = self._place()
        with where.lock():
            where.leave(self.context.directory)

    @staticmethod
    def abandon(context: Context) -> None:
        """Remove what a machine left whose record is lost: its run file and its membership tell enough."""
        driver = QemuDriver(context, {})
        driver._life.cut()
        for network, subnet in places_of(context.directory):
            driver.data.update(Network=network, Subnet=subnet)
            driver.remove()

    @classmethod
    def leaving(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """Everything."""
        return dict(data)

    @classmethod
    def arrived(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """What `create` could have been told; the address at which this computer reaches it is found at its start."""
        return settings.arrived(data)

    def state(self) -> State:
        """What QEMU says; Stopped when there is none, however it ended."""
        return self._life.state()

    def address(self) -> str:
        """Where this computer reaches it, while it runs."""
        if self._life.process() is None:
            raise NotRunning
        return str(self.data["IPAddress"])

    def url(self) -> str:
        """Its Engine API."""
        return f"tcp://{self.address()}:{ENGINE_PORT}"

    def ssh(self) -> SshEndpoint:
        """Its sshd, whose key was made here and is pinned since."""
        key = Path(self.data["SSHKeyPath"])
        return SshEndpoint(
            self.address(), int(self.data["SSHPort"]), self.data["SSHUser"], key, self._known_hosts(), self.context.name
        )

    def diagnose(self) -> str:
        """The end of its console and of what QEMU said."""
        return self._life.last_words()

    def _boot(self, prepare: Prepare, *, first: bool = False) -> None:
        # What a machine that crashed left behind.
        self._life.cut()
        binary, where = self._binary(), self._place()
        # What `check` found is not tried again a moment later: a trial may take long.
        accelerator = self._accelerator or self._accel(binary, self._files / KERNEL)
        with where.lock():
            spot = self._take(where, first=first)
            setup = prepare(spot.outside)
            self._plant(spot, where.register.prefix, setup)
            self.context.say("Starting the machine...")
            machine = Machine(
                self.context.name, accelerator, self._cpus(), self.data["Memory"], self._files,
                where.cards(spot, [(host, inside) for host, inside in self.data["Forwards"]]),
            )  # fmt: skip
            self._life.launch(command_line(binary, machine), where.tap(spot))

    def _take_image(self) -> None:
        """Have the store's image in the machine's own directory, where the store's next one does not change it."""
        made = image.cached(self.context.store)
        for name, path in ((KERNEL, made.kernel), (INITRD, made.initrd), (ROOT, made.root)):
            _link(path, self._files / name)
        self.data["Image"] = made.version

    def _take(self, where: Place, *, first: bool) -> Spot:
        wanted = Spot(self.data.get("NetworkAddress", ""), self.data.get("IPAddress", ""))
        spot = where.take(self.context.directory, wanted, self._neighbours(), self._avoid)
        if first and wanted.inside and spot.inside != wanted.inside:
            raise MachineError(f"address {wanted.inside} is already in use")
        self.data.update(NetworkAddress=spot.inside, IPAddress=spot.outside)
        return spot

    def _plant(self, spot: Spot, prefix: int, setup: EngineSetup) -> None:
        """Write the seed; the machine applies one that it has not seen yet."""
        keys = hypervisor.read_keys(self.context, Path(self.data["SSHKeyPath"]))
        name, cards = self.context.name, interfaces(spot, prefix)
        content = seed.build(seed.Seed(name, cards, (keys.authorized,), keys.host_key, setup))
        with (self._files / DISK).open("r+b") as disk:
            disk.write(content.ljust(seed.LIMIT, b"\0"))

    def _accel(self, binary: str, kernel: Path) -> str:
        """`kvm` or `tcg`; says why not KVM where that was hoped for. Raises MachineError where it was demanded."""
        path = self.context.store / "cache" / "kvm.json"

        def trial() -> str:
            known = accel.circumstances(binary, kernel)
            return accel.remembered(path, known, lambda: accel.kvm_trouble(binary, kernel))

        choice = accel.choose(self.data["Accel"], trial)
        if choice.reason:
            self.context.say(f"KVM cannot be used here: {choice.reason}. The machine is emulated in software, slowly")
        return choice.accel

    def _binary(self) -> str:
        path = shutil.which(str(self.data["Binary"]))
        if path:
            return os.path.abspath(path)
        if self.data["Binary"] == settings.BINARY:
            raise MachineError(f"{settings.BINARY} not found: install the Debian package qemu-system-x86")
        raise MachineError(f"--qemu-binary: {self.data['Binary']} is not a program")

    def _check_room(self) -> None:
        available = shutil.disk_usage(_existing(self.context.store)).free // _MB
        if available < ROOM:
            raise MachineError(f"{self.context.store} has {available} MB of free space, a machine needs {ROOM} MB")
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MB
        if self.data["Memory"] > installed:
            raise MachineError(f"--qemu-memory: this computer has {installed} MB, not {self.data['Memory']}")

    def _cpus(self) -> int:
        wanted = int(self.data["CPU"])
        return wanted if wanted > 0 else min(os.cpu_count() or 1, settings.MOST_CPUS)

    def _place(self) -> Place:
        return place(self.data.get("Network") or "bridge", self.data.get("Subnet") or DEFAULT)

    def _known_hosts(self) -> Path:
        return self.context.directory / "known_hosts"

    def _neighbours(self) -> list[str]:
        """The addresses that other machines of this store have, running or not."""
        found = Store(self.context.store).neighbours(self.context.name)
        return [str(data.get(key, "")) for data in found for key in ("IPAddress", "NetworkAddress")]


def _link(source: Path, target: Path) -> None:
    """A second name for a file that never changes; a copy where the file system has no such thing."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
