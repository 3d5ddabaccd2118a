"""What VBoxManage is told, in which order, and what is done about its refusals."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.machine import hypervisor
from shoal.machine.driver import Context, EngineSetup, State
from shoal.machine.errors import MachineError, NotRunning, PreCreateError
from shoal.machine.virtualbox import commands, hostonly, settings, vboxmanage
from shoal.machine.virtualbox.driver import VirtualBoxDriver
from shoal.machine.virtualbox.parse import Adapter, DhcpServer
from shoal.machine.virtualbox.vboxmanage import Answer, Box, VBoxError

HOST = IPv4Interface("192.168.59.1/24")
UUID = "5b7bb9c7-1b25-4b22-8f4b-0a3f3f2b1c11"
ABSENT = Answer(1, "", f"VBoxManage: error: Could not find a registered machine with UUID {{{UUID}}}\n")
ADAPTER = (
    "Name:            vboxnet0\nIPAddress:       192.168.59.1\nNetworkMask:     255.255.255.0\n"
    "VBoxNetworkName: HostInterfaceNetworking-vboxnet0\n\n"
)
CREATED = "Interface 'vboxnet0' was successfully created\n"
DENIED = Answer(
    1, "", "VBoxManage: error: Code E_ACCESSDENIED (0x80070005) - Access denied (extended info not available)\n"
)


class Recorder:
    """A VBoxManage that answers by the beginning of what it is told; several answers are given one after another."""

    def __init__(self, **answers: str | Answer | Sequence[str | Answer]) -> None:
        self.answers = {key.replace("_", " "): value for key, value in answers.items()}
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, command: Sequence[str], timeout: float) -> Answer:
        assert timeout <= 600
        words = tuple(command[1:])
        self.calls.append(words)
        for start, answer in self.answers.items():
            if " ".join(words).startswith(start):
                if isinstance(answer, list):
                    answer = answer.pop(0) if len(answer) > 1 else answer[0]
                assert isinstance(answer, str | Answer)
                return Answer(0, answer, "") if isinstance(answer, str) else answer
        return Answer(0, "", "")

    def said(self, *first: str) -> list[tuple[str, ...]]:
        """The calls that begin so."""
        return [call for call in self.calls if call[: len(first)] == first]


def box(recorder: Recorder) -> Box:
    return Box("VBoxManage", recorder, pause=0)


def test_an_error_is_a_failure_even_with_status_zero() -> None:
    """VBoxManage's complaints are passed on whole."""
    recorder = Recorder(
        list_vms=Answer(0, "half", "VBoxManage: error: Something\nVBoxManage: error: Details: code X\n")
    )
    with pytest.raises(
        VBoxError, match=r"VBoxManage list vms failed:\nVBoxManage: error: Something\nVBoxManage: error: De"
    ):
        box(recorder)("list", "vms")


def test_a_busy_object_is_asked_again_and_not_for_ever() -> None:
    """A machine that is being unlocked takes the same command a moment later."""
    busy = Answer(1, "", "VBoxManage: error: The object is not ready\n")
    recorder = Recorder(modifyvm=[busy, busy, "fine"])
    assert box(recorder)("modifyvm", "x") == "fine"
    recorder = Recorder(modifyvm=busy)
    with pytest.raises(VBoxError):
        box(recorder)("modifyvm", "x")
    assert len(recorder.calls) == vboxmanage.ATTEMPTS


def test_the_host_only_network_is_made_once() -> None:
    """Adapter, address and DHCP server are made where they are missing, and left alone where they are there."""
    lists = ["", ADAPTER]
    recorder = Recorder(hostonlyif_create=CREATED, list_hostonlyifs=lists)
    network = hostonly.ensure(box(recorder), HOST, dhcp=True, say=lambda line: None)
    assert network.adapter == Adapter("vboxnet0", HOST, "HostInterfaceNetworking-vboxnet0")
    assert [call for call in recorder.calls if call[0] != "list"] == [
        ("hostonlyif", "create"),
        ("hostonlyif", "ipconfig", "vboxnet0", "--ip", "192.168.59.1", "--netmask", "255.255.255.0"),
        ("dhcpserver", "add", "--netname", "HostInterfaceNetworking-vboxnet0", "--ip", "192.168.59.254",
         "--netmask", "255.255.255.0", "--lowerip", "192.168.59.203", "--upperip", "192.168.59.253", "--enable"),
    ]  # fmt: skip
    servers = (
        "NetworkName:    HostInterfaceNetworking-vboxnet0\nIP:             192.168.59.6\nNetworkMask:    255.255.255.0\n"
        "lowerIPAddress: 192.168.59.100\nupperIPAddress: 192.168.59.254\nEnabled:        Yes\n"
    )
    recorder = Recorder(list_hostonlyifs=ADAPTER, list_dhcpservers=servers)
    network = hostonly.ensure(box(recorder), HOST, dhcp=True, say=lambda line: None)
    assert [call for call in recorder.calls if call[0] != "list"] == []
    assert network.dhcp and network.dhcp.lower == IPv4Address("192.168.59.100")


