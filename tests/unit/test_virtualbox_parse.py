"""What VBoxManage prints and what users write, as values."""

from __future__ import annotations

import uuid
from ipaddress import IPv4Interface, IPv4Network
from pathlib import PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.machine.driver import State
from shoal.machine.errors import MachineError
from shoal.machine.virtualbox import disk, parse, ranges, settings, vboxmanage

INFO = """name="myvm1"
groups="/"
ostype="Linux 2.6 / 3.x / 4.x (64-bit)"
UUID="5b7bb9c7-1b25-4b22-8f4b-0a3f3f2b1c11"
CfgFile="C:\\\\Users\\\\me\\\\.docker\\\\machine\\\\machines\\\\myvm1\\\\myvm1\\\\myvm1.vbox"
memory=1024
"IDE-0-0"="/m/disk.vmdk"
VMState="{state}"
nic1="nat"
macaddress1="080027D95159"
macaddress2="080027d95158"
Forwarding(0)="ssh,tcp,127.0.0.1,50022,,22"
"""

ADAPTERS = """Name:            vboxnet0
GUID:            786f6276-656e-4074-8000-0a0027000000
DHCP:            Disabled
IPAddress:       192.168.99.1
NetworkMask:     255.255.255.0
IPV6Address:     fe80::800:27ff:fe00:0
IPV6NetworkMaskPrefixLength: 64
HardwareAddress: 0a:00:27:00:00:00
MediumType:      Ethernet
Wireless:        No
Status:          Up
VBoxNetworkName: HostInterfaceNetworking-vboxnet0

Name:            VirtualBox Host-Only Ethernet Adapter #2
GUID:            786f6276-656e-4174-8000-0a0027000001
DHCP:            Disabled
IPAddress:       0.0.0.0
NetworkMask:     0.0.0.0
VBoxNetworkName: HostInterfaceNetworking-VirtualBox Host-Only Ethernet Adapter #2

"""

OLD_DHCP = """NetworkName:    HostInterfaceNetworking-vboxnet0
IP:             192.168.99.6
NetworkMask:    255.255.255.0
lowerIPAddress: 192.168.99.100
upperIPAddress: 192.168.99.254
Enabled:        Yes

"""

NEW_DHCP = """NetworkName:    HostInterfaceNetworking-vboxnet0
Dhcpd IP:       192.168.99.6
LowerIPAddress: 192.168.99.100
UpperIPAddress: 192.168.99.254
NetworkMask:    255.255.255.0
Enabled:        Yes
Global Configuration:
    minLeaseTime:     default
    Forced options:   None
        1/legacy: 255.255.255.0
Groups:               None
Individual Configs:   None

NetworkName:    HostInterfaceNetworking-vboxnet1
Dhcpd IP:       192.168.59.6
LowerIPAddress: 192.168.59.100
UpperIPAddress: 192.168.59.254
NetworkMask:    255.255.255.0
Enabled:        No
"""

IP_ADDR = """1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500
    link/ether 08:00:27:d9:51:59 brd ff:ff:ff:ff:ff:ff
    inet 10.0.2.15/24 brd 10.0.2.255 scope global eth0
3: eth1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500
    link/ether 08:00:27:d9:51:58 brd ff:ff:ff:ff:ff:ff
    inet6 fe80::a00:27ff:fed9:5158/64 scope link
    inet 192.168.99.100/24 brd 192.168.99.255 scope global eth1
"""


@pytest.mark.parametrize(
    ("word", "state"),
    [("running", State.RUNNING), ("poweroff", State.STOPPED), ("aborted", State.STOPPED), ("saved", State.SAVED),
     ("paused", State.PAUSED), ("gurumeditation", State.ERROR), ("whatever", State.NONE)],
)  # fmt: skip
def test_a_machine_s_state_and_cards_are_read(word: str, state: State) -> None:
    """`showvminfo --machinereadable` gives state, MAC addresses and settings, whatever is quoted."""
    info = parse.info(INFO.format(state=word))
    assert parse.state(info) is state
    assert parse.mac_address(info, 1) == "08:00:27:d9:51:59"
    assert parse.mac_address(info, 3) == ""
    assert info["IDE-0-0"] == "/m/disk.vmdk"
    assert (info["memory"], info["Forwarding(0)"]) == ("1024", "ssh,tcp,127.0.0.1,50022,,22")


def test_a_machine_that_is_not_known_has_no_state() -> None:
    """Nothing printed means no state."""
    assert parse.state(parse.info("")) is State.NONE


def test_adapters_are_read_with_names_of_any_kind() -> None:
    """Linux and Windows name host-only adapters differently; one without an address has none."""
    first, second = parse.adapters(ADAPTERS)
    assert first == ("vboxnet0", IPv4Interface("192.168.99.1/24"), "HostInterfaceNetworking-vboxnet0")
    assert (second.name, second.address) == ("VirtualBox Host-Only Ethernet Adapter #2", None)


@pytest.mark.parametrize("text", [OLD_DHCP, NEW_DHCP])
def test_dhcp_servers_are_read_in_both_spellings(text: str) -> None:
    """VirtualBox 6.1 renamed the fields and added indented ones."""
    server = parse.dhcp_servers(text)[0]
    assert server.address == IPv4Interface("192.168.99.6/24")
    assert (str(server.lower), str(server.upper), server.enabled) == ("192.168.99.100", "192.168.99.254", True)


def test_the_guest_s_address_is_the_one_of_our_card() -> None:
    """In `ip addr show` the card is found by its MAC address; link-local IPv6 is no address."""
    assert parse.guest_address(IP_ADDR, "08:00:27:D9:51:58") == "192.168.99.100"
    assert parse.guest_address(IP_ADDR, "08:00:27:00:00:00") is None


