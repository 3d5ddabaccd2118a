"""The qemu driver's decisions: its options, QEMU's command line, addresses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.machine.driver import Context, EngineSetup, State
from shoal.machine.errors import MachineError, NotRunning, PreCreateError
from shoal.machine.qemu import accel
from shoal.machine.qemu.command import Card, Machine, command_line, user_network
from shoal.machine.qemu.driver import QemuDriver
from shoal.machine.qemu.life import Life
from shoal.machine.qemu.place import (
    Bridged,
    Spot,
    Unprivileged,
    all_members,
    choose_outside,
    interfaces,
    multicast_group,
    safe_directory,
)  # fmt: skip
from shoal.machine.qemu.settings import FLAGS, parse_forward, settings

MACHINE = Machine(
    "myvm1", "tcg", 2, 512, Path("/m/a,b/qemu"),
    (Card("02:43:c0:a8:63:65", user_network("192.0.2.0/24", "192.0.2.15")), Card("02:42:c0:a8:63:65", "tap,fd=10")),
)  # fmt: skip


def after(words: Sequence[str], option: str) -> list[str]:
    """The values of an option that may be given several times."""
    return [value for word, value in pairwise(words) if word == option]


# --- options ---


def test_options_become_the_drivers_data() -> None:
    """Without options a machine has docker-machine's usual size; data carries docker-machine's key spellings."""
    data = settings({"qemu-network": "user", "qemu-forward": ("8080:80", "7000")})
    assert (data["CPU"], data["Memory"], data["DiskSize"], data["Accel"]) == (1, 1024, 20000, "auto")
    assert data["Subnet"] == "192.168.99.0/24"
    assert data["Forwards"] == [[8080, 80], [7000, 7000]]
    json.dumps(data)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("memory", 64, "want 256 MB or more, not 64"),
        ("memory", "much", '"much" is not a number'),
        ("cpu-count", 0, "want 1 to 32, or -1"),
        ("cpu-count", 33, "want 1 to 32, or -1"),
        ("cpu-count", -2, "want -1 or more"),
        ("disk-size", 10, "want 500 MB or more"),
        ("accel", "fast", 'unknown "fast": want auto, kvm or tcg'),
        ("network", "wifi", "want auto, bridge or user"),
        ("subnet", "10.0.0.0/8", "invalid subnet"),
        ("address", "10.0.0.1", "not one that a machine"),
        ("address", "x", "invalid address"),
        ("forward", ("0:80",), "invalid port"),
        ("forward", ("1:2:3",), "invalid port"),
        ("forward", ("2376:80",), "the machine's own"),
    ],
)
def test_bad_options_are_refused_with_a_reason(name: str, value: Any, words: str) -> None:
    """A value that cannot be is refused, and the message says what could."""
    with pytest.raises(MachineError, match=words):
        settings({"qemu-network": "user", f"qemu-{name}": value})


def test_forwards_are_for_the_user_network() -> None:
    """A bridged machine is reached at its own address: forwards there would do nothing, so they are refused."""
    with pytest.raises(MachineError, match="own address"):
        settings({"qemu-network": "bridge", "qemu-forward": ("80",)})


def test_every_option_has_a_variable_of_its_own() -> None:
    """Environment variables are docker-machine's convention: the option in capitals."""
    assert [flag.environment for flag in FLAGS] == [flag.name.replace("-", "_").upper() for flag in FLAGS]


@given(st.integers(1, 65535).filter(lambda port: port not in (2222, 2376)), st.integers(1, 65535))
def test_forwards_are_read_as_written(host: int, inside: int) -> None:
    """PORT:PORT and PORT."""
    assert parse_forward(f"{host}:{inside}") == (host, inside)
    assert parse_forward(str(host)) == (host, host)


# --- QEMU's command line ---


def test_the_command_line_describes_the_machine() -> None:
    """Kernel, disks, cards, monitor and console stand in the command line; commas in paths are doubled."""
    words = command_line("/usr/bin/qemu", MACHINE)
    assert words[0] == "/usr/bin/qemu"
    assert after(words, "-drive") == [
        "file=/m/a,,b/qemu/root,format=raw,if=virtio,readonly=on",
        "file=/m/a,,b/qemu/disk.raw,format=raw,if=virtio,discard=unmap",
    ]
    assert after(words, "-kernel") == ["/m/a,b/qemu/kernel"]
    assert after(words, "-netdev")[1] == "tap,fd=10,id=net1"
    assert after(words, "-device")[-1] == "virtio-net-pci,netdev=net1,mac=02:42:c0:a8:63:65,romfile="
    assert after(words, "-smp") + after(words, "-m") == ["2", "512"]
    assert "socket,id=monitor,path=qmp,server=on,wait=off" in after(words, "-chardev")