def test_a_server_of_another_network_is_changed_and_one_without_adapter_removed() -> None:
    """What a former adapter left would give wrong addresses to machines on the new one."""
    servers = "\n".join(
        f"NetworkName:    HostInterfaceNetworking-{name}\nDhcpd IP:       10.0.0.2\nLowerIPAddress: 10.0.0.3\n"
        "UpperIPAddress: 10.0.0.9\nNetworkMask:    255.255.255.0\nEnabled:        Yes\n"
        for name in ("vboxnet0", "vboxnet7")
    )
    recorder = Recorder(list_hostonlyifs=ADAPTER, list_dhcpservers=servers)
    hostonly.ensure(box(recorder), HOST, dhcp=True, say=lambda line: None)
    assert recorder.said("dhcpserver", "remove") == [
        ("dhcpserver", "remove", "--netname", "HostInterfaceNetworking-vboxnet7")
    ]
    assert recorder.said("dhcpserver", "modify")[0][3] == "HostInterfaceNetworking-vboxnet0"


def test_a_range_that_is_not_allowed_leaves_no_adapter_and_says_what_to_do() -> None:
    """E_ACCESSDENIED is VirtualBox's range rule."""
    recorder = Recorder(hostonlyif_create=CREATED, hostonlyif_ipconfig=DENIED)
    with pytest.raises(MachineError, match=r"192\.168\.56\.0/21 unless .*networks\.conf"):
        hostonly.ensure(box(recorder), IPv4Interface("192.168.99.1/24"), dhcp=True, say=lambda line: None)
    assert recorder.said("hostonlyif", "remove") == [("hostonlyif", "remove", "vboxnet0")]


def test_two_adapters_with_our_address_are_for_a_person_to_decide() -> None:
    """Nothing is chosen silently among them."""
    recorder = Recorder(list_hostonlyifs=ADAPTER + ADAPTER.replace("vboxnet0", "vboxnet1"))
    with pytest.raises(MachineError, match="multiple host-only adapters with the same IP"):
        hostonly.ensure(box(recorder), HOST, dhcp=True, say=lambda line: None)


def test_a_network_that_the_host_has_already_is_refused() -> None:
    """The host-only network must not lie over one of the host's own."""
    recorder = Recorder(list_bridgedifs=ADAPTER.replace("vboxnet0", "eth0").replace("59.1", "59.77"))
    with pytest.raises(MachineError, match="conflicts with the network address of a host interface: eth0"):
        hostonly.check(box(recorder), HOST)


def test_addresses_of_other_stores_machines_are_known() -> None:
    """VirtualBox knows the machines of all stores; one that cannot be asked is passed over."""
    other = "11111111-1b25-4b22-8f4b-0a3f3f2b1c11"
    recorder = Recorder(
        list_vms=f'"a" {{{UUID}}}\n"b" {{{other}}}\n',
        **{
            f"guestproperty_get_{other}": "Value: 192.168.59.101\n",
            f"guestproperty_get_{UUID}": "Value: 192.168.59.102\n",
        },
    )
    assert hostonly.addresses_in_use(box(recorder), UUID) == {"192.168.59.101"}
    recorder = Recorder(list_vms=f'"b" {{{other}}}\n', guestproperty=ABSENT)
    assert hostonly.addresses_in_use(box(recorder), UUID) == set()


