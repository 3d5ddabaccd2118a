"""The machines' network: a bridge in a network namespace of its own, one leg on the host.

    host: shoalXXXXXXXX 192.168.99.1/24 --veth-- [namespace: bridge br0] --veth-- eth0 of each machine

The bridge is not in the host's namespace because a host with Docker drops what crosses a bridge there (FORWARD DROP
with bridge-nf-call-iptables). Everything about a subnet lies in RUN/<subnet>/: `netns`, the namespace bound to a
file, and `members/`, a file per machine of whichever store and driver. The last member takes all of it away.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from shoal.machine.addresses import Register
from shoal.machine.errors import MachineError

RUN = Path("/run/shoal-machines")


class Subnet(Register):
    """One subnet of this computer, shared by all stores that use it."""

    def __init__(self, text: str, run: Path = RUN) -> None:
        super().__init__(text, run)
        self.netns = self._directory / "netns"
        self.link = "shoal" + hashlib.sha256(str(self.network).encode()).hexdigest()[:8]

    def conflict(self) -> str | None:
        """The host's interface that has an address in this subnet and is not ours, if there is one."""
        found = (link for link, address in host_addresses() if link != self.link and address.ip in self.network)
        return next(found, None)

    def ensure(self) -> None:
        """Make the namespace, the bridge and the host's leg where they are missing."""
        if self._is_up():
            return
        self._tear_down()
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.netns.touch()
        _run(["unshare", f"--net={self.netns}", "true"])
        peer = "host0"
        self._inside(f"""
            link set lo up
            link add br0 type bridge forward_delay 0
            link set br0 up
            link add {peer} type veth peer name {self.link} netns {os.getpid()}
            link set {peer} master br0 up
        """)
        _batch(["ip"], f"""
            link set {self.link} addrgenmode none
            address add {self.gateway}/{self.prefix} brd + dev {self.link}
            link set {self.link} up
        """)  # fmt: skip

    def plug(self, address: str, pid: int) -> None:
        """Give the network namespace of process `pid` an eth0 with `address`."""
        port = self.port(address)
        self.unplug(address)
        self._inside(f"""
            link add {port} type veth peer name eth0 netns {pid}
            link set {port} master br0 up
        """)
        _batch(["nsenter", f"--net=/proc/{pid}/ns/net", "ip"], f"""
            link set lo up
            link set eth0 address {hardware_address(address)}
            address add {address}/{self.prefix} brd + dev eth0
            link set eth0 up
        """)  # fmt: skip

    def unplug(self, address: str) -> None:
        """Take the machine's port away, if it is there."""
        if self.netns.exists():
            command = ["nsenter", f"--net={self.netns}", "ip", "link", "delete", self.port(address)]
            with suppress(MachineError):
                _run(command)

    @staticmethod
    def port(address: str) -> str:
        """The name of the bridge's port for the machine at `address`."""
        return f"m{int(ipaddress.IPv4Address(address)):08x}"

    def _is_up(self) -> bool:
        return os.path.ismount(self.netns) and Path(f"/sys/class/net/{self.link}").exists()

    def clear(self) -> None:
        """Take away what there is of the subnet."""
        self._tear_down()
        super().clear()

    def _tear_down(self) -> None:
        with suppress(MachineError):
            _run(["ip", "link", "delete", self.link])
        while os.path.ismount(self.netns):
            _run(["umount", str(self.netns)])
        with suppress(FileNotFoundError):
            self.netns.unlink()

    def _inside(self, commands: str) -> None:
        _batch(["nsenter", f"--net={self.netns}", "ip"], commands)


def host_addresses() -> list[tuple[str, ipaddress.IPv4Interface]]:
    """The interfaces of this computer with their addresses. Raises MachineError."""
    links = json.loads(_run(["ip", "-json", "-4", "address", "show"]).stdout or "[]")
    return [
        (str(link["ifname"]), ipaddress.IPv4Interface(f"{info['local']}/{info['prefixlen']}"))
        for link in links
        for info in link.get("addr_info", [])
    ]


def hardware_address(address: str) -> str:
    """The MAC address of the machine at `address`: a machine that takes an address over needs no new ARP entry."""
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *ipaddress.IPv4Address(address).packed))


def _batch(command: list[str], lines: str) -> None:
    _run([*command, "-batch", "-"], "\n".join(line.strip() for line in lines.splitlines() if line.strip()) + "\n")


def _run(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    # A user's PATH may lack the directories where Debian puts ip.
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        raise MachineError(f"{' '.join(command)}: {result.stderr.strip() or f'exit status {result.returncode}'}")
    return result
