"""docker-machine's flags of virtualbox and hyperv: their names, and what each does to the machine."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from ipaddress import IPv4Interface
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from shoal.cli.flags import declare, parse
from shoal.cli.machine_create import declared, value
from shoal.machine.driver import Context, driver_class
from shoal.machine.errors import MachineError, PreCreateError
from shoal.machine.hyperv import settings as hyperv
from shoal.machine.virtualbox import commands, hostonly, preflight
from shoal.machine.virtualbox.vboxmanage import Answer, Box

Default = str | int | bool
TABLE: dict[str, tuple[str, Default]] = {
    "virtualbox-memory": ("VIRTUALBOX_MEMORY_SIZE", 1024), "virtualbox-cpu-count": ("VIRTUALBOX_CPU_COUNT", 1),
    "virtualbox-disk-size": ("VIRTUALBOX_DISK_SIZE", 20000), "virtualbox-boot2docker-url": ("VIRTUALBOX_BOOT2DOCKER_URL", ""),
    "virtualbox-import-boot2docker-vm": ("VIRTUALBOX_BOOT2DOCKER_IMPORT_VM", ""),
    "virtualbox-host-dns-resolver": ("VIRTUALBOX_HOST_DNS_RESOLVER", False),
    "virtualbox-no-dns-proxy": ("VIRTUALBOX_NO_DNS_PROXY", False), "virtualbox-nat-nictype": ("VIRTUALBOX_NAT_NICTYPE", "82540EM"),
    "virtualbox-hostonly-cidr": ("VIRTUALBOX_HOSTONLY_CIDR", "192.168.99.1/24"),
    "virtualbox-hostonly-nictype": ("VIRTUALBOX_HOSTONLY_NIC_TYPE", "82540EM"),
    "virtualbox-hostonly-nicpromisc": ("VIRTUALBOX_HOSTONLY_NIC_PROMISC", "deny"),
    "virtualbox-hostonly-no-dhcp": ("VIRTUALBOX_HOSTONLY_NO_DHCP", False), "virtualbox-ui-type": ("VIRTUALBOX_UI_TYPE", "headless"),
    "virtualbox-no-share": ("VIRTUALBOX_NO_SHARE", False), "virtualbox-share-folder": ("VIRTUALBOX_SHARE_FOLDER", ""),
    "virtualbox-no-vtx-check": ("VIRTUALBOX_NO_VTX_CHECK", False),
    "hyperv-boot2docker-url": ("HYPERV_BOOT2DOCKER_URL", ""), "hyperv-virtual-switch": ("HYPERV_VIRTUAL_SWITCH", ""),
    "hyperv-disk-size": ("HYPERV_DISK_SIZE", 20000), "hyperv-memory": ("HYPERV_MEMORY", 1024),
    "hyperv-cpu-count": ("HYPERV_CPU_COUNT", 1), "hyperv-static-macaddress": ("HYPERV_STATIC_MACADDRESS", ""),
    "hyperv-vlan-id": ("HYPERV_VLAN_ID", 0), "hyperv-disable-dynamic-memory": ("HYPERV_DISABLE_DYNAMIC_MEMORY", False),
}  # fmt: skip
"""docker-machine's flags, variables and defaults."""
OURS: dict[str, Default] = {
    "virtualbox-nat-nictype": "virtio", "virtualbox-hostonly-nictype": "virtio", "virtualbox-hostonly-cidr": "",
}  # fmt: skip
"""Other defaults: what our image drives, and a network that VirtualBox of today allows (chosen when it is known)."""


@pytest.mark.parametrize(("driver", "count"), [("virtualbox", 16), ("hyperv", 8)])
def test_the_flags_are_docker_machines(driver: str, count: int) -> None:
    """Names, variables and defaults are docker-machine's, and there are no others."""
    flags = {flag.name: (flag.environment, flag.default) for flag in driver_class(driver).flags()}
    mine = {name: row for name, row in TABLE.items() if name.startswith(f"{driver}-")}
    assert flags == {name: (variable, OURS.get(name, default)) for name, (variable, default) in mine.items()}
    assert len(flags) == count


SAMPLES: dict[type, tuple[str, Any]] = {str: ("a:b", "a:b"), int: ("0x10", 16), bool: ("true", True)}


@pytest.mark.parametrize("name", TABLE)
def test_each_variable_is_read(name: str) -> None:
    """A variable gives its flag's value; the flag on the command line wins over it."""
    flags = driver_class(name.partition("-")[0]).flags()
    flag = next(flag for flag in flags if flag.name == name)
    lines, (text, found) = declare(declared(flags)), SAMPLES[type(flag.default)]
    assert value(parse(lines, []), flag, {TABLE[name][0]: text}) == found
    assert value(parse(lines, []), flag, {}) == flag.default
    other = {str: ("c", "c"), int: ("7", 7), bool: ("false", False)}[type(flag.default)]
    assert value(parse(lines, [f"--{name}={other[0]}"]), flag, {TABLE[name][0]: text}) == other[1]