@given(
    prefix=st.integers(min_value=24, max_value=28), taken=st.sets(st.integers(min_value=1, max_value=40)),
    low=st.integers(min_value=2, max_value=250), size=st.integers(min_value=0, max_value=200), avoid=st.booleans(),
)  # fmt: skip
def test_a_machine_s_address_is_free_whoever_gives_addresses(
    prefix: int, taken: set[int], low: int, size: int, avoid: bool
) -> None:
    """It is in the network, nobody's, outside of what DHCP gives away, and not the one to be avoided."""
    host = IPv4Interface((HOST.ip, prefix))
    base = host.network.network_address
    server = DhcpServer("n", IPv4Interface((base + 2, prefix)), base + low, base + min(low + size, 254), True)
    network = hostonly.HostOnly(Adapter("v", host, "n"), host, server)
    used = {str(base + number) for number in taken}
    try:
        address = IPv4Address(hostonly.choose_address(network, "", used, str(base + 101) if avoid else ""))
    except MachineError:
        return
    assert address in host.network and address not in (host.ip, server.address.ip)
    assert str(address) not in used and not server.lower <= address <= server.upper
    assert not avoid or address != base + 101


def test_addresses_are_kept_and_begin_as_in_the_tutorial() -> None:
    """The first is .101; a machine keeps its own unless it is told to leave it."""
    network = hostonly.HostOnly(Adapter("v", HOST, "n"), HOST, hostonly.planned_server("n", HOST))
    assert hostonly.choose_address(network, "", ()) == "192.168.59.101"
    assert hostonly.choose_address(network, "192.168.59.150", ()) == "192.168.59.150"
    assert hostonly.choose_address(network, "192.168.59.101", (), "192.168.59.101") == "192.168.59.102"
    assert hostonly.choose_address(network, "10.1.2.3", ()) == "192.168.59.101"


@given(st.integers(min_value=16, max_value=29))
def test_the_planned_dhcp_server_leaves_room_for_machines(prefix: int) -> None:
    """Its own address is not what it gives away, and neither is all of the network."""
    host = IPv4Interface((HOST.ip, prefix))
    server = hostonly.planned_server("n", host)
    assert server.lower <= server.upper < server.address.ip < host.network.broadcast_address
    assert int(server.upper) - int(server.lower) < host.network.num_addresses // 2


def configured(tmp_path: Path, **flags: Any) -> tuple[dict[str, Any], list[str]]:
    """A machine's data, and what was said about the flags."""
    said: list[str] = []
    driver = VirtualBoxDriver(context(tmp_path, said), {})
    driver.configure({f"virtualbox-{name.replace('_', '-')}": value for name, value in flags.items()})
    return driver.data, said


def context(tmp_path: Path, said: list[str]) -> Context:
    directory = tmp_path / "machines" / "m1"
    directory.mkdir(parents=True, exist_ok=True)
    return Context("m1", directory, tmp_path, said.append)


def test_what_a_machine_is_made_of(tmp_path: Path) -> None:
    """The image's kernel gets what it drives: virtio cards, disk and image on an IDE controller that is a PIIX4."""
    data, said = configured(tmp_path, memory=2048, cpu_count=2, no_dns_proxy=True)
    files = commands.Files(Path("/m"), Path("/m/disk.vmdk"), Path("/m/shoal.iso"))
    made = [list(command) for command in commands.furnish(UUID, data, files)]
    assert made[0][:2] == ["modifyvm", UUID]
    pairs = set(zip(made[0], made[0][1:], strict=False))
    assert {("--cpus", "2"), ("--memory", "2048"), ("--natdnsproxy1", "off"), ("--boot1", "dvd")} <= pairs
    assert made[1:] == [
        ["modifyvm", UUID, "--nic1", "nat", "--nictype1", "virtio", "--cableconnected1", "on", "--macaddress1", data["NatMac"]],
        ["storagectl", UUID, "--name", "IDE", "--add", "ide", "--controller", "PIIX4", "--hostiocache", "on"],
        ["storageattach", UUID, "--storagectl", "IDE", "--port", "0", "--device", "0", "--type", "hdd", "--medium", "/m/disk.vmdk"],
        ["storageattach", UUID, "--storagectl", "IDE", "--port", "1", "--device", "0", "--type", "dvddrive", "--medium", "/m/shoal.iso"],
    ]  # fmt: skip
    assert said == []
    assert data["NatMac"] != data["HostOnlyMac"]


