"""LocalDriver: machines that are namespaces on this computer, up in a fraction of a second."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shoal.machine import ssh
from shoal.machine.addresses import DEFAULT, Member, check_address, memberships, parse_subnet
from shoal.machine.driver import Context, EngineSetup, Flag, Prepare, SshEndpoint, State, Traits
from shoal.machine.errors import MachineError, NotRunning, PreCreateError
from shoal.machine.files import write_atomic
from shoal.machine.local import boot, cgroups, disk
from shoal.machine.store import Store
from shoal.machine.subnet import RUN, Subnet

ENGINE_PORT = 2376
_ENGINE_PROCESS = (
    "grep -lz -e ^/var/lib/shoal$ $(grep -l '^PPid:.1$' /proc/[0-9]*/status | sed s/status$/cmdline/) | "
    "head -n 1 | cut -d / -f 3"
)
_TOOLS = {"ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux", "sshd": "openssh-server"}


class LocalDriver:
    """One local machine. `data`: Subnet, IPAddress, DockerCLI, Engine, Made, and docker-machine's common fields."""

    traits = Traits(ssh_timeout=60.0, engine_timeout=30.0)

    def __init__(self, context: Context, data: dict[str, Any]) -> None:
        self.context = context
        self.data = data
        self._layout = disk.Layout.of(context.directory)
        self._avoid: str | None = None

    @staticmethod
    def flags() -> Sequence[Flag]:
        """`--local-*`."""
        return (
            Flag("local-address", "Address of the machine, instead of the lowest free one", ""),
            Flag("local-docker", "docker command inside the machine, instead of Shoal's own", "MACHINE_LOCAL_DOCKER"),
            Flag("local-engine", "Engine to run instead of shoald; takes dockerd's flags", "MACHINE_LOCAL_ENGINE"),
            Flag("local-subnet", "Private subnet of the machines on this computer", "MACHINE_LOCAL_SUBNET", DEFAULT),
        )

    def configure(self, values: Mapping[str, Any]) -> None:
        """Take the flags' values. Raises MachineError for a subnet or a program that cannot be used."""
        for option in ("local-docker", "local-engine"):
            path = values.get(option)
            if path and not os.access(path, os.X_OK):
                raise MachineError(f"--{option}: {path} is not a program")
        subnet, address = str(values.get("local-subnet") or DEFAULT), str(values.get("local-address") or "")
        if address:
            check_address(parse_subnet(subnet), address)
        self.data.update(
            IPAddress=address, MachineName=self.context.name, SSHUser="root", SSHPort=22,
            SSHKeyPath=str(self.context.directory / "id_ed25519"), StorePath=str(self.context.store),
            Subnet=str(parse_subnet(subnet)),
            DockerCLI=os.path.abspath(values["local-docker"]) if values.get("local-docker") else "",
            Engine=os.path.abspath(values["local-engine"]) if values.get("local-engine") else "",
        )  # fmt: skip

    def check(self) -> None:
        """Whether this computer can: Linux, root, the tools, cgroups, a free subnet, a disk for the store."""
        if platform.system() != "Linux":
            raise PreCreateError('Driver "local" not supported on this platform.')
        if os.geteuid() != 0:
            raise PreCreateError("local machines need root: run this command as root, for example with sudo")
        search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        for tool, package in _TOOLS.items():
            if not shutil.which(tool, path=search):
                raise PreCreateError(f"{tool} not found: install the package {package}")
        if not cgroups.current_hierarchies():
            raise PreCreateError("no cgroup hierarchy is mounted at /sys/fs/cgroup")
        if interface := self._subnet().conflict():
            raise PreCreateError(
                f"subnet {self.data['Subnet']} conflicts with the network address of the host's interface {interface}; "
                "choose another one with --local-subnet"
            )
        if _on_overlay(self.context.store):
            raise PreCreateError(
                f"{self.context.store} lies on an overlay filesystem, which cannot hold machines; "
                "set MACHINE_STORAGE_PATH to a directory on a disk"
            )

    def create(self, prepare: Prepare) -> None:
        """Make keys and directories, and start."""
        from shoal.machine import keys

        self.context.say("Creating SSH key...")
        write_atomic(Path(self.data["SSHKeyPath"]), (pair := keys.generate()).private.encode(), 0o600)
        write_atomic(Path(self.data["SSHKeyPath"] + ".pub"), pair.public.encode(), 0o600)
        host = keys.generate()
        write_atomic(self._known_hosts(), f"{self.context.name} {host.public}".encode(), 0o600)
        disk.make_directories(self._layout)
        self.context.say("Starting the machine...")
        self._boot(prepare, disk.first_files(self.context.name, host.private, pair.public))
        self.data["Made"] = True

    def start(self, prepare: Prepare) -> None:
        """Start it, at its old address unless that was given away or a new one was asked for."""
        if not self.data.get("Made"):
            raise MachineError(f'"{self.context.name}" was never finished: remove it and create it again')
        self._boot(prepare)

    def provision(self, prepare: Prepare) -> None:
        """Hand the certificates over. The engine's options are those of the last start."""
        from shoal.machine.install import renew

        setup = prepare(self.address())
        renew.hand_over(self.ssh(), setup.files)
        running = ssh.run(self.ssh(), f"tr '\\0' '\\n' </proc/$({_ENGINE_PROCESS})/cmdline").output.decode()
        if "\n".join(setup.arguments) not in running:
            self.context.say(f'Other engine options: they count from the next restart of "{self.context.name}" on.')

    def upgrade(self, prepare: Prepare) -> None:
        """The machine has this computer's Shoal: its engine only has to begin again."""
        self.provision(prepare)
        self.restart_engine()

    def restart_engine(self) -> None:
        """End the engine: pid 1 starts it again. Containers go on."""
        done = ssh.run(self.ssh(), f"pid=$({_ENGINE_PROCESS}) && kill $pid && tail --pid=$pid -f /dev/null")
        if done.status:
            raise MachineError(f"the engine does not end: {done.trouble}")

    def new_address(self) -> None:
        """Have another address at the next start."""
        self._avoid = self.data.get("IPAddress")

    def stop(self) -> None:
        """shoald ends first, then the rest."""
        self._end(kill=False)

    def kill(self) -> None:
        """Every process of it ends at once."""
        self._end(kill=True)

    def restart(self, prepare: Prepare) -> None:
        """Stop and start."""
        self.stop()
        self.start(prepare)

    def remove(self) -> None:
        """End it and take away its namespaces, cgroups, address and disk; the network with the last machine."""
        self._end(kill=True)
        subnet = self._subnet()
        with subnet.lock():
            subnet.dismiss(self.context.directory)
        disk.remove_directories(self.context.directory)

    @staticmethod
    def abandon(context: Context) -> None:
        """Remove what a machine left whose record is lost: its run file and its membership tell enough."""
        for subnet, address in memberships(context.directory, RUN) or [(DEFAULT, "")]:
            LocalDriver(context, {"Subnet": subnet, "IPAddress": address}).remove()

    def state(self) -> State:
        """Running while its pid 1 lives."""
        return State.RUNNING if boot.running(self._layout) else State.STOPPED

    def address(self) -> str:
        """Its address while it runs."""
        if self.state() is not State.RUNNING:
            raise NotRunning
        return str(self.data["IPAddress"])

    def url(self) -> str:
        """Its Engine API."""
        return f"tcp://{self.address()}:{ENGINE_PORT}"

    def ssh(self) -> SshEndpoint:
        """Its sshd, whose key is pinned since the machine was made."""
        key = Path(self.data["SSHKeyPath"])
        return SshEndpoint(self.address(), 22, self.data["SSHUser"], key, self._known_hosts(), self.context.name)

    def diagnose(self) -> str:
        """The end of shoald's log."""
        try:
            lines = (self._layout.disk / "var/log/shoald.log").read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-15:])

    def _boot(self, prepare: Prepare, first: list[disk.File] | None = None) -> None:
        self.context.say("Check network to re-create if needed...")
        disk.make_directories(self._layout)
        # What a machine that was killed from outside left behind.
        boot.halt(self._layout, kill=True)
        subnet = self._subnet()
        with subnet.lock():
            wanted = self.data.get("IPAddress") or None
            address = subnet.enrol(self.context.directory, wanted, self._neighbours(), self._avoid)
            if first is not None and wanted and address != wanted:
                raise MachineError(f"address {wanted} is already in use")
            self.data["IPAddress"] = address
            subnet.ensure()
        setup = prepare(address)
        spec = {
            "group": boot.group_name(self.context.directory), "hostname": self.context.name,
            "disk": str(self._layout.disk), "layers": disk.layers(self._layout), "binds": self._binds(),
            "hierarchies": [(h.mount_point.name, h.options) for h in cgroups.visible(cgroups.current_hierarchies())],
            "first_boot": first is not None, "hidden": disk.HIDDEN, "stop_timeout": boot.STOP_TIMEOUT,
            "files": [
                *(first or []),
                *self._boot_files(address, subnet.gateway),
                *_texts(setup),
            ],
            "services": self._services(setup),
        }  # fmt: skip
        boot.launch(self._layout, spec, subnet, address)
        self.context.say("Waiting for an IP...")

    def _boot_files(self, address: str, gateway: str) -> list[disk.File]:
        return disk.boot_files(self.context.name, address, gateway, docker=not self.data.get("DockerCLI"))

    def _services(self, setup: EngineSetup) -> list[dict[str, Any]]:
        engine = self.data.get("Engine") or "/usr/local/bin/shoald"
        roots = ["--data-root", "/var/lib/shoal", "--exec-root", "/run/shoal"]
        return [
            {"name": "sshd", "argv": [_sshd(), "-D", "-e", "-f", "/etc/ssh/sshd_config"],
             "environment": disk.environment()},
            {"name": "shoald", "argv": [engine, *setup.arguments, *roots],
             "environment": disk.environment(setup.environment)},
        ]  # fmt: skip

    def _binds(self) -> list[tuple[str, str, bool]]:
        binds = disk.program_binds()
        if self.data.get("DockerCLI"):
            binds.append((os.path.realpath(self.data["DockerCLI"]), "/usr/local/bin/docker", True))
        engine = self.data.get("Engine")
        if engine and engine.split("/")[1] not in disk.LAYERED:
            binds.append((os.path.realpath(engine), engine, True))
        return binds

    def _end(self, *, kill: bool) -> None:
        boot.halt(self._layout, kill=kill)
        subnet, address = self._subnet(), str(self.data.get("IPAddress"))
        # By now the address may be another machine's.
        if Member(str(self.context.directory), address) in subnet.members():
            subnet.unplug(address)

    def _subnet(self) -> Subnet:
        return Subnet(self.data.get("Subnet") or DEFAULT)

    def _known_hosts(self) -> Path:
        return self.context.directory / "known_hosts"

    def _neighbours(self) -> list[str]:
        """The addresses that other machines of this store have, running or not."""
        return [str(data.get("IPAddress", "")) for data in Store(self.context.store).neighbours(self.context.name)]


def _texts(setup: EngineSetup) -> list[disk.File]:
    return [(path, mode, data.decode()) for path, (mode, data) in setup.files.items()]


def _sshd() -> str:
    return shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin") or "/usr/sbin/sshd"


def _on_overlay(path: Path) -> bool:
    """Whether files below `path` (or what exists of it) lie on an overlay filesystem."""
    while not path.exists():
        path = path.parent
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split(" ")[2] == wanted and line.partition(" - ")[2].startswith("overlay "):
            return True
    return False
