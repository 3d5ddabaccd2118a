"""Hyper-V's cmdlets over QEMU, and powershell.exe's command line."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import lan
import vm
from ps import Command, Exit, PsError, Shell

ADMINISTRATORS, HYPERV_ADMINISTRATORS = "S-1-5-32-544", "S-1-5-32-578"
STATES = {"running": 2, "off": 3, "paused": 9}
DEFAULT_LAN = "192.168.113.1/24"


def home() -> Path:
    """Where this user's machines are remembered."""
    path = Path(os.environ.get("STANDIN_HYPERV_HOME") or Path.home() / ".local" / "state" / "hyperv-standin")
    path.mkdir(parents=True, exist_ok=True)
    return path


def groups() -> tuple[str, ...]:
    """The groups of who runs this: administrator, unless STANDIN_HYPERV_RIGHTS says `hyperv` or `none`."""
    rights = os.environ.get("STANDIN_HYPERV_RIGHTS", "administrator")
    return {"administrator": (ADMINISTRATORS,), "hyperv": (HYPERV_ADMINISTRATORS,), "none": ()}[rights]


class Register:
    """Machines and switches; one file per user."""

    def __init__(self) -> None:
        self._path = home() / "register.json"
        empty: dict[str, Any] = {"machines": {}, "switches": []}
        self.data = json.loads(self._path.read_text()) if self._path.exists() else empty

    def save(self) -> None:
        """Write it, whole or not at all."""
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(self.data, indent=1))
        temporary.replace(self._path)

    def show(self, number: str) -> dict[str, Any]:
        """A machine as Get-VM shows it."""
        machine = self.data["machines"][number]
        return {
            "Id": number,
            "Name": machine["name"],
            "State": STATES[self.state(number)],
            "Path": machine["path"],
            "VM": number,
        }

    def state(self, number: str) -> str:
        """What it is doing."""
        return {None: "off", True: "paused", False: "running"}[vm.paused(run_folder(number))]

    def switch(self, name: str) -> dict[str, Any]:
        """The switch of this name."""
        for switch in self.data["switches"]:
            if switch["Name"].lower() == name.lower():
                found: dict[str, Any] = switch
                return found
        raise PsError(f'Hyper-V was unable to find a virtual switch with name "{name}".')


def run_folder(number: str) -> Path:
    """Where the running machine's files are."""
    return home() / "run" / number


Rows = Iterable[Any]