def test_small_answers() -> None:
    """Names of created adapters, guest properties and lists of machines are found in their sentences."""
    said = "0%...100%\nInterface 'VirtualBox Host-Only Ethernet Adapter' was successfully created\n"
    assert parse.created_adapter(said) == "VirtualBox Host-Only Ethernet Adapter"
    assert parse.property_value("Value: 192.168.59.101\n") == "192.168.59.101"
    assert parse.property_value("No value set!\n") == ""
    number = str(uuid.uuid4())
    assert parse.machines(f'"my vm" {{{number}}}\n"<inaccessible>" {{{number}}}\n')[0] == ("my vm", number)


@pytest.mark.parametrize(
    ("text", "version"),
    [("6.1.28r147628\n", (6, 1, 28)), ("7.0.6_Ubuntur155176\n", (7, 0, 6)),
     ("WARNING: The character device /dev/vboxdrv does not exist.\n5.2.8r121009\n", (5, 2, 8))],
)  # fmt: skip
def test_versions(text: str, version: tuple[int, int, int]) -> None:
    """The version is found with vendors' suffixes and after warnings."""
    assert vboxmanage.parse_version(text) == version


def test_what_is_no_version_is_refused() -> None:
    """Something else called VBoxManage is noticed."""
    with pytest.raises(MachineError, match="no version"):
        vboxmanage.parse_version("hello")


def test_older_versions_and_windows_have_no_range_rule() -> None:
    """Before 6.1.28, and on Windows, docker-machine's network stays the default."""
    for version, platform in (((6, 1, 26), "linux"), ((7, 0, 0), "win32")):
        allowed = ranges.allowed_ranges(version, platform, None)
        assert ranges.default_network(allowed) == IPv4Interface("192.168.99.1/24")


def test_the_range_rule_moves_the_default() -> None:
    """From 6.1.28 on the default lies in 192.168.56.0/21, but not where vboxnet0 is by default."""
    allowed = ranges.allowed_ranges((6, 1, 28), "linux", None)
    chosen = ranges.default_network(allowed)
    assert chosen.network.subnet_of(IPv4Network("192.168.56.0/21"))
    assert not chosen.network.overlaps(IPv4Network("192.168.56.0/24"))
    assert ranges.is_allowed(chosen, allowed)
    assert not ranges.is_allowed(ranges.CLASSIC, allowed)


def test_networks_conf_allows_more() -> None:
    """networks.conf's lines with a star count, comments and IPv6 do not."""
    text = "# * 172.16.0.0/12\n* 10.0.0.0/8 192.168.99.0/24\n* 2001::/64\n"
    allowed = ranges.allowed_ranges((7, 0, 0), "darwin", text)
    assert allowed == [IPv4Network("10.0.0.0/8"), IPv4Network("192.168.99.0/24")]
    assert ranges.default_network(allowed) == ranges.CLASSIC
    assert ranges.default_network(ranges.allowed_ranges((7, 0, 0), "linux", "* 10.0.0.0/8")) == IPv4Interface(
        "10.0.0.1/24"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("192.168.99.0/24", "not a network address"), ("192.168.99.1", "not a network address"), ("x/24", "invalid"),
     ("10.0.0.1/8", "prefix length")],
)  # fmt: skip
def test_a_cidr_must_name_the_host(text: str, message: str) -> None:
    """`--virtualbox-hostonly-cidr` is this computer's address with a prefix length."""
    with pytest.raises(MachineError, match=message):
        ranges.parse_cidr(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("/home/me:me", ("/home/me", "me")), (r"C:\Users\me:c-users", (r"C:\Users\me", "c-users")),
     ("C:/Users:x", ("C:/Users", "x")), ("/a:b:c", ("/a:b", "c"))],
)  # fmt: skip
def test_shared_folders_are_split_at_the_last_colon(text: str, parts: tuple[str, str]) -> None:
    """The colon of a Windows drive is not the one between directory and name."""
    assert settings.split_share(text) == parts


@pytest.mark.parametrize("text", ["/home/me", r"C:\Users\me", "C:/x", "relative:x", "/a:", ":x"])
def test_bad_shared_folders_are_refused(text: str) -> None:
    """No name, no directory, or one that is not absolute."""
    with pytest.raises(MachineError, match="share-folder"):
        settings.split_share(text)


def test_windows_installers_do_not_change_path() -> None:
    """On Windows VBoxManage is also looked for where the installer says and where it puts it by default."""
    places = vboxmanage.candidates("win32", {"VBOX_MSI_INSTALL_PATH": "D:\\VBox\\", "ProgramFiles": r"C:\Programme"})
    assert [PureWindowsPath(place) for place in places] == [
        PureWindowsPath(r"D:\VBox\VBoxManage.exe"), PureWindowsPath(r"C:\Programme\Oracle\VirtualBox\VBoxManage.exe"),
    ]  # fmt: skip
    assert vboxmanage.candidates("linux", {}) == []


@given(st.integers(min_value=1, max_value=1 << 32))
def test_a_descriptor_names_its_extent_and_size(sectors: int) -> None:
    """The descriptor has one flat extent beside it and a geometry that IDE can express."""
    text = disk.descriptor(sectors, "disk.raw", uuid.UUID(int=5))
    assert f'RW {sectors} FLAT "disk.raw" 0\n' in text
    assert text.startswith("# Disk DescriptorFile\n")
    cylinders = int(text.partition('cylinders = "')[2].partition('"')[0])
    assert 0 <= cylinders <= 16383
