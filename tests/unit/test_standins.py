"""The stand-ins refuse what the real programs refuse: a wrong argument means no machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "standins"
UUID = "5b7bb9c7-1b25-4b22-8f4b-0a3f3f2b1c11"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def vbox(tmp_path: Path) -> Run:
    """VBoxManage with a machine m1 that has an IDE controller."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(FOLDER / "VBoxManage"), *words]
        environment = {"VBOX_USER_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    for command in (
        ["createvm", "--basefolder", str(tmp_path), "--name", "m1", "--uuid", UUID, "--register"],
        ["storagectl", UUID, "--name", "IDE", "--add", "ide", "--controller", "PIIX4"],
    ):
        assert run(*command).returncode == 0
    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [(["frobnicate"], "Invalid command"),
     (["modifyvm", "m1", "--nonsense", "1"], "Unknown option: --nonsense"),
     (["modifyvm", "m1", "--memory", "lots"], "Invalid --memory argument"),
     (["modifyvm", "m1", "--nictype1", "virtio-net"], "Invalid --nictype1 argument"),
     (["modifyvm", "m1", "--natpf1", "ssh,tcp,127.0.0.1,port,,22"], "Invalid proto or port"),
     (["modifyvm", "m1", "--natpf1", "delete", "ssh"], "not found"),
     (["modifyvm", "nosuch", "--cpus", "1"], "Could not find a registered machine named 'nosuch'"),
     (["showvminfo", UUID[::-1], "--machinereadable"], "Could not find a registered machine with UUID"),
     (["storageattach", "m1", "--storagectl", "SATA", "--port", "0", "--device", "0", "--type", "hdd", "--medium", "/x"],
      "Could not find a storage controller named 'SATA'"),
     (["storageattach", "m1", "--storagectl", "IDE", "--port", "0", "--device", "0", "--type", "hdd", "--medium", "/x"],
      "VERR_FILE_NOT_FOUND"),
     (["storageattach", "m1", "--storagectl", "IDE", "--port", "0", "--device", "0", "--type", "hdd", "--medium",
       str(Path(__file__).absolute())], "VERR_NOT_SUPPORTED"),
     (["storageattach", "m1", "--storagectl", "IDE", "--port", "2", "--device", "0", "--type", "hdd", "--medium", "/x"],
      "out of range"),
     (["startvm", "m1", "--type", "invisible"], "Invalid frontend name"),
     (["controlvm", "m1", "poweroff"], "is not currently running"),
     (["hostonlyif", "ipconfig", "vboxnet3", "--ip", "192.168.56.1"], "could not be found"),
     (["dhcpserver", "remove", "--netname", "nosuch"], "does not exist"),
     (["createvm", "--basefolder", "/nowhere", "--name", "m1", "--uuid", UUID, "--register"], "already exists")],
)  # fmt: skip
def test_vboxmanage_refuses(vbox: Run, words: list[str], message: str) -> None:
    """Its error has its form, and its exit status is not zero."""
    done = vbox(*words)
    assert done.returncode != 0
    assert done.stderr.startswith("VBoxManage: error: ") and message in done.stderr


def test_a_card_needs_its_adapter(vbox: Run) -> None:
    """A machine on a host-only adapter that is not there does not start."""
    mac = ["--nic2", "hostonly", "--macaddress2", "080027000001", "--hostonlyadapter2", "vboxnet9"]
    assert vbox("modifyvm", "m1", *mac).returncode == 0
    assert (
        "Nonexistent host networking interface, name 'vboxnet9'" in vbox("startvm", "m1", "--type", "headless").stderr
    )


def test_addresses_outside_of_the_range_are_denied(vbox: Run) -> None:
    """As VirtualBox does since 6.1.28."""
    assert "Interface 'vboxnet0' was successfully created" in vbox("hostonlyif", "create").stdout
    denied = vbox("hostonlyif", "ipconfig", "vboxnet0", "--ip", "192.168.99.1", "--netmask", "255.255.255.0")
    assert "E_ACCESSDENIED (0x80070005)" in denied.stderr
    assert vbox("hostonlyif", "ipconfig", "vboxnet0", "--ip", "192.168.59.1", "--netmask", "255.255.255.0").stderr == ""


@pytest.fixture
def powershell(tmp_path: Path) -> Run:
    """Hyper-V with one external switch."""

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(FOLDER / "powershell.exe"), "-NoProfile", "-NonInteractive", "-Command", script]
        environment = {"STANDIN_HYPERV_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert run("New-VMSwitch -Name 'lan' -NetAdapterName 'Ethernet' | Out-Null").returncode == 0
    return run


@pytest.mark.parametrize(
    ("script", "message"),
    [("Get-Nothing", "is not recognized as the name of a cmdlet"),
     (r"VMware\Get-VM", "is not recognized as the name of a cmdlet"),
     ("Get-VM -Nonsense 'x'", "A parameter cannot be found that matches parameter name 'Nonsense'"),
     ("Get-VM m1", "A positional parameter cannot be found that accepts argument 'm1'"),
     ("Get-VM -Name", "Missing an argument for parameter 'Name'"),
     ("Get-VM -Name 'x", "missing the terminator"),
     ("Get-VM -Name 'x'y'", "missing the terminator"),
     ("Get-VM -Name 'x' 'y'", "A positional parameter cannot be found"),
     ("Get-VM -Name 'x'", 'Hyper-V was unable to find a virtual machine with name "x".'),
     ("Start-VM", "missing mandatory parameters: VM"),
     ("Start-VM -VM $nosuch", "cannot be retrieved because it has not been set"),
     ("Resize-VHD -Path '/no/such.vhd' -SizeBytes 5", "does not exist"),
     ("New-VM -Name 'm' -Path '/tmp' -SwitchName 'nosuch' -Generation 1 -MemoryStartupBytes 536870912 -NoVHD",
      'unable to find a virtual switch with name "nosuch"'),
     ("New-VM -Name 'm' -Path 'tmp' -SwitchName 'lan' -Generation 1 -MemoryStartupBytes 536870912 -NoVHD",
      "not a fully qualified path"),
     ("Get-VM | 'x'", "only allowed as the first element of a pipeline"),
     ("Get-VM }", "Unexpected token")],
)  # fmt: skip
def test_powershell_refuses(powershell: Run, script: str, message: str) -> None:
    """Its text says what it does not know; nothing runs of a script that it does not understand."""
    done = powershell(script)
    assert done.returncode == 1
    assert message in done.stderr