# --- VirtualBox --------------------------------------------------------------------------------------------------------


def context(folder: Path, said: list[str]) -> Context:
    directory = folder / "machines" / "m1"
    directory.mkdir(parents=True, exist_ok=True)
    return Context("m1", directory, folder, said.append)


def configured(folder: Path, driver: str, **flags: Any) -> tuple[dict[str, Any], list[str]]:
    """A machine's data, and what was said about the flags."""
    said: list[str] = []
    made = driver_class(driver)(context(folder, said), {})
    made.configure({f"{driver}-{name.replace('_', '-')}": value for name, value in flags.items()})
    return made.data, said


def box(answers: dict[str, str], calls: list[tuple[str, ...]]) -> Box:
    """A VBoxManage that answers by what it is told."""

    def run(command: Sequence[str], timeout: float) -> Answer:
        calls.append(tuple(command[1:]))
        return Answer(0, answers.get(" ".join(command[1:]), ""), "")

    return Box("VBoxManage", run, pause=0)


def pairs(command: Sequence[str]) -> set[tuple[str, str]]:
    return set(pairwise(command))


UUID = "5b7bb9c7-1b25-4b22-8f4b-0a3f3f2b1c11"
FILES = commands.Files(Path("/m"), Path("/m/disk.vmdk"), Path("/m/shoal.iso"))


def test_everything_that_can_be_asked_of_virtualbox(tmp_path: Path) -> None:
    """Every flag that is not the default reaches VBoxManage: DNS, cards, promiscuous mode, shared directory, screen."""
    image = tmp_path / "own.iso"
    image.touch()
    data, said = configured(
        tmp_path, "virtualbox", memory=512, cpu_count=3, disk_size=1000, boot2docker_url=str(image), host_dns_resolver=True,
        no_dns_proxy=True, nat_nictype="Am79C973", hostonly_cidr="192.168.57.1/24", hostonly_nictype="82545EM",
        hostonly_nicpromisc="allow-all", hostonly_no_dhcp=True, ui_type="separate", share_folder="/home/sam:work",
        no_vtx_check=True,
    )  # fmt: skip
    assert said == []
    made = commands.furnish(UUID, data, FILES)
    assert {("--memory", "512"), ("--cpus", "3"), ("--natdnshostresolver1", "on"), ("--natdnsproxy1", "off")} <= pairs(
        made[0]
    )
    assert ("--nictype1", "Am79C973") in pairs(made[1])
    assert made[5:] == [
        ("guestproperty", "set", UUID, "/VirtualBox/GuestAdd/SharedFolders/MountPrefix", "/"),
        ("guestproperty", "set", UUID, "/VirtualBox/GuestAdd/SharedFolders/MountDir", "/"),
        ("sharedfolder", "add", UUID, "--name", "work", "--hostpath", "/home/sam", "--automount"),
        ("setextradata", UUID, "VBoxInternal2/SharedFoldersEnableSymlinksCreate/work", "1"),
    ]
    card, note = commands.host_only(UUID, data, "vboxnet3", "192.168.57.101")
    assert {("--nictype2", "82545EM"), ("--nicpromisc2", "allow-all"), ("--hostonlyadapter2", "vboxnet3"),
            ("--macaddress2", data["HostOnlyMac"])} <= pairs(card)  # fmt: skip
    assert note == ("guestproperty", "set", UUID, "/Shoal/Address", "192.168.57.101")
    kept = ("DiskSize", "UIType", "HostOnlyCIDR", "HostOnlyNoDHCP", "NoVTXCheck", "Boot2DockerURL")
    assert [data[key] for key in kept] == [1000, "separate", "192.168.57.1/24", True, True, str(image)]


def test_what_virtualbox_gets_when_nothing_is_asked(tmp_path: Path) -> None:
    """The defaults: this computer shares nothing and resolves nothing but through the proxy."""
    data, said = configured(tmp_path, "virtualbox")
    assert said == []
    made = commands.furnish(UUID, data, FILES)
    assert {("--natdnshostresolver1", "off"), ("--natdnsproxy1", "on")} <= pairs(made[0])
    assert len(made) == 5, "no shared directory"
    assert ("--nicpromisc2", "deny") in pairs(commands.host_only(UUID, data, "v", "")[0])


@pytest.mark.parametrize(
    ("text", "parts"),
    [("/a:b", ("/a", "b")), ("/a:b:c", ("/a:b", "c")), (r"C:\Users\sam:home", (r"C:\Users\sam", "home")), ("C:/x:y", ("C:/x", "y"))],
)  # fmt: skip
def test_a_shared_directory_is_split_at_the_last_colon(tmp_path: Path, text: str, parts: tuple[str, str]) -> None:
    """A drive's colon is not the one that separates."""
    data, _ = configured(tmp_path, "virtualbox", share_folder=text)
    added = next(command for command in commands.furnish(UUID, data, FILES) if command[0] == "sharedfolder")
    assert (added[6], added[4]) == parts


