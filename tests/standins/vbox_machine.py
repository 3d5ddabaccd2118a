"""VBoxManage's commands that describe machines: every option checked, as the real one does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import vm
from vbox_register import INVALID, NOT_FOUND, Refused, Register, run_folder, syntax

ON_OFF = ("on", "off")
NICS = ("none", "null", "nat", "bridged", "intnet", "hostonly", "generic", "natnetwork")
NIC_TYPES = ("Am79C970A", "Am79C973", "82540EM", "82543GC", "82545EM", "virtio")
CHOICES: dict[str, tuple[str, ...]] = {
    "firmware": ("bios", "efi", "efi32", "efi64"), "acpi": ON_OFF, "ioapic": ON_OFF, "rtcuseutc": ON_OFF,
    "natdnshostresolver": ON_OFF, "natdnsproxy": ON_OFF, "nic": NICS, "nictype": NIC_TYPES,
    "cableconnected": ON_OFF, "nicpromisc": ("deny", "allow-vms", "allow-all"),
    "boot": ("none", "floppy", "dvd", "disk", "net"), "ostype": ("Linux26_64", "Linux_64", "Debian_64", "Other_64"),
}  # fmt: skip
NUMBERS = {"cpus": (1, 64), "memory": (4, 2097152)}
NUMBERED = ("nic", "nictype", "cableconnected", "macaddress", "nicpromisc", "hostonlyadapter", "natpf",
            "natdnshostresolver", "natdnsproxy", "boot", "uart", "uartmode")  # fmt: skip
BUSES = {"ide": (2, 2), "sata": (30, 1)}
CHIPS = {"ide": ("PIIX3", "PIIX4", "ICH6"), "sata": ("IntelAHCI",)}


def options(arguments: list[str], known: dict[str, bool]) -> dict[str, str]:
    """Long options: `known` says which there are, and whether they take a value."""
    found = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        name = word.removeprefix("--")
        if not word.startswith("--"):
            raise syntax(f"Invalid parameter '{word}'")
        if name not in known:
            raise syntax(f"Unknown option: {word}")
        if known[name] and not words:
            raise syntax(f"Missing argument to '{word}'")
        found[name] = words.pop(0) if known[name] else ""
    return found


def createvm(register: Register, arguments: list[str]) -> str:
    """A new machine, with its settings file."""
    given = options(arguments, {"name": True, "basefolder": True, "uuid": True, "ostype": True, "register": False})
    if "name" not in given:
        raise syntax("Parameter --name is required")
    name, uuid = given["name"], given.get("uuid", "").lower()
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid):
        raise syntax(f"Invalid UUID '{uuid}'")
    folder = Path(given["basefolder"]) / name
    settings = folder / f"{name}.vbox"
    if "register" not in given:
        raise syntax("this stand-in knows registered machines only")
    if any(machine["name"] == name for machine in register.data["machines"].values()) or settings.exists():
        raise Refused(
            f"Machine settings file '{settings}' already exists",
            "VBOX_E_FILE_ERROR (0x80bb0004), component MachineWrap",
        )
    folder.mkdir(parents=True)
    settings.write_text(f'<VirtualBox><Machine uuid="{{{uuid}}}" name="{name}"/></VirtualBox>\n')
    register.data["machines"][uuid] = {
        "name": name, "uuid": uuid, "settings_file": str(settings), "settings": {}, "controllers": {},
        "forwarding": {}, "properties": {}, "folders": {}, "extra": {}, "last": "poweroff",
    }  # fmt: skip
    register.save()
    return f"Virtual machine '{name}' is created and registered.\nUUID: {uuid}\nSettings file: '{settings}'\n"


def modifyvm(register: Register, arguments: list[str]) -> str:
    """Settings of a machine that is off."""
    machine = register.idle_machine(arguments[0])
    words = arguments[1:]
    if not words:
        raise syntax("Not enough parameters")
    while words:
        word = words.pop(0)
        match = re.fullmatch(r"--([a-z]+)(\d?)", word)
        if not match or bool(match[2]) != (match[1] in NUMBERED):
            raise syntax(f"Unknown option: {word}")
        _modify(register, machine, match[1], match[2], words)
    register.save()
    return ""


def _modify(register: Register, machine: dict[str, Any], name: str, number: str, words: list[str]) -> None:
    def value() -> str:
        if not words:
            raise syntax(f"Missing argument to '--{name}{number}'")
        return words.pop(0)

    settings = machine["settings"]
    if name in CHOICES:
        chosen = value()
        if chosen not in CHOICES[name]:
            raise syntax(f"Invalid --{name}{number} argument '{chosen}'")
        settings[f"{name}{number}"] = chosen
    elif name in NUMBERS:
        text = value()
        low, high = NUMBERS[name]
        if not text.isdigit() or not low <= int(text) <= high:
            raise syntax(f"Invalid --{name} argument '{text}'")
        settings[name] = int(text)
    elif name == "macaddress":
        text = value()
        if not re.fullmatch(r"[0-9A-Fa-f]{12}", text) or int(text[1], 16) & 1:
            raise Refused("Invalid MAC address format", "E_INVALIDARG (0x80070057), component NetworkAdapterWrap")
        settings[f"macaddress{number}"] = text.upper()
    elif name == "hostonlyadapter":
        settings[f"hostonlyadapter{number}"] = value()
    elif name == "natpf":
        _forward(machine, value(), value)
    elif name == "uart":
        settings["uart"] = [value()] if words[:1] == ["off"] else [value(), value()]
    elif name == "uartmode":
        mode = value()
        if mode not in ("file", "server", "client", "disconnected"):
            raise syntax(f"Invalid --uartmode{number} argument '{mode}'")
        settings["uartmode"] = [mode] if mode == "disconnected" else [mode, value()]
    else:
        raise syntax(f"Unknown option: --{name}{number}")


def _forward(machine: dict[str, Any], text: str, value: Any) -> None:
    rules = machine["forwarding"]
    if text == "delete":
        name = value()
        if name not in rules:
            raise Refused(f"NAT rule '{name}' not found", INVALID)
        del rules[name]
        return
    fields = text.split(",")
    if len(fields) != 6 or fields[1] not in ("tcp", "udp") or not fields[3].isdigit() or not fields[5].isdigit():
        raise syntax(f"Invalid proto or port in NAT rule '{text}'")
    if fields[0] in rules:
        raise Refused("A NAT rule of this name already exists", INVALID)
    if any(rule[1:4] == fields[1:4] for rule in rules.values()):
        raise Refused("A NAT rule for this host port and this host IP already exists", INVALID)
    rules[fields[0]] = fields


def storagectl(register: Register, arguments: list[str]) -> str:
    """A controller for disks."""
    machine = register.idle_machine(arguments[0])
    known = {"name": True, "add": True, "controller": True, "hostiocache": True, "portcount": True, "bootable": True}
    given = options(arguments[1:], known)
    bus, chip = given.get("add", ""), given.get("controller", "")
    if bus not in BUSES:
        raise syntax(f"Invalid --add argument '{bus}'")
    if chip and chip not in CHIPS[bus]:
        raise syntax(f"Invalid --type argument '{chip}'")
    if given["name"] in machine["controllers"]:
        raise Refused(f"Storage controller named '{given['name']}' already exists", "VBOX_E_OBJECT_IN_USE (0x80bb000c)")
    machine["controllers"][given["name"]] = {"bus": bus, "chip": chip or CHIPS[bus][-1], "slots": {}}
    register.save()
    return ""


def storageattach(register: Register, arguments: list[str]) -> str:
    """A disk or an image in one of a controller's slots."""
    machine = register.idle_machine(arguments[0])
    given = options(arguments[1:], dict.fromkeys(("storagectl", "port", "device", "type", "medium"), True))
    controller = machine["controllers"].get(given.get("storagectl", ""))
    if controller is None:
        raise Refused(f"Could not find a storage controller named '{given.get('storagectl')}'", NOT_FOUND)
    ports, devices = BUSES[controller["bus"]]
    port, device = int(given["port"]), int(given["device"])
    if port >= ports or device >= devices:
        raise Refused(f"The port and/or device parameter are out of range: port={port}", "E_INVALIDARG (0x80070057)")
    kind, medium = given["type"], Path(given["medium"])
    if kind not in ("hdd", "dvddrive"):
        raise syntax(f"Invalid --type argument '{kind}'")
    if not medium.is_absolute() or not medium.is_file():
        raise Refused(
            f"Could not find file for the medium '{medium}' (VERR_FILE_NOT_FOUND)",
            "VBOX_E_FILE_ERROR (0x80bb0004), component MediumWrap, interface IMedium",
        )
    if kind == "hdd":
        _check_disk(register, medium)
    controller["slots"][f"{port}-{device}"] = [kind, str(medium)]
    register.save()
    return ""


