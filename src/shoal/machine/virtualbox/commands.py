"""What a machine is made of, as VBoxManage commands. Pure.

The options are those that VirtualBox 5 knows and 7 still takes. The image's kernel wants virtio network cards and an
IDE controller that is a PIIX4. The serial port is the guest's console, written into a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from shoal.machine.virtualbox.hostonly import PROPERTY
from shoal.machine.virtualbox.settings import split_share

Command = tuple[str, ...]

CONTROLLER = "IDE"
CONSOLE = "console.log"


class Files(NamedTuple):
    """Where a machine's parts lie."""

    folder: Path
    disk: Path
    iso: Path


def register(name: str, uuid: str, folder: Path) -> Command:
    """Make an empty machine, known from then on."""
    return ("createvm", "--basefolder", str(folder), "--name", name, "--uuid", uuid, "--register")


def furnish(uuid: str, data: Mapping[str, Any], files: Files) -> Sequence[Command]:
    """Everything that a registered machine needs and that does not depend on networks."""
    commands: list[Command] = [
        (
            "modifyvm", uuid, "--firmware", "bios", "--ostype", "Linux26_64", "--cpus", str(data["CPU"]),
            "--memory", str(data["Memory"]), "--acpi", "on", "--ioapic", "on", "--rtcuseutc", "on",
            "--natdnshostresolver1", _switch(data["HostDNSResolver"]), "--natdnsproxy1", _switch(data["DNSProxy"]),
            "--boot1", "dvd", "--boot2", "none", "--boot3", "none", "--boot4", "none",
            "--uart1", "0x3F8", "4", "--uartmode1", "file", str(files.folder / CONSOLE),
        ),
        (
            "modifyvm", uuid, "--nic1", "nat", "--nictype1", data["NatNicType"], "--cableconnected1", "on",
            "--macaddress1", data["NatMac"],
        ),
        ("storagectl", uuid, "--name", CONTROLLER, "--add", "ide", "--controller", "PIIX4", "--hostiocache", "on"),
        _attach(uuid, 0, "hdd", files.disk),
        _attach(uuid, 1, "dvddrive", files.iso),
    ]  # fmt: skip
    if data["ShareFolder"]:
        folder, name = split_share(data["ShareFolder"])
        commands += [
            ("guestproperty", "set", uuid, "/VirtualBox/GuestAdd/SharedFolders/MountPrefix", "/"),
            ("guestproperty", "set", uuid, "/VirtualBox/GuestAdd/SharedFolders/MountDir", "/"),
            ("sharedfolder", "add", uuid, "--name", name, "--hostpath", folder, "--automount"),
            ("setextradata", uuid, f"VBoxInternal2/SharedFoldersEnableSymlinksCreate/{name}", "1"),
        ]
    return commands


def _attach(uuid: str, port: int, kind: str, medium: Path) -> Command:
    return ("storageattach", uuid, "--storagectl", CONTROLLER, "--port", str(port), "--device", "0",
            "--type", kind, "--medium", str(medium))  # fmt: skip


def _switch(on: object) -> str:
    return "on" if on else "off"


def host_only(uuid: str, data: Mapping[str, Any], adapter: str, address: str) -> Sequence[Command]:
    """Attach the second card to `adapter`, and write down which address the machine has there."""
    card: Command = (
        "modifyvm", uuid, "--nic2", "hostonly", "--nictype2", data["HostOnlyNicType"],
        "--nicpromisc2", data["HostOnlyPromiscMode"], "--hostonlyadapter2", adapter, "--cableconnected2", "on",
    )  # fmt: skip
    if data.get("HostOnlyMac"):
        card += ("--macaddress2", data["HostOnlyMac"])
    return (card, ("guestproperty", "set", uuid, PROPERTY, address)) if address else (card,)


def forward_ssh(uuid: str, port: int) -> Command:
    """Port `port` of this computer's loopback leads to the machine's sshd."""
    return ("modifyvm", uuid, "--natpf1", f"ssh,tcp,127.0.0.1,{port},,22")


def no_forward(uuid: str) -> Command:
    """Take the rule away; fails when there is none."""
    return ("modifyvm", uuid, "--natpf1", "delete", "ssh")