@pytest.mark.parametrize("text", [":x", "/a:", "a:b", r"C:\x", "/a:b/c", "/a"])
def test_a_bad_shared_directory_is_refused(tmp_path: Path, text: str) -> None:
    """Both parts are needed, and the directory's whole path."""
    with pytest.raises(MachineError, match="invalid --virtualbox-share-folder"):
        configured(tmp_path, "virtualbox", share_folder=text)


ADAPTER = (
    "Name:            vboxnet0\nIPAddress:       192.168.59.1\nNetworkMask:     255.255.255.0\n"
    "VBoxNetworkName: HostInterfaceNetworking-vboxnet0\n\n"
)


def test_no_dhcp_means_none_is_set_up() -> None:
    """With --virtualbox-hostonly-no-dhcp a network is used as it is; a server that somebody set up is respected."""
    calls: list[tuple[str, ...]] = []
    server = (
        "NetworkName:    HostInterfaceNetworking-vboxnet0\nIP:             192.168.59.100\nNetworkMask:    255.255.255.0\n"
        "lowerIPAddress: 192.168.59.101\nupperIPAddress: 192.168.59.254\nEnabled:        Yes\n"
    )
    host = IPv4Interface("192.168.59.1/24")
    for servers, first in (("", "192.168.59.101"), (server, "192.168.59.2")):
        answers = {"list hostonlyifs": ADAPTER, "list dhcpservers": servers}
        network = hostonly.ensure(box(answers, calls), host, dhcp=False, say=lambda line: None)
        assert (network.dhcp is None) is not bool(servers)
        assert hostonly.choose_address(network, "", ()) == first
    assert {call[0] for call in calls} == {"list"}


@pytest.mark.parametrize("unchecked", [True, False])
def test_the_processor_is_checked_unless_told_not_to(
    unchecked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--virtualbox-no-vtx-check takes the user's word for it: VirtualBox is not even asked."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    image = tmp_path / "own.iso"
    image.touch()
    data, _ = configured(
        tmp_path, "virtualbox", no_vtx_check=unchecked, boot2docker_url=str(image), hostonly_cidr="192.168.56.1/24"
    )
    calls: list[tuple[str, ...]] = []
    answers = {"--version": "7.0.2r1\n", "list hostinfo": "Processor supports HW virtualization: no\n"}
    if unchecked:
        preflight.check(lambda: box(answers, calls), data, context(tmp_path, []))
    else:
        with pytest.raises(PreCreateError, match="VT-X/AMD-v"):
            preflight.check(lambda: box(answers, calls), data, context(tmp_path, []))
    assert (("list", "hostinfo") in calls) is not unchecked


# --- Hyper-V -----------------------------------------------------------------------------------------------------------


def test_everything_that_can_be_asked_of_hyper_v(tmp_path: Path) -> None:
    """Every flag becomes docker-machine's key; an image of one's own is taken from a path or a file: URL."""
    image = tmp_path / "own image.iso"
    image.touch()
    for text in (str(image), image.as_uri()):
        data, said = configured(
            tmp_path, "hyperv", memory=512, cpu_count=3, disk_size=1000, boot2docker_url=text, virtual_switch="s w",
            static_macaddress="00:15:5d:0a:0b:0c", vlan_id=7, disable_dynamic_memory=True,
        )  # fmt: skip
        expected = {"MemSize": 512, "CPU": 3, "DiskSize": 1000, "Boot2DockerURL": str(image), "VSwitch": "s w",
                    "MacAddr": "00155D0A0B0C", "VLanID": 7, "DisableDynamicMemory": True}  # fmt: skip
        assert ({key: data[key] for key in expected}, said) == (expected, [])


def test_an_image_elsewhere_is_said_to_be_ignored(tmp_path: Path) -> None:
    """Nothing is downloaded; a path where nothing is, is an error."""
    data, said = configured(tmp_path, "hyperv", boot2docker_url="https://example.org/b.iso")
    assert (data["Boot2DockerURL"], len(said)) == ("", 1)
    assert "--hyperv-boot2docker-url is ignored" in said[0]
    with pytest.raises(MachineError, match="no such file"):
        configured(tmp_path, "hyperv", boot2docker_url=str(tmp_path / "nosuch.iso"))


@pytest.mark.parametrize(
    ("flag", "key", "good", "bad"),
    [("vlan-id", "VLanID", (0, 1, 4094), (-1, 4095)), ("cpu-count", "CPU", (1, 64), (0, -1)), ("memory", "MemSize", (128,), (127, 0)),
     ("disk-size", "DiskSize", (100,), (99,))],
)  # fmt: skip
def test_numbers_of_hyper_v_have_bounds(flag: str, key: str, good: Sequence[int], bad: Sequence[int]) -> None:
    """Refused before anything is made, by the flag's name."""
    for number in good:
        assert hyperv.settings({f"hyperv-{flag}": number}, lambda line: None)[key] == number
    for number in bad:
        with pytest.raises(MachineError, match=f"invalid --hyperv-{flag} {number}: "):
            hyperv.settings({f"hyperv-{flag}": number}, lambda line: None)
