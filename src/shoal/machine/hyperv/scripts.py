"""What Hyper-V is told, as PowerShell statements. Pure.

Cmdlets are named with their module: VMware's has a Get-VM too. A machine is found by its Id where it is known, because
names need not be unique. What is asked is answered in one line of JSON per statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from shoal.machine.hyperv.powershell import quote

HYPERV_ADMINISTRATORS, ADMINISTRATORS = "S-1-5-32-578", "S-1-5-32-544"
"""The groups by number: their names are translated."""

SEED_DISK_BYTES = 10 << 20
"""The disk while it is fixed, for the seed to be written at its beginning."""


class Files(NamedTuple):
    """Where a machine's parts lie, as Hyper-V's computer names them."""

    folder: PurePath
    fixed: PurePath
    disk: PurePath
    iso: PurePath


def ask(pipeline: str) -> str:
    """Print what the pipeline gives as a JSON array in one line."""
    return f"ConvertTo-Json -Compress -InputObject @({pipeline})"


def who_am_i() -> Sequence[str]:
    """Whether there is the module; whether we are Hyper-V's administrators, and the computer's."""
    return (
        ask("Get-Module -ListAvailable -Name Hyper-V | Select-Object -Property Name"),
        *(ask(_is_in_role(group)) for group in (HYPERV_ADMINISTRATORS, ADMINISTRATORS)),
    )


def _is_in_role(group: str) -> str:
    principal = "([Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent())"
    return f"{principal}.IsInRole([Security.Principal.SecurityIdentifier]{quote(group)})"


def switches() -> str:
    """All switches."""
    return ask(r"Hyper-V\Get-VMSwitch | Select-Object -Property Id, Name, SwitchType")


def everything() -> Sequence[str]:
    """All machines with their states, and all their network cards with their addresses."""
    return (
        ask(r"Hyper-V\Get-VM | Select-Object -Property Id, Name, State, Path"),
        ask(
            r"Hyper-V\Get-VM | Hyper-V\Get-VMNetworkAdapter | "
            "Select-Object -Property VMId, MacAddress, SwitchName, IPAddresses"
        ),
    )


def seed_disk(files: Files, size: int) -> str:
    """Make the fixed disk of `size` bytes."""
    return rf"Hyper-V\New-VHD -Path {quote(files.fixed)} -SizeBytes {size} -Fixed | Out-Null"


def data_disk(files: Files, size: int, *, resize: bool) -> Sequence[str]:
    """Make the fixed disk a growing one, of `size` bytes."""
    convert = (
        rf"Hyper-V\Convert-VHD -Path {quote(files.fixed)} -DestinationPath {quote(files.disk)} "
        "-VHDType Dynamic -DeleteSource"
    )
    return (convert, rf"Hyper-V\Resize-VHD -Path {quote(files.disk)} -SizeBytes {size}") if resize else (convert,)


def register(name: str, data: Mapping[str, Any], files: Files) -> Sequence[str]:
    """Make the machine `$vm`, and say its Id at once: whatever fails later, it can be removed."""
    return (
        rf"$vm = Hyper-V\New-VM -Name {quote(name)} -Path {quote(files.folder)} -SwitchName {quote(data['VSwitch'])} "
        f"-Generation 1 -MemoryStartupBytes {int(data['MemSize']) << 20} -NoVHD",
        ask("$vm | Select-Object -Property Id"),
    )


def furnish(data: Mapping[str, Any], files: Files) -> Sequence[str]:
    """What `$vm` is made of."""
    statements = [
        r"Hyper-V\Set-VM -VM $vm -CheckpointType Disabled -AutomaticStartAction Nothing -AutomaticStopAction ShutDown",
        rf"Hyper-V\Set-VMProcessor -VM $vm -Count {int(data['CPU'])}",
        rf"Hyper-V\Set-VMNetworkAdapter -VM $vm -StaticMacAddress {quote(data['MacAddr'])}",
        rf"Hyper-V\Get-VMDvdDrive -VM $vm | Hyper-V\Set-VMDvdDrive -Path {quote(files.iso)}",
        rf"Hyper-V\Add-VMHardDiskDrive -VM $vm -Path {quote(files.disk)}",
    ]
    if data["DisableDynamicMemory"]:
        statements.append(r"Hyper-V\Set-VMMemory -VM $vm -DynamicMemoryEnabled $false")
    if data["VLanID"]:
        statements.append(rf"Hyper-V\Set-VMNetworkAdapterVlan -VM $vm -Access -VlanId {int(data['VLanID'])}")
    return statements


def find(data: Mapping[str, Any]) -> str:
    """Let `$vm` be the machine. Fails when it is not there."""
    if data.get("VMId"):
        return rf"$vm = Hyper-V\Get-VM -Id {quote(data['VMId'])}"
    return rf"$vm = Hyper-V\Get-VM -Name {quote(data['MachineName'])}"


START = r"Hyper-V\Start-VM -VM $vm"
RESUME = r"Hyper-V\Resume-VM -VM $vm"
SHUT_DOWN = r"Hyper-V\Stop-VM -VM $vm -Force"
TURN_OFF = r"Hyper-V\Stop-VM -VM $vm -TurnOff -Force"
REMOVE = r"Hyper-V\Remove-VM -VM $vm -Force"