def _check_disk(register: Register, medium: Path) -> None:
    with medium.open("rb") as file:
        head = file.read(512)
    if not head.startswith((b"# Disk DescriptorFile", b"KDMV", b"conectix")):
        raise Refused(
            f"Could not get the storage format of the medium '{medium}' (VERR_NOT_SUPPORTED)",
            "VBOX_E_IPRT_ERROR (0x80bb0005), component MediumWrap, interface IMedium",
        )
    for other in register.data["machines"].values():
        for controller in other["controllers"].values():
            if any(slot[1] == str(medium) for slot in controller["slots"].values()):
                raise Refused(f"Medium '{medium}' is already attached to a virtual machine", "VBOX_E_OBJECT_IN_USE")


def unregistervm(register: Register, arguments: list[str]) -> str:
    """The machine is no more; with `--delete` its disks and settings go too."""
    machine = register.idle_machine(arguments[0])
    given = options(arguments[1:], {"delete": False})
    if "delete" in given:
        for controller in machine["controllers"].values():
            for kind, medium in controller["slots"].values():
                if kind == "hdd":
                    _delete_disk(Path(medium))
        shutil.rmtree(Path(machine["settings_file"]).parent, ignore_errors=True)
    shutil.rmtree(run_folder(machine), ignore_errors=True)
    del register.data["machines"][machine["uuid"]]
    register.save()
    return ""


