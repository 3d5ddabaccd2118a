"""A virtual machine that boots the image under plain QEMU: no driver between the test and the image."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from shoal.machine import certs, keys, probe, seed, ssh
from shoal.machine.certs import Pair
from shoal.machine.driver import EngineSetup, SshEndpoint
from shoal.machine.image import Image
from tests.waiting import until_sync

BOOT = 180.0
"""Seconds that a boot may take: software emulation, on a computer that tests other things too."""

NAT, STATIC = "52:54:00:6f:00:01", "52:54:00:6f:00:02"
ADDRESS = "192.168.111.10"


class Vm:
    """A machine in `directory`: its disk and its identities outlive `start` and `stop`."""

    def __init__(self, directory: Path, image: Image) -> None:
        self.directory, self._image = directory, image
        self.disk = directory / "disk.raw"
        self._process: subprocess.Popen[bytes] | None = None
        self.key, self.host_key = keys.generate(), keys.generate()
        self.key_file = directory / "key"
        self.key_file.touch(mode=0o600)
        self.key_file.write_text(self.key.private)
        (directory / "known_hosts").write_text(f"m1 {self.host_key.public}")
        self.ssh_port, self.api_port = _free_port(), _free_port()
        with self.disk.open("wb") as disk:
            disk.truncate(4 << 30)

    def setup(self, *, labels: Sequence[str] = ()) -> EngineSetup:
        """An engine with TLS; the client's side of it lies in the directory."""
        authority, client, server = (
            Pair(self.directory / f"{name}.pem", self.directory / f"{key}.pem")
            for name, key in (("ca", "ca-key"), ("cert", "key"), ("server", "server-key"))
        )
        certs.ensure_authority(authority, datetime.now(UTC))
        certs.ensure_client(client, authority, datetime.now(UTC))
        certs.issue_server(server, authority, "m1", ["m1", "127.0.0.1"], datetime.now(UTC))
        at = "/etc/shoal/tls"
        arguments = ["-H", "unix:///var/run/docker.sock", "-H", "tcp://0.0.0.0:2376", "--tlsverify",
                     "--tlscacert", f"{at}/ca.pem", "--tlscert", f"{at}/server.pem", "--tlskey", f"{at}/server-key.pem",
                     *(word for label in labels for word in ("--label", label))]  # fmt: skip
        files = {
            f"{at}/ca.pem": (0o644, authority.certificate.read_bytes()),
            f"{at}/server.pem": (0o644, server.certificate.read_bytes()),
            f"{at}/server-key.pem": (0o600, server.key.read_bytes()),
        }
        return EngineSetup(files, arguments, {"SEEDED": "a b"})

    def write_seed(self, *, address: str = ADDRESS, setup: EngineSetup | None = None) -> None:
        """Tell the machine who it is, while it is off."""
        interfaces = (seed.Interface(NAT), seed.Interface(STATIC, f"{address}/24"))
        content = seed.build(
            seed.Seed("m1", interfaces, (self.key.public,), self.host_key.private.encode(), setup)
        )  # fmt: skip
        with self.disk.open("r+b") as disk:
            disk.write(content.ljust(seed.LIMIT, b"\0"))

    def start(self, *, iso: bool = False) -> None:
        """Switch it on, from the kernel directly or as a BIOS does it."""
        # From the ISO with the disks that VirtualBox and Hyper-V offer: IDE.
        disk = f"file={self.disk},format=raw,discard=unmap,if={'ide' if iso else 'virtio'}"
        boot = ["-cdrom", str(self._image.iso), "-boot", "d"]
        if not iso:
            boot = ["-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd),
                    "-append", "console=ttyS0 quiet loglevel=1",
                    "-drive", f"file={self._image.root},format=raw,if=virtio,readonly=on"]  # fmt: skip
        forward = f"hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22,hostfwd=tcp:127.0.0.1:{self.api_port}-:2376"
        self._process = subprocess.Popen(
            ["qemu-system-x86_64", "-M", "pc,accel=tcg", "-cpu", "max", "-m", "512", "-nodefaults",
             "-no-user-config", "-display", "none", *boot, "-drive", disk, "-serial", f"file:{self.directory}/console",
             "-netdev", f"user,id=n0,{forward}", "-device", f"virtio-net-pci,netdev=n0,mac={NAT},romfile=",
             "-netdev", "user,id=n1,restrict=on", "-device", f"virtio-net-pci,netdev=n1,mac={STATIC},romfile=",
             "-device", "virtio-rng-pci", "-qmp", f"unix:{self.directory}/qmp,server=on,wait=off"],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        ssh.wait_for_banner(self.endpoint, BOOT)

    @property
    def endpoint(self) -> SshEndpoint:
        """Where its sshd is; its key is known before it first runs."""
        return SshEndpoint("127.0.0.1", self.ssh_port, "root", self.key_file, self.directory / "known_hosts", "m1")

    def run(self, command: str, *, input: bytes = b"", timeout: float = 120.0) -> str:
        """What the command prints. It must succeed."""
        try:
            result = ssh.run(self.endpoint, command, input=input, timeout=timeout)
        except ssh.SshError as fault:
            raise AssertionError(f"{command}: {fault}\n{self.console()}") from fault
        assert result.status == 0, (command, result, self.console())
        return result.output.decode()

    def wait_for_engine(self) -> str:
        """The version of the engine, once it answers with TLS."""
        return probe.wait_for_engine(f"tcp://127.0.0.1:{self.api_port}", "m1", self.directory, BOOT)

    def console(self) -> str:
        """What it said on its serial line."""
        return (self.directory / "console").read_text(errors="replace")

    def power_button(self) -> None:
        """Press it, and wait until the machine is off."""
        self._command("system_powerdown")
        self.wait_off()

    def wait_off(self) -> None:
        """Until it has switched itself off."""
        assert self._process is not None
        until_sync(lambda: self._process is not None and self._process.poll() is not None, 60.0)
        assert self._process.returncode == 0
        self._process = None

    def end(self) -> None:
        """Pull the plug, if it is still on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _command(self, name: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.directory / "qmp"))
            stream = connection.makefile("rwb")
            stream.readline()
            for command in ("qmp_capabilities", name):
                stream.write(json.dumps({"execute": command}).encode() + b"\n")
                stream.flush()
                assert b"error" not in stream.readline()


def _free_port() -> int:
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        port: int = probing.getsockname()[1]
        return port