def test_flags_that_no_longer_do_anything_are_said_to_be_ignored(tmp_path: Path) -> None:
    """Scripts that name them go on working."""
    data, said = configured(
        tmp_path,
        boot2docker_url="https://example.org/b.iso",
        import_boot2docker_vm="x",
        nat_nictype="82540EM",
        no_share=True,
    )
    assert len(said) == 3 and all("ignored" in line for line in said)
    assert (data["NatNicType"], data["Boot2DockerURL"]) == ("virtio", "")


def test_an_image_of_one_s_own_keeps_its_network_card(tmp_path: Path) -> None:
    """A path or file: URL names the image; what it drives is its owner's business."""
    image = tmp_path / "my image.iso"
    image.touch()
    for text in (str(image), image.as_uri()):
        data, said = configured(tmp_path, boot2docker_url=text, nat_nictype="82540EM")
        assert (data["Boot2DockerURL"], data["NatNicType"], said) == (str(image), "82540EM", [])


@pytest.mark.parametrize(
    ("flag", "value"),
    [("memory", 1), ("disk-size", 3), ("cpu-count", 0), ("cpu-count", -2), ("ui-type", "x"), ("nat-nictype", "x"),
     ("hostonly-nicpromisc", "x"), ("hostonly-cidr", "x"), ("share-folder", "x"), ("boot2docker-url", "/no/such")],
)  # fmt: skip
def test_bad_values_are_refused(flag: str, value: object) -> None:
    """Before anything is made."""
    with pytest.raises(MachineError):
        settings.settings({f"virtualbox-{flag}": value}, lambda line: None)


def test_all_processors_can_be_asked_for() -> None:
    """-1 means all, at most 32."""
    assert settings.settings({"virtualbox-cpu-count": -1}, print)["CPU"] == min(32, os.cpu_count() or 1)
    assert settings.settings({"virtualbox-cpu-count": 64}, print)["CPU"] == 32


class Driver(VirtualBoxDriver):
    """Over a recorder."""

    stop_timeout = 0.0
    recorder = Recorder()

    def _box(self) -> Box:
        return box(self.recorder)


@pytest.fixture
def driver(tmp_path: Path) -> Callable[..., tuple[Driver, list[str]]]:
    """Makes a driver over these answers; gives what it says, too."""

    def make(**answers: str | Answer | list[str | Answer]) -> tuple[Driver, list[str]]:
        said: list[str] = []
        made = Driver(context(tmp_path, said), {})
        made.configure({})
        made.data.update(VMUUID=UUID, IPAddress="192.168.59.101", SSHPort=50022)
        made.recorder = Recorder(**answers)  # type: ignore[arg-type]
        return made, said

    return make


def nothing(_: str) -> EngineSetup:
    raise AssertionError("not to be set up")


Make = Callable[..., tuple[Driver, list[str]]]


def test_a_machine_that_does_not_shut_down_loses_its_power(driver: Make) -> None:
    """Stop ends in time, and says what it did."""
    made, said = driver(showvminfo=['VMState="running"', 'VMState="running"', 'VMState="poweroff"'])
    made.stop()
    assert [call[0:1] + call[2:] for call in made.recorder.said("controlvm")] == [
        ("controlvm", "acpipowerbutton"), ("controlvm", "poweroff"),
    ]  # fmt: skip
    assert any("did not shut down" in line for line in said)


def test_a_paused_machine_goes_on_and_a_saved_one_is_started(driver: Make) -> None:
    """Neither is set up: their disks are in use."""
    made, _ = driver(showvminfo='VMState="paused"')
    made.start(nothing)
    assert made.recorder.said("controlvm") == [("controlvm", UUID, "resume")]
    made, _ = driver(showvminfo='VMState="saved"')
    made.start(nothing)
    assert made.recorder.said("startvm") == [("startvm", UUID, "--type", "headless")]


def test_a_machine_that_is_gone_is_no_failure_to_remove(driver: Make) -> None:
    """And it has no state, no address, and cannot be started."""
    made, _ = driver(showvminfo=ABSENT)
    made.remove()
    assert made.state() is State.NONE
    with pytest.raises(NotRunning):
        made.address()
    with pytest.raises(MachineError, match="has no machine"):
        made.start(nothing)


