"""VirtualBoxDriver: machines in VirtualBox, on a NAT card for ssh and the way out, and a host-only card."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shoal.machine import hypervisor, seed, ssh
from shoal.machine.driver import Context, Flag, Prepare, SshEndpoint, State
from shoal.machine.errors import MachineError, NotRunning
from shoal.machine.files import locked
from shoal.machine.store import Store
from shoal.machine.virtualbox import commands, disk, hostonly, parse, preflight, ranges, settings
from shoal.machine.virtualbox.vboxmanage import Box, VBoxError, find, parse_version

ENGINE_PORT = 2376
_POLL = 0.5
_ON = (State.RUNNING, State.PAUSED, State.STARTING, State.STOPPING, State.ERROR)


class VirtualBoxDriver:
    """One machine. `data`: docker-machine's keys, and VMUUID, NatMac, HostOnlyMac.

    A machine without VMUUID was made by docker-machine: it is started, stopped and found, but not set up anew.
    """

    boot_timeout = 180.0
    """Seconds until sshd must answer."""
    stop_timeout = 60.0
    """Seconds a machine has to shut down before its power is cut."""

    def __init__(self, context: Context, data: dict[str, Any]) -> None:
        self.context, self.data = context, data
        if data and not data.get("VMUUID"):
            for key, value in settings.LEGACY.items():
                data.setdefault(key, value)
        self._avoid = ""

    @staticmethod
    def flags() -> Sequence[Flag]:
        """`--virtualbox-*`."""
        return settings.FLAGS

    def configure(self, values: Mapping[str, Any]) -> None:
        """Take the flags' values. Raises MachineError."""
        self.data.update(
            IPAddress="", MachineName=self.context.name, SSHUser="root", SSHPort=0,
            SSHKeyPath=str(self.context.directory / "id_ed25519"), StorePath=str(self.context.store),
            **settings.settings(values, self.context.say), **settings.identity(),
        )  # fmt: skip

    def check(self) -> None:
        """Whether VirtualBox is here and can, the network can be had, and there is an image."""
        preflight.check(self._box, self.data, self.context)

    def create(self, prepare: Prepare) -> None:
        """Make keys, disk and machine, and start it."""
        box, directory = self._box(), self.context.directory
        hypervisor.place_image(preflight.image(self.data, self.context), directory)
        self.context.say("Creating SSH key...")
        hypervisor.make_keys(self.context, Path(self.data["SSHKeyPath"]))
        self.data["HostOnlyCIDR"] = str(preflight.network(self.data, parse_version(box("--version"))))
        self.context.save(self.data)
        disk.make(directory, self.data["DiskSize"])
        self._register(box)
        self._boot(box, prepare)

    def start(self, prepare: Prepare) -> None:
        """Start it, at its old address unless that is taken or a new one was asked for; a saved one goes on."""
        box, state = self._box(), self.state()
        if state is State.NONE:
            raise MachineError(f'VirtualBox has no machine "{self.context.name}"')
        if state is State.PAUSED:
            box("controlvm", self._vm, "resume")
        elif state is State.SAVED:
            box("startvm", self._vm, "--type", self.data["UIType"])
        elif state is not State.RUNNING:
            if not self._info():
                self._register(box)
            self._boot(box, prepare)

    def stop(self) -> None:
        """Press its power button; cut its power when it has not shut down in time."""
        box, state = self._box(), self.state()
        if state is State.PAUSED:
            box("controlvm", self._vm, "resume")
        elif state not in _ON:
            return
        box("controlvm", self._vm, "acpipowerbutton")
        if not _until(lambda: self.state() not in _ON, self.stop_timeout):
            self.context.say(
                f"The machine did not shut down within {self.stop_timeout:.0f} seconds: cutting its power..."
            )
            self._cut(box)

    def kill(self) -> None:
        """Cut its power."""
        if self.state() in _ON:
            self._cut(self._box())

    def restart(self, prepare: Prepare) -> None:
        """Stop and start."""
        self.stop()
        self.start(prepare)

    def new_address(self) -> None:
        """Have another address at the next start. Raises MachineError for machines of docker-machine."""
        if not self.data.get("VMUUID"):
            raise MachineError("VirtualBox's DHCP server gives this machine its address")
        self._avoid = str(self.data.get("IPAddress") or "")

    def upgrade(self, prepare: Prepare) -> None:
        """Boot the image that the store has now; what lasts on the machine's disk stays."""
        if not self.data.get("VMUUID"):
            raise MachineError("docker-machine made this machine: it does not boot Shoal's image")
        iso = preflight.image(self.data, self.context)
        self.stop()
        hypervisor.place_image(iso, self.context.directory)
        self.start(prepare)

    def remove(self) -> None:
        """Cut its power and take it out of VirtualBox, with its disk."""
        box = self._box()
        state = self.state()
        if state is State.NONE:
            return
        if state in _ON:
            self._cut(box)
        try:
            box("unregistervm", self._vm, "--delete")
        except VBoxError as fault:
            if not fault.absent:
                raise

    @staticmethod
    def abandon(context: Context) -> None:
        """Remove the machine of this name, if its files lie in this machine's directory."""
        driver = VirtualBoxDriver(context, {"MachineName": context.name})
        try:
            files = Path(driver._info().get("CfgFile", ""))
        except MachineError:
            return
        if context.directory in files.parents:
            driver.remove()

    @classmethod
    def leaving(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """Everything. Raises MachineError for machines of docker-machine: their disks are where VirtualBox has them."""
        if not data.get("VMUUID"):
            raise MachineError(
                "docker-machine made this machine, and VirtualBox has its disk: --access exports access to it"
            )
        return dict(data)

    @classmethod
    def arrived(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """With a number and MAC addresses of its own; no directory of this computer is shared with it."""
        return {**cls.leaving(data), **settings.identity(), "ShareFolder": ""}

    def state(self) -> State:
        """What VirtualBox says. What it does not know is Stopped when its disk is here, else NONE."""
        info = self._info()
        unknown = not info and self.data.get("VMUUID") and disk.is_there(self.context.directory)
        return State.STOPPED if unknown else parse.state(info)

    def address(self) -> str:
        """Its address on the host-only network, while it runs."""
        if self.state() is not State.RUNNING:
            raise NotRunning
        if not self.data.get("IPAddress"):
            raise MachineError("IP address is not set")
        return str(self.data["IPAddress"])

    def url(self) -> str:
        """Its Engine API."""
        return f"tcp://{self.address()}:{ENGINE_PORT}"

    def ssh(self) -> SshEndpoint:
        """Its sshd, through VirtualBox's port forwarding: reached even when a VPN takes the host-only network."""
        if self.state() is not State.RUNNING:
            raise NotRunning
        return self._endpoint()

    def diagnose(self) -> str:
        """The end of its console, else of VirtualBox's log."""
        directory, name = self.context.directory, self.context.name
        return hypervisor.last_lines(directory / commands.CONSOLE) or hypervisor.last_lines(
            directory / name / "Logs" / "VBox.log"
        )

    def _box(self) -> Box:
        return find()

    @property
    def _vm(self) -> str:
        """What VirtualBox calls it. A name may be another store's machine, or the user's own."""
        return str(self.data.get("VMUUID") or self.data.get("MachineName") or self.context.name)

    def _info(self) -> dict[str, str]:
        try:
            return parse.info(self._box()("showvminfo", self._vm, "--machinereadable"))
        except VBoxError as fault:
            if fault.absent:
                return {}
            raise

    def _register(self, box: Box) -> None:
        """Make a VirtualBox machine of the disk and the image that are here."""
        self.context.say("Creating VirtualBox VM...")
        directory = self.context.directory
        for settings_file in directory.glob("*/*.vbox"):
            shutil.rmtree(settings_file.parent)  # another register's
        box(*commands.register(self.context.name, self._vm, directory))
        files = commands.Files(directory, disk.describe(directory), directory / hypervisor.ISO)
        for command in commands.furnish(self._vm, self.data, files):
            box(*command)

    def _boot(self, box: Box, prepare: Prepare) -> None:
        legacy = not self.data.get("VMUUID")
        with locked(self.context.store / "locks" / "virtualbox"):
            self._attach(box, legacy)
            self.context.save(self.data)
        if not legacy:
            disk.write_seed(self.context.directory, seed.build(self._seed(prepare)))
        self.context.say("Starting the VM...")
        box("startvm", self._vm, "--type", self.data["UIType"])
        self._wait(self._endpoint())
        if legacy:
            self._discover(box)
        self._avoid = ""

    def _attach(self, box: Box, legacy: bool) -> None:
        """Give it a place on the host-only network and a port for ssh; the caller holds the lock."""
        self.context.say("Check network to re-create if needed...")
        host = ranges.parse_cidr(self.data["HostOnlyCIDR"])
        network = hostonly.ensure(box, host, dhcp=not self.data["HostOnlyNoDHCP"], say=self.context.say)
        neighbours = Store(self.context.store).neighbours(self.context.name)
        if not legacy:
            taken = hostonly.addresses_in_use(box, self._vm) | {str(data.get("IPAddress")) for data in neighbours}
            self.data["IPAddress"] = hostonly.choose_address(network, self.data["IPAddress"], taken, self._avoid)
        known = "" if legacy else self.data["IPAddress"]
        for command in commands.host_only(self._vm, self.data, network.adapter.name, known):
            box(*command)
        ports = [int(data.get("SSHPort") or 0) for data in neighbours]
        self.data["SSHPort"] = hypervisor.free_port(int(self.data.get("SSHPort") or 0), ports)
        box.quietly(*commands.no_forward(self._vm))
        box(*commands.forward_ssh(self._vm, self.data["SSHPort"]))

    def _seed(self, prepare: Prepare) -> seed.Seed:
        identity = hypervisor.read_keys(self.context, Path(self.data["SSHKeyPath"]))
        prefix = ranges.parse_cidr(self.data["HostOnlyCIDR"]).network.prefixlen
        cards = (
            seed.Interface(hypervisor.colons(self.data["NatMac"])),
            seed.Interface(hypervisor.colons(self.data["HostOnlyMac"]), f"{self.data['IPAddress']}/{prefix}"),
        )
        setup = prepare(self.data["IPAddress"])
        return seed.Seed(self.context.name, cards, (identity.authorized,), identity.host_key, setup)

    def _wait(self, endpoint: SshEndpoint) -> None:
        """Until sshd answers. A machine that died meanwhile is not waited for."""
        self.context.say("Waiting for an IP...")
        running = True

        def answers() -> bool:
            nonlocal running
            if ssh.greets(endpoint):
                return True
            running = self.state() in _ON
            return not running

        if not _until(answers, self.boot_timeout):
            raise MachineError(
                f"Nothing answered by ssh within {self.boot_timeout:.0f} seconds\n{self.diagnose()}".strip()
            )
        if not running:
            raise MachineError(f"The machine ended while it started\n{self.diagnose()}".strip())

    def _discover(self, box: Box) -> None:
        """Ask the guest for the address that DHCP gave it."""
        mac = parse.mac_address(self._info(), 2)
        answer = ssh.run(self._endpoint(), "ip addr show")
        address = parse.guest_address(answer.text, mac)
        if address is None:
            raise MachineError(f"No IP found for MAC address {mac}")
        self.data["IPAddress"] = address

    def _endpoint(self) -> SshEndpoint:
        directory = self.context.directory
        key = Path(self.data.get("SSHKeyPath") or directory / "id_rsa")
        user = str(self.data.get("SSHUser") or "docker")
        return SshEndpoint("127.0.0.1", int(self.data["SSHPort"]), user, key, directory / "known_hosts",
                           self.context.name)  # fmt: skip

    def _cut(self, box: Box) -> None:
        try:
            box("controlvm", self._vm, "poweroff")
        except VBoxError:
            # It may have ended by itself meanwhile.
            if self.state() in _ON:
                raise
        if not _until(lambda: self.state() not in _ON, self.stop_timeout):
            raise MachineError("VirtualBox did not power the machine off")


def _until(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
