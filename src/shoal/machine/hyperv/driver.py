"""HypervDriver: machines in Hyper-V, on a virtual switch where they get their address by DHCP."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from shoal.machine import hypervisor, install, seed, ssh
from shoal.machine import image as images
from shoal.machine.driver import Context, Flag, Prepare, SshEndpoint, State
from shoal.machine.errors import MachineError, NotRunning, PreCreateError
from shoal.machine.hyperv import parse, scripts, settings
from shoal.machine.hyperv.observer import shared
from shoal.machine.hyperv.parse import Machine, Switch
from shoal.machine.hyperv.powershell import PowerShell, PowerShellError, ScriptTimeout, find

ENGINE_PORT = 2376
DISK_TIMEOUT = 900.0
"""Seconds for making a disk: without administrator's rights it is written in full."""

_OFF = (State.STOPPED, State.SAVED, State.NONE)


class HypervDriver:
    """One machine. `data`: docker-machine's keys, and VMId. Without VMId it was made by docker-machine."""

    boot_timeout = 180.0
    """Seconds until it must have an address, and then until sshd must answer."""
    stop_timeout = 60.0
    """Seconds a machine has to shut down before it is turned off; starting PowerShell included."""
    poll = 1.0
    """Seconds between two questions."""
    observer = shared

    def __init__(self, context: Context, data: dict[str, Any]) -> None:
        self.context, self.data = context, data

    @staticmethod
    def flags() -> Sequence[Flag]:
        """`--hyperv-*`."""
        return settings.FLAGS

    def configure(self, values: Mapping[str, Any]) -> None:
        """Take the flags' values. Raises MachineError."""
        self.data.update(
            IPAddress="", MachineName=self.context.name, SSHUser="root", SSHPort=22,
            SSHKeyPath=str(self.context.directory / "id_ed25519"), StorePath=str(self.context.store), VMId="",
            **settings.settings(values, self.context.say),
        )  # fmt: skip

    def check(self) -> None:
        """Whether Hyper-V is here and ours to command, and there are a switch and an image. Raises PreCreateError."""
        try:
            if platform.machine().lower() in ("arm64", "aarch64"):
                raise MachineError("the machine image is for x86-64 processors, this computer's is another")
            shell = self._shell()
            _check_rights(shell)
            self._switch(shell)
            self._image()
        except PreCreateError:
            raise
        except MachineError as fault:
            raise PreCreateError(str(fault)) from fault

    def create(self, prepare: Prepare) -> None:
        """Make keys, disk and machine, start it, and set up its engine once its address is known."""
        shell = self._shell()
        hypervisor.place_image(self._image(), self.context.directory)
        self.context.say("Creating SSH key...")
        identity = hypervisor.make_keys(self.context, Path(self.data["SSHKeyPath"]))
        self.context.say("Creating VHD...")
        self._make_disk(shell, self._seed(identity))
        self._register(shell)
        self.context.say("Starting VM...")
        self._command(scripts.START)
        self._set_up(prepare)

    def start(self, prepare: Prepare) -> None:
        """Start it; a saved or paused one goes on."""
        state = self.state()
        if state is State.NONE:
            raise MachineError(f'Hyper-V has no machine "{self.context.name}"')
        if state is State.PAUSED:
            self._command(scripts.RESUME)
        elif state is not State.RUNNING:
            if self._machine() is None:
                self._register(self._shell())
            self._command(scripts.START)
        self._set_up(prepare)

    def stop(self) -> None:
        """Ask it to shut down; turn it off when it has not in time, or cannot be asked."""
        state = self.state()
        if state in _OFF:
            return
        if state is State.PAUSED:
            self._command(scripts.RESUME)
        try:
            self._command(scripts.SHUT_DOWN, timeout=self.stop_timeout)
        except (PowerShellError, ScriptTimeout) as fault:
            if self.state() in _OFF:
                return
            self.context.say(f"The machine did not shut down ({fault}): turning it off...")
            self.kill()

    def kill(self) -> None:
        """Turn it off."""
        if self.state() not in _OFF:
            self._command(scripts.TURN_OFF)

    def restart(self, prepare: Prepare) -> None:
        """Stop and start."""
        self.stop()
        self.start(prepare)

    def new_address(self) -> None:
        """Raises MachineError: addresses come from the network of the switch."""
        raise MachineError("the DHCP server of the virtual switch's network gives this machine its address")

    def upgrade(self, prepare: Prepare) -> None:
        """Boot the image that the store has now; what lasts on the machine's disk stays."""
        if not self.data.get("VMId"):
            raise MachineError("docker-machine made this machine: it does not boot Shoal's image")
        iso = self._image()
        self.stop()
        hypervisor.place_image(iso, self.context.directory)
        self.start(prepare)

    def remove(self) -> None:
        """Turn it off and take it out of Hyper-V; its files go with its directory."""
        machine = self._machine()
        if machine is None:
            return
        if machine.state not in (State.STOPPED, State.SAVED):
            self._command(scripts.TURN_OFF)
        self._command(scripts.REMOVE)

    @staticmethod
    def abandon(context: Context) -> None:
        """Remove the machine of this name, if its files lie in this machine's directory."""
        for machine in HypervDriver.observer.machines():
            if machine.name == context.name and parse.is_below(machine.folder, str(context.directory)):
                HypervDriver(context, {"VMId": machine.id, "MachineName": machine.name}).remove()

    @classmethod
    def leaving(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """Everything. Raises MachineError for machines of docker-machine, which Shoal cannot register."""
        if "VMId" not in data:
            raise MachineError(
                "docker-machine made this machine, and it stays in Hyper-V: --access exports access to it"
            )
        return dict(data)

    @classmethod
    def arrived(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """Not registered, with a MAC address of its own, for a switch of this computer."""
        return {**cls.leaving(data), "VMId": "", "MacAddr": settings.new_mac_address(), "VSwitch": ""}

    def state(self) -> State:
        """What Hyper-V says. What it does not know is Stopped when its disk is here, else NONE."""
        machine = self._machine()
        if machine:
            return machine.state
        return State.STOPPED if "VMId" in self.data and Path(self._files.disk).exists() else State.NONE

    def address(self) -> str:
        """The address it has now, which DHCP may have changed."""
        machine = self._machine()
        if machine is None or machine.state is not State.RUNNING:
            raise NotRunning
        address = parse.usable_address(machine.addresses)
        if address is None:
            raise MachineError("IP address is not set")
        return address

    def url(self) -> str:
        """Its Engine API."""
        return f"tcp://{self.address()}:{ENGINE_PORT}"

    def ssh(self) -> SshEndpoint:
        """Its sshd, whose key is pinned since the machine was made."""
        directory = self.context.directory
        key = Path(self.data.get("SSHKeyPath") or directory / "id_rsa")
        user = str(self.data.get("SSHUser") or "docker")
        return SshEndpoint(self.address(), 22, user, key, directory / "known_hosts", self.context.name)

    def diagnose(self) -> str:
        """Nothing: Hyper-V keeps no log of a machine's console."""
        return ""

    def _shell(self) -> PowerShell:
        return find()

    def _machine(self) -> Machine | None:
        """Ours by its Id; by its name only what docker-machine made.

        One whose Id was never heard, because PowerShell was ended while it made it, is known by its files' place.
        """
        number, name = self.data.get("VMId"), self.data.get("MachineName") or self.context.name
        for machine in self.observer.machines():
            if machine.id == number if number else machine.name == name and self._may_be_ours(machine):
                return machine
        return None

    def _may_be_ours(self, machine: Machine) -> bool:
        ours = parse.is_below(machine.folder, str(self.context.directory))
        if ours and "VMId" in self.data:
            self.data["VMId"] = machine.id
        return ours or "VMId" not in self.data

    def _command(self, statement: str, *, timeout: float = 90.0) -> None:
        try:
            self._shell()(scripts.find({"MachineName": self.context.name, **self.data}), statement, timeout=timeout)
        finally:
            self.observer.forget()

    def _switch(self, shell: PowerShell) -> Switch:
        (rows,) = parse.answers(shell(scripts.switches()))
        return parse.choose_switch(parse.switches(rows), self.data["VSwitch"])

    def _image(self) -> Path:
        given = hypervisor.given_image(self.data.get("Boot2DockerURL") or "")
        return given or images.ensure(self.context.store, self.context.say).iso

    def _seed(self, identity: hypervisor.Identity) -> bytes:
        card = seed.Interface(hypervisor.colons(self.data["MacAddr"]))
        return seed.build(seed.Seed(self.context.name, (card,), (identity.authorized,), identity.host_key))

    @property
    def _files(self) -> scripts.Files:
        directory = self.context.directory
        return scripts.Files(directory, directory / "fixed.vhd", directory / "disk.vhd", directory / hypervisor.ISO)

    def _make_disk(self, shell: PowerShell, content: bytes) -> None:
        """A fixed disk is raw data, so the seed is written at its beginning; then it becomes one that grows.

        Only the computer's administrators may resize a disk; for others it has its full size from the beginning.
        """
        files, size = self._files, int(self.data["DiskSize"]) << 20
        resize = _check_rights(shell)
        fixed_size = scripts.SEED_DISK_BYTES if resize else size
        shell(scripts.seed_disk(files, fixed_size), timeout=DISK_TIMEOUT)
        with Path(files.fixed).open("r+b") as file:
            file.write(content)
        shell(*scripts.data_disk(files, size, resize=resize), timeout=DISK_TIMEOUT)

    def _register(self, shell: PowerShell) -> None:
        """Make a Hyper-V machine of the disk and the image that are here."""
        switch = self._switch(shell)
        self.data["VSwitch"] = switch.name
        self.context.say(f'Using switch "{switch.name}"')
        if switch.id == parse.DEFAULT_SWITCH:
            self.context.say("Windows gives it another network at every boot: an external switch keeps addresses")
        self.context.say("Creating VM...")
        files, output = self._files, ""
        try:
            output = shell(*scripts.register(self.context.name, self.data, files), *scripts.furnish(self.data, files))
        except PowerShellError as fault:
            output = fault.output
            raise
        finally:
            self.observer.forget()
            with suppress(MachineError):  # it was ended in the middle of a line
                self.data["VMId"] = parse.new_machine(output)
            self.context.save(self.data)

    def _set_up(self, prepare: Prepare) -> None:
        """Wait for its address and its sshd, and bring its engine to what it is to be."""
        self.context.say("Waiting for host to start...")
        deadline = time.monotonic() + self.boot_timeout
        while not self._has_address() and time.monotonic() < deadline:
            time.sleep(self.poll)
        if self.state() is not State.RUNNING:
            raise MachineError("The machine ended while it started")
        try:
            self.data["IPAddress"] = self.address()
        except MachineError as fault:
            raise MachineError(
                f"Hyper-V reports no IPv4 address of the machine after {self.boot_timeout:.0f} seconds: is there a "
                f'DHCP server on the network of the virtual switch "{self.data.get("VSwitch")}"?'
            ) from fault
        if "VMId" not in self.data:
            return
        endpoint = self.ssh()
        ssh.wait_for_banner(endpoint, self.boot_timeout)
        setup = prepare(self.data["IPAddress"])
        install.over_ssh(endpoint, setup, self.context.say, cache=self.context.store / "cache")

    def _has_address(self) -> bool:
        """Whether there is nothing more to wait for: it has one, or has ended."""
        machine = self._machine()
        if machine is None or machine.state in _OFF:
            return True
        return machine.state is State.RUNNING and parse.usable_address(machine.addresses) is not None


def _check_rights(shell: PowerShell) -> bool:
    """Whether we are the computer's administrator. Raises MachineError when we may not command Hyper-V at all."""
    module, commander, administrator = parse.answers(shell(*scripts.who_am_i()))
    if not module:
        raise MachineError("Hyper-V PowerShell Module is not available")
    if commander != [True] and administrator != [True]:
        raise MachineError("Hyper-v commands have to be run as an Administrator")
    return administrator == [True]