def test_a_running_machine_is_cut_off_before_it_is_removed(driver: Make) -> None:
    """It is known by its number, not by its name: names may be somebody else's."""
    made, _ = driver(showvminfo=['VMState="running"', 'VMState="poweroff"'])
    made.remove()
    assert made.recorder.said("unregistervm") == [("unregistervm", UUID, "--delete")]
    assert made.recorder.said("controlvm") == [("controlvm", UUID, "poweroff")]


def test_failures_of_virtualbox_itself_are_not_taken_for_absence(driver: Make) -> None:
    """What cannot be asked is not Stopped."""
    made, _ = driver(showvminfo=Answer(1, "", "VBoxManage: error: Failed to create the VirtualBox object!\n"))
    with pytest.raises(VBoxError, match="Failed to create"):
        made.state()


@pytest.mark.parametrize(
    ("answers", "message"),
    [({"__version": "4.2.0r1\n"}, "starting with version 5"),
     ({"__version": "7.0.2r1\n", "list_hostinfo": "Processor supports HW virtualization: no\n"}, "VT-X/AMD-v"),
     ({"__version": "WARNING: The vboxdrv kernel module is not loaded.\n7.0.2r1\n"}, "kernel module"),
     ({"__version": "7.0.2r1\n", "list_bridgedifs": ADAPTER.replace("vboxnet0", "eth0")}, "conflicts")],
)  # fmt: skip
def test_what_virtualbox_cannot_do_is_found_before_anything_is_made(
    driver: Make, answers: dict[str, str], message: str
) -> None:
    """Exit status 3, and nothing changed."""
    made, _ = driver(**{key.replace("__", "--"): value for key, value in answers.items()})
    made.data["HostOnlyCIDR"] = "192.168.59.1/24"
    with pytest.raises(PreCreateError, match=message):
        made.check()
    assert all(call[0] in ("--version", "list") for call in made.recorder.calls)


def test_ports_of_other_machines_are_not_given_away() -> None:
    """A port is taken that nobody listens on and no other machine counts on, the machine's former one if possible."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = int(busy.getsockname()[1])
        assert hypervisor.free_port(port, []) != port
    assert hypervisor.free_port(port, []) == port
    assert hypervisor.free_port(port, [port]) != port


def test_the_image_costs_nothing_and_stays_the_machine_s(tmp_path: Path) -> None:
    """A newer image in the store does not change under a machine."""
    image = tmp_path / "shoal.iso"
    image.write_bytes(b"one")
    (tmp_path / "m").mkdir()
    place = hypervisor.place_image(image, tmp_path / "m")
    newer = tmp_path / "new"
    newer.write_bytes(b"two")
    newer.replace(image)
    assert place.read_bytes() == b"one"
    assert hypervisor.place_image(image, tmp_path / "m").read_bytes() == b"two"


def test_keys_are_private_and_pinned(tmp_path: Path) -> None:
    """Private keys are for their owner only; known_hosts holds the machine's key under its name before it exists."""
    where = context(tmp_path, [])
    identity = hypervisor.make_keys(where, where.directory / "id_ed25519")
    assert hypervisor.read_keys(where, where.directory / "id_ed25519") == identity
    assert (where.directory / "known_hosts").read_text().startswith("m1 ssh-ed25519 ")
    for name in ("id_ed25519", "host_key"):
        assert (where.directory / name).stat().st_mode & 0o777 == 0o600


def test_old_records_say_less(tmp_path: Path) -> None:
    """What docker-machine's records of older versions leave out is what it took then; those of ours are complete."""
    driver = VirtualBoxDriver(Context("m1", tmp_path, tmp_path, print), {"MachineName": "m1", "Memory": 1024})
    assert commands.host_only("m1", driver.data, "vboxnet0", "")[0][2:8] == (
        "--nic2", "hostonly", "--nictype2", "82540EM", "--nicpromisc2", "deny",
    )  # fmt: skip
    assert (driver.data["UIType"], driver.data["HostOnlyCIDR"]) == ("headless", "192.168.99.1/24")
    assert VirtualBoxDriver(Context("m1", tmp_path, tmp_path, print), {}).data == {}