@pytest.mark.parametrize(("accelerator", "processor"), [("kvm", "host"), ("tcg", "max")])
def test_the_processor_fits_the_acceleration(accelerator: str, processor: str) -> None:
    """KVM shows the host's processor, emulation everything it can."""
    words = command_line("qemu", MACHINE._replace(accel=accelerator))
    assert after(words, "-cpu") == [processor]
    assert after(words, "-M") == [f"pc,accel={accelerator}"]


def test_a_bridged_machine_has_a_tap_and_no_open_ports() -> None:
    """As root eth1 is the tap, by the name of the bridge's port, and nothing is forwarded."""
    spot = Spot("192.168.99.101", "192.168.99.101")
    place = Bridged("192.168.99.0/24")
    outer, inner = place.cards(spot, [])
    assert outer.backend == "user,net=192.0.2.0/24,dhcpstart=192.0.2.15,ipv6=off"
    assert inner == Card("02:42:c0:a8:63:65", "tap,fd=10")
    assert place.tap(spot)["tap"] == "mc0a86365"


def test_an_unprivileged_machine_has_its_ports_at_its_loopback_address(tmp_path: Path) -> None:
    """Without root ssh, engine and chosen ports are forwarded at 127.99.x.y; the machines share a multicast group."""
    place = Unprivileged("192.168.99.0/24", tmp_path)
    outer, inner = place.cards(Spot("192.168.99.101", "127.99.0.101"), [(8080, 80)])
    rules = ["127.99.0.101:2222-:22", "127.99.0.101:2376-:2376", "127.99.0.101:8080-:80"]
    assert outer.backend.split(",hostfwd=tcp:")[1:] == rules
    assert inner.backend == f"socket,mcast={multicast_group(os.getuid(), '192.168.99.0/24')},localaddr=127.0.0.1"
    assert place.tap(Spot("", "")) == {"tap": ""}


def test_the_machine_is_told_of_both_cards() -> None:
    """The seed names both cards: the way out with its router and name server, the machines' network without."""
    outer, inner = interfaces(Spot("192.168.99.101", "x"), 24)
    assert (outer.address, outer.gateway, outer.dns) == ("192.0.2.15/24", "192.0.2.2", ("192.0.2.3",))
    assert (inner.mac, inner.address, inner.gateway) == ("02:42:c0:a8:63:65", "192.168.99.101/24", "")
    assert outer.mac != inner.mac


# --- addresses without root ---


def test_loopback_addresses_end_as_the_machines_own() -> None:
    """127.99.0.101 for .101; another third number when that is taken or cannot be opened; a former one is kept."""
    choose = choose_outside
    assert choose("192.168.99.101", "", [], lambda _: True) == "127.99.0.101"
    assert choose("10.0.0.101", "", ["127.99.0.101"], lambda _: True) == "127.99.1.101"
    assert choose("10.0.0.101", "", [], lambda address: address == "127.99.3.101") == "127.99.3.101"
    assert choose("10.0.0.101", "127.99.7.101", [], lambda _: True) == "127.99.7.101"
    with pytest.raises(MachineError, match="no loopback address is free"):
        choose("10.0.0.101", "", [], lambda _: False)


def test_machines_without_root_get_different_addresses(tmp_path: Path) -> None:
    """Machines of one subnet differ in both addresses, machines of two subnets in the loopback address."""
    run = tmp_path / "run"
    spots = []
    for subnet, name in (("192.168.99.0/24", "a"), ("192.168.99.0/24", "b"), ("10.1.1.0/24", "c")):
        (tmp_path / name).mkdir()
        spots.append(Unprivileged(subnet, run).take(tmp_path / name, Spot("", ""), [], None))
    assert [spot.inside for spot in spots] == ["192.168.99.101", "192.168.99.102", "10.1.1.101"]
    assert len({spot.outside for spot in spots}) == 3
    again = Unprivileged("192.168.99.0/24", run).take(tmp_path / "a", spots[0], [], None)
    assert again == spots[0]
    other = Unprivileged("192.168.99.0/24", run).take(tmp_path / "a", spots[0], [], spots[0].inside)
    assert other.inside == "192.168.99.103"
    assert other.outside != spots[0].outside
    for subnet, name in (("192.168.99.0/24", "a"), ("192.168.99.0/24", "b"), ("10.1.1.0/24", "c")):
        Unprivileged(subnet, run).leave(tmp_path / name)
    assert all_members(run) == []
    assert not run.exists()


def test_users_have_networks_of_their_own() -> None:
    """Machines of different users, or different subnets, do not share a multicast group; groups can be joined."""
    groups = {multicast_group(user, subnet) for user in range(20) for subnet in ("10.0.0.0/24", "10.0.1.0/24")}
    assert len(groups) == 40
    for group in groups:
        address, _, port = group.partition(":")
        assert address.startswith("230.99.")
        assert 1024 < int(port) < 32768