def _delete_disk(medium: Path) -> None:
    text = medium.read_bytes()[:4096].decode(errors="replace") if medium.exists() else ""
    for extent in re.findall(r'FLAT "([^"]+)"', text):
        (medium.parent / extent).unlink(missing_ok=True)
    medium.unlink(missing_ok=True)


def guestproperty(register: Register, arguments: list[str]) -> str:
    """Notes that machine and host share."""
    verb, machine = arguments[0], register.machine(arguments[1])
    if verb == "set":
        machine["properties"][arguments[2]] = arguments[3]
        register.save()
        return ""
    if verb != "get":
        raise syntax(f"Invalid parameter '{verb}'")
    value = machine["properties"].get(arguments[2])
    return "No value set!\n" if value is None else f"Value: {value}\n"


def sharedfolder(register: Register, arguments: list[str]) -> str:
    """A directory of the host for the machine."""
    if arguments[0] != "add":
        raise syntax(f"Invalid parameter '{arguments[0]}'")
    machine = register.machine(arguments[1])
    given = options(arguments[2:], {"name": True, "hostpath": True, "automount": False, "readonly": False})
    if not Path(given["hostpath"]).is_dir():
        raise Refused(f"Shared folder path '{given['hostpath']}' is not absolute", "E_INVALIDARG (0x80070057)")
    machine["folders"][given["name"]] = given["hostpath"]
    register.save()
    return ""


def setextradata(register: Register, arguments: list[str]) -> str:
    """A setting that nobody checks."""
    register.machine(arguments[0])["extra"][arguments[1]] = arguments[2]
    register.save()
    return ""


def showvminfo(register: Register, arguments: list[str]) -> str:
    """The machine as `key="value"` lines."""
    machine = register.machine(arguments[0])
    if arguments[1:] != ["--machinereadable"]:
        raise syntax("this stand-in prints machine readable information only")
    settings = machine["settings"]
    lines = [
        f'name="{machine["name"]}"', 'groups="/"', f'ostype="{settings.get("ostype", "Other")}"',
        f'UUID="{machine["uuid"]}"', f'CfgFile="{machine["settings_file"]}"', f"memory={settings.get('memory', 128)}",
        f"cpus={settings.get('cpus', 1)}", f'VMState="{state(machine)}"', 'VMStateChangeTime="2026-01-01T00:00:00"',
    ]  # fmt: skip
    for name, controller in machine["controllers"].items():
        lines += [f'"{name}-{slot}"="{medium}"' for slot, (_, medium) in controller["slots"].items()]
    for number in ("1", "2"):
        lines.append(f'nic{number}="{settings.get(f"nic{number}", "none")}"')
        if f"macaddress{number}" in settings:
            lines.append(f'macaddress{number}="{settings[f"macaddress{number}"]}"')
    lines += [f'Forwarding({number})="{",".join(rule)}"' for number, rule in enumerate(machine["forwarding"].values())]
    return "\n".join(lines) + "\n"


def state(machine: dict[str, Any]) -> str:
    """What it is doing, in VirtualBox's words."""
    paused = vm.paused(run_folder(machine))
    if paused is None:
        return str(machine["last"])
    return "paused" if paused else "running"