class Cmdlets:
    """The cmdlets, over one register."""

    def __init__(self, register: Register) -> None:
        self._register = register

    def table(self) -> dict[str, Command]:
        """All of them, by their names in lower case."""
        of_machine = {"VM": True}
        commands = {
            "get-module": Command(self._modules, {"ListAvailable": False, "Name": True}),
            "select-object": Command(_select, {"Property": True}, ("Property",)),
            "convertto-json": Command(_to_json, {"Compress": False, "InputObject": True, "Depth": True}, ("InputObject",)),
            "out-null": Command(lambda given, rows: (), {}),
            "new-vmswitch": Command(self._new_switch, {"Name": True, "NetAdapterName": True, "SwitchType": True}, ("Name",)),
            "get-vmswitch": Command(lambda given, rows: list(self._register.data["switches"]), {}),
            "new-vhd": Command(self._new_vhd, {"Path": True, "SizeBytes": True, "Fixed": False}, ("Path", "SizeBytes")),
            "convert-vhd": Command(
                self._convert_vhd, {"Path": True, "DestinationPath": True, "VHDType": True, "DeleteSource": False},
                ("Path", "DestinationPath"),
            ),
            "resize-vhd": Command(self._resize_vhd, {"Path": True, "SizeBytes": True}, ("Path", "SizeBytes")),
            "new-vm": Command(
                self._new_vm,
                {"Name": True, "Path": True, "SwitchName": True, "Generation": True, "MemoryStartupBytes": True, "NoVHD": False},
                ("Name",),
            ),
            "get-vm": Command(self._get_vm, {"Id": True, "Name": True}),
            "set-vm": Command(
                self._set(), {**of_machine, "CheckpointType": True, "AutomaticStartAction": True, "AutomaticStopAction": True}, ("VM",)
            ),
            "set-vmprocessor": Command(self._set("Count"), {**of_machine, "Count": True}, ("VM", "Count")),
            "set-vmmemory": Command(self._set("DynamicMemoryEnabled"), {**of_machine, "DynamicMemoryEnabled": True}, ("VM",)),
            "set-vmnetworkadapter": Command(self._set("StaticMacAddress"), {**of_machine, "StaticMacAddress": True}, ("VM",)),
            "set-vmnetworkadaptervlan": Command(
                self._set("VlanId"), {**of_machine, "Access": False, "VlanId": True}, ("VM", "Access", "VlanId")
            ),
            "get-vmnetworkadapter": Command(self._adapters, of_machine),
            "get-vmdvddrive": Command(lambda given, rows: [{"VM": given["VM"]["VM"]}], of_machine, ("VM",)),
            "set-vmdvddrive": Command(self._insert, {"Path": True}, ("Path",)),
            "add-vmharddiskdrive": Command(self._add_disk, {**of_machine, "Path": True}, ("VM", "Path")),
            "start-vm": Command(self._start, of_machine, ("VM",)),
            "resume-vm": Command(self._resume, of_machine, ("VM",)),
            "stop-vm": Command(self._stop, {**of_machine, "TurnOff": False, "Force": False}, ("VM",)),
            "remove-vm": Command(self._remove, {**of_machine, "Force": False}, ("VM",)),
        }  # fmt: skip
        general = ("get-module", "select-object", "convertto-json", "out-null")
        return {name: command if name in general else _guarded(command) for name, command in commands.items()}

    def _modules(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        return [] if os.environ.get("STANDIN_HYPERV_MODULE") == "none" else [{"Name": "Hyper-V"}]

    def _new_switch(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        kinds = {"Private": 0, "Internal": 1}
        kind = 2 if "NetAdapterName" in given else kinds[given["SwitchType"]]
        switch = {"Id": str(uuid.uuid4()), "Name": given["Name"], "SwitchType": kind}
        self._register.data["switches"].append(switch)
        self._register.save()
        return [switch]

    def _new_vhd(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        if "Fixed" not in given or Path(given["Path"]).exists():
            raise PsError(f"The system failed to create '{given['Path']}': The file exists. (0x80070050).")
        size = int(given["SizeBytes"])
        _qemu_img("create", "-f", "vpc", "-o", "subformat=fixed,force_size=on", given["Path"], str(size))
        return [{"Path": given["Path"], "Size": size}]

    def _convert_vhd(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        if given.get("VHDType") != "Dynamic":
            raise PsError("this stand-in makes dynamic disks only")
        _need_file(given["Path"])
        raw = _raw(given["Path"])
        _dynamic(raw, given["DestinationPath"])
        if "DeleteSource" in given:
            Path(given["Path"]).unlink()
        return ()

    def _resize_vhd(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        if ADMINISTRATORS not in groups():
            raise PsError("The requested operation requires elevation.")
        _need_file(given["Path"])
        raw = _raw(given["Path"])
        os.truncate(raw, int(given["SizeBytes"]))
        _dynamic(raw, given["Path"])
        return ()

    def _new_vm(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        if given.get("Generation") != 1 or "NoVHD" not in given:
            raise PsError("this stand-in makes machines of the first generation without a disk only")
        memory = int(given["MemoryStartupBytes"])
        if memory % (2 << 20) or memory < 32 << 20:
            raise PsError(
                f"Failed to modify device 'Memory'. Invalid startup memory amount assigned for '{given['Name']}'."
            )
        self._register.switch(given["SwitchName"])
        folder = Path(given["Path"])
        if not folder.is_absolute():
            raise PsError(f"The path '{folder}' is not a fully qualified path name.")
        number = str(uuid.uuid4())
        (folder / given["Name"]).mkdir(parents=True, exist_ok=True)
        self._register.data["machines"][number] = {
            "name": given["Name"], "path": str(folder / given["Name"]), "switch": given["SwitchName"],
            "memory": memory >> 20, "disks": [], "dvd": "", "settings": {},
        }  # fmt: skip
        self._register.save()
        return [self._register.show(number)]

    def _get_vm(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        machines = self._register.data["machines"]
        wanted = [
            number
            for number, machine in machines.items()
            if given.get("Id", number).lower() == number
            and given.get("Name", machine["name"]).lower() == machine["name"].lower()
        ]
        if not wanted and "Name" in given:
            raise PsError(f'Hyper-V was unable to find a virtual machine with name "{given["Name"]}".')
        if not wanted and "Id" in given:
            raise PsError(f'Hyper-V was unable to find a virtual machine with id "{given["Id"]}".')
        return [self._register.show(number) for number in wanted]

    def _set(self, name: str = "") -> Callable[[Mapping[str, Any], list[Any]], Rows]:
        def change(given: Mapping[str, Any], rows: list[Any]) -> Rows:
            number = self._off(given["VM"], "Failed to modify the virtual machine")
            if name:
                if name not in given:
                    raise PsError("Parameter set cannot be resolved using the specified named parameters.")
                self._register.data["machines"][number]["settings"][name] = given[name]
                self._register.save()
            return ()

        return change

    def _adapters(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        for row in [given["VM"]] if "VM" in given else rows:
            number = row["VM"]
            machine = self._register.data["machines"][number]
            digits = machine["settings"].get("StaticMacAddress", "000000000000")
            addresses = _addresses(machine, number, digits) if row["State"] == STATES["running"] else []
            yield {
                "VMId": number,
                "VMName": machine["name"],
                "MacAddress": digits,
                "SwitchName": machine["switch"],
                "IPAddresses": addresses,
            }

    def _insert(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        _need_file(given["Path"])
        for row in rows:
            self._register.data["machines"][row["VM"]]["dvd"] = given["Path"]
        self._register.save()
        return ()

    def _add_disk(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        _need_file(given["Path"])
        self._register.data["machines"][self._off(given["VM"], "Failed to add device")]["disks"].append(given["Path"])
        self._register.save()
        return ()

    def _start(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        number = given["VM"]["VM"]
        if self._register.state(number) != "off":
            return ()
        machine = self._register.data["machines"][number]
        settings = machine["settings"]
        words = [
            vm.QEMU, "-name", machine["name"], "-M", "pc,accel=tcg", "-cpu", "max", "-nodefaults", "-no-user-config",
            "-display", "none", "-smp", str(settings.get("Count", 1)), "-m", str(machine["memory"]), "-boot", "order=dc",
            "-serial", "file:console.log",
        ]  # fmt: skip
        for index, disk in enumerate(machine["disks"]):
            words += ["-drive", f"file={_escaped(disk)},if=ide,index={index},format=vpc"]
        if machine["dvd"]:
            words += ["-drive", f"file={_escaped(machine['dvd'])},if=ide,index=2,media=cdrom,readonly=on,format=raw"]
        digits = settings.get("StaticMacAddress", "00155D000001")
        words += vm.card(0, "virtio-net-pci", _colons(digits), "tap,fd={tap0}")
        try:
            vm.start(run_folder(number), words, [_network(machine["switch"])])
        except vm.VmError as fault:
            raise PsError(f"'{machine['name']}' failed to start. {fault}") from fault
        return ()

    def _resume(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        vm.command(run_folder(given["VM"]["VM"]), "cont")
        return ()

    def _stop(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        number = given["VM"]["VM"]
        folder = run_folder(number)
        if not vm.running(folder):
            return ()
        if "TurnOff" in given:
            vm.power_off(folder)
            return ()
        vm.command(folder, "system_powerdown")
        if not vm.wait_for(lambda: not vm.running(folder), 300):
            raise PsError(
                f"Failed to shut down '{given['VM']['Name']}': The device is not ready for use. (0x80070015)."
            )
        return ()

    def _remove(self, given: Mapping[str, Any], rows: list[Any]) -> Rows:
        number = self._off(given["VM"], "Failed to remove the virtual machine")
        del self._register.data["machines"][number]
        self._register.save()
        return ()

    def _off(self, machine: Mapping[str, Any], what: str) -> str:
        number = str(machine["VM"])
        if self._register.state(number) != "off":
            raise PsError(
                f"{what} '{machine['Name']}'. The operation cannot be performed while the virtual machine is in its current state."
            )
        return number


def _guarded(command: Command) -> Command:
    def run(given: Mapping[str, Any], rows: list[Any]) -> Rows:
        if not groups():
            raise PsError(
                "You do not have the required permission to complete this task. Contact the administrator of the "
                "authorization policy for the computer 'STANDIN'."
            )
        return command.run(given, rows)

    return command._replace(run=run)


def _select(given: Mapping[str, Any], rows: list[Any]) -> Rows:
    names = given["Property"] if isinstance(given["Property"], list) else [given["Property"]]
    return [{name: row.get(name) for name in names} for row in rows]


def _to_json(given: Mapping[str, Any], rows: list[Any]) -> Rows:
    return [json.dumps(given["InputObject"], separators=(",", ":"), ensure_ascii=False)]


def _addresses(machine: Mapping[str, Any], number: str, digits: str) -> list[str]:
    """What the guest tells: its own IPv6 address as soon as it has a card, an IPv4 address once DHCP gave it one."""
    mac, since = _colons(digits), vm.since(run_folder(number))
    octets = [int(digits[at : at + 2], 16) for at in range(0, 12, 2)]
    octets[0] ^= 2
    own = f"fe80::{octets[0] << 8 | octets[1]:x}:{octets[2] << 8 | 0xFF:x}:{0xFE00 | octets[3]:x}:{octets[4] << 8 | octets[5]:x}"
    lease = lan.leases(home(), _network(machine["switch"])["name"]).get(mac)
    given = [lease["address"]] if lease and lease["at"] > since else []
    return [own, *given] if time.time() > since + 1 else []


def _network(switch: str) -> dict[str, Any]:
    host = os.environ.get("STANDIN_HYPERV_LAN", DEFAULT_LAN)
    prefix = host.rpartition(".")[0]
    dhcp = {"server": f"{prefix}.2", "lower": f"{prefix}.101", "upper": f"{prefix}.199"}
    return {"home": str(home()), "name": "switch-" + switch.encode().hex()[:40], "config": {"host": host, "dhcp": dhcp}}


def _colons(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2)).lower()


def _escaped(path: str) -> str:
    return path.replace(",", ",,")


def _need_file(path: str) -> None:
    if not Path(path).is_absolute() or not Path(path).is_file():
        raise PsError(f"Cannot find path '{path}' because it does not exist.")


def _raw(path: str) -> str:
    raw = f"{path}.raw"
    _qemu_img("convert", "-f", "vpc", "-O", "raw", path, raw)
    return raw


def _dynamic(raw: str, path: str) -> None:
    _qemu_img("convert", "-f", "raw", "-O", "vpc", "-o", "subformat=dynamic,force_size=on", raw, path)
    Path(raw).unlink()


def _qemu_img(*words: str) -> None:
    done = subprocess.run(["qemu-img", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PsError(f"The system failed: {done.stderr.strip()}")


def _principal() -> dict[str, Any]:
    return {"IsInRole": lambda group: group in groups()}


STATICS: dict[str, Any] = {
    "[Console]::OutputEncoding": None,
    "[Console]::Error": {"WriteLine": lambda text: print(text, file=sys.stderr)},
    "[Text.Encoding]::UTF8": "utf-8",
    "[Security.Principal.WindowsIdentity]::GetCurrent": lambda: "me",
    "[Security.Principal.WindowsPrincipal]": lambda identity: _principal(),
    "[Security.Principal.SecurityIdentifier]": lambda text: text,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """`powershell.exe -NoProfile -NonInteractive -Command SCRIPT`."""
    if arguments[:3] != ["-NoProfile", "-NonInteractive", "-Command"] or len(arguments) != 4:
        print(f"The argument '{' '.join(arguments)}' to the -File parameter does not exist.", file=sys.stderr)
        return 64
    with (home() / "register.lock").open("a") as lock:
        # Stopping a machine takes long, and asking about others must go on meanwhile.
        if "Stop-VM" not in arguments[3]:
            fcntl.flock(lock, fcntl.LOCK_EX)
        shell = Shell(Cmdlets(Register()).table(), STATICS, "Hyper-V")
        status = 0
        try:
            shell.run(arguments[3])
        except Exit as end:
            status = end.status
        except PsError as fault:
            print(f"{fault}\nAt line:1 char:1\n    + FullyQualifiedErrorId : Unexpected", file=sys.stderr)
            status = 1
        for line in shell.output:
            print(line)
    return status