def test_a_register_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    """In a shared /tmp somebody else may have made the directory first."""
    (tmp_path / "shared").mkdir(mode=0o700)
    safe_directory(tmp_path / "shared")
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("shared", "link"):
        with pytest.raises(MachineError, match="belongs to somebody else"):
            safe_directory(tmp_path / name)


def test_the_register_is_not_locked_in_somebody_elses_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another user made a link first, neither a start nor a removal opens anything behind it."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "victim")
    monkeypatch.setattr("shoal.machine.qemu.place.user_run", lambda: tmp_path / "run")
    made = driver(tmp_path)
    made.data.update(Binary=sys.executable, Accel="tcg", Made=True)
    assert "belongs to somebody else" in Unprivileged("192.168.99.0/24").trouble()
    with pytest.raises(MachineError, match="belongs to somebody else"):
        made.start(lambda address: pytest.fail("not asked"))
    with pytest.raises(MachineError, match="belongs to somebody else"):
        made.remove()
    assert list((tmp_path / "victim").iterdir()) == []


# --- the driver ---


def test_a_qemu_that_does_not_start_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended, and told in a sentence."""
    launched = list[subprocess.Popen[bytes]]()
    popen = subprocess.Popen

    def hangs(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        launched.append(popen(["sleep", "100"], **options))
        return launched[0]

    monkeypatch.setattr("shoal.machine.qemu.life.LAUNCH_TIMEOUT", 0.1)
    monkeypatch.setattr("shoal.machine.qemu.life.subprocess.Popen", hangs)
    with pytest.raises(MachineError, match="QEMU does not start within 0 s"):
        Life(tmp_path).launch(["qemu"], {"tap": ""})
    assert launched[0].returncode == -signal.SIGKILL


def test_a_machine_whose_qemu_is_gone_is_stopped(tmp_path: Path) -> None:
    """A run file that names another process, or nothing sensible, is no running machine."""
    life = Life(tmp_path)
    assert life.state() is State.STOPPED
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for text in ("{", "[]", json.dumps({"pid": os.getpid(), "started": 1, "boot": boot})):
        (tmp_path / "run.json").write_text(text)
        assert life.state() is State.STOPPED
    life.cut()
    assert not (tmp_path / "run.json").exists()


def driver(folder: Path, **options: object) -> QemuDriver:
    directory = folder / "machines" / "m1"
    made = QemuDriver(Context("m1", directory, folder, lambda line: None), {})
    made.configure({"qemu-network": "user", **{f"qemu-{name}": value for name, value in options.items()}})
    return made


def test_what_is_missing_is_named_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing QEMU names the package, another binary its option, a missing image what making one needs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PreCreateError, match="--qemu-binary: /no/such is not a program"):
        driver(tmp_path, binary="/no/such").check()
    with pytest.raises(PreCreateError, match=r"There is no machine image .* apt-get install"):
        driver(tmp_path, binary=sys.executable).check()
    assert list(tmp_path.iterdir()) == []


def test_kvm_is_tried_once_for_a_new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the check found holds for the first boot, also where the trial came to no end; and is said once."""
    tried, said = list[Path](), list[str]()

    def trouble(binary: str, kernel: Path) -> str:
        tried.append(kernel)
        raise accel.Undecided("busy")

    made = driver(tmp_path, binary=sys.executable)
    made.context = made.context._replace(say=said.append)
    made.context.directory.mkdir(parents=True)
    kernel = tmp_path / "kernel"
    kernel.touch()
    monkeypatch.setattr(accel, "kvm_trouble", trouble)
    monkeypatch.setattr("shoal.machine.qemu.driver.image.ensure", lambda store, say: SimpleNamespace(kernel=kernel))
    monkeypatch.setattr("shoal.machine.qemu.place.user_run", lambda: tmp_path / "run")

    def prepare(address: str) -> EngineSetup:
        raise MachineError("far enough")

    made.check()
    with pytest.raises(MachineError, match="far enough"):
        made._boot(prepare, first=True)
    assert tried == [kernel]
    assert said == ["KVM cannot be used here: busy. The machine is emulated in software, slowly"]


def test_a_machine_that_never_ran_has_no_address(tmp_path: Path) -> None:
    """Address, URL and ssh are NotRunning; starting says what to do."""
    made = driver(tmp_path)
    for ask in (made.address, made.url, made.ssh):
        with pytest.raises(NotRunning):
            ask()
    with pytest.raises(MachineError, match="was never finished"):
        made.start(lambda address: pytest.fail("not asked"))
