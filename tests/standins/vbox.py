"""VBoxManage: its commands, and the life of machines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import vbox_machine
import vbox_network
import vm
from vbox_machine import options, state
from vbox_register import BAD_STATE, Refused, Register, home, register, run_folder, syntax

MODELS = {"virtio": "virtio-net-pci", "82540EM": "e1000", "82545EM": "e1000-82545em", "82543GC": "e1000",
          "Am79C970A": "pcnet", "Am79C973": "pcnet"}  # fmt: skip
BOOT = {"dvd": "d", "disk": "c", "net": "n", "floppy": "a", "none": ""}


def startvm(register: Register, arguments: list[str]) -> str:
    """Boot what was described."""
    machine = register.machine(arguments[0])
    given = options(arguments[1:], {"type": True})
    if given.get("type", "gui") not in ("gui", "sdl", "headless", "separate"):
        raise syntax(f"Invalid frontend name '{given['type']}'")
    if vm.running(run_folder(machine)):
        raise Refused(
            f"The machine '{machine['name']}' is already locked by a session (or being locked or unlocked)", BAD_STATE
        )
    words, networks = _qemu(register, machine)
    try:
        vm.start(run_folder(machine), words, networks)
    except vm.VmError as fault:
        raise Refused(
            f"The virtual machine '{machine['name']}' has terminated unexpectedly during startup: {fault}"
        ) from fault
    machine["last"] = "poweroff"
    register.save()
    return f'Waiting for VM "{machine["name"]}" to power on...\nVM "{machine["name"]}" has been successfully started.\n'


def _qemu(register: Register, machine: dict[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    settings = machine["settings"]
    order = "".join(BOOT[settings.get(f"boot{number}", "none")] for number in range(1, 5))
    words = [
        vm.QEMU, "-name", machine["name"], "-M", "pc,accel=tcg", "-cpu", "max", "-nodefaults", "-no-user-config",
        "-display", "none", "-smp", str(settings.get("cpus", 1)), "-m", str(settings.get("memory", 128)),
        *(["-boot", f"order={order}"] if order else []),
    ]  # fmt: skip
    if settings.get("acpi") == "off":
        words += ["-no-acpi"]
    mode = settings.get("uartmode", ["disconnected"])
    if mode[0] == "file" and settings.get("uart", ["off"])[0] != "off":
        words += ["-serial", f"file:{mode[1]}"]
    for controller in machine["controllers"].values():
        words += _drives(controller)
    networks: list[dict[str, Any]] = []
    for number in ("1", "2"):
        words += _card(register, machine, number, networks)
    return words, networks


def _drives(controller: dict[str, Any]) -> list[str]:
    if controller["bus"] != "ide":
        raise Refused("this stand-in has IDE controllers only")
    words = []
    for slot, (kind, medium) in controller["slots"].items():
        port, device = map(int, slot.split("-"))
        how = "media=cdrom,readonly=on,format=raw" if kind == "dvddrive" else f"format={_format(medium)}"
        words += ["-drive", f"file={medium.replace(',', ',,')},if=ide,index={2 * port + device},{how}"]
    return words


def _format(medium: str) -> str:
    with open(medium, "rb") as file:
        return "vpc" if file.read(8) == b"conectix" else "vmdk"


def _card(register: Register, machine: dict[str, Any], number: str, networks: list[dict[str, Any]]) -> list[str]:
    settings = machine["settings"]
    kind = settings.get(f"nic{number}", "none")
    if kind == "none" or settings.get(f"cableconnected{number}") == "off":
        return []
    digits = settings[f"macaddress{number}"]
    mac = ":".join(digits[at : at + 2] for at in range(0, 12, 2))
    model = MODELS[settings.get(f"nictype{number}", "82540EM")]
    if kind == "nat":
        rules = "".join(
            f",hostfwd={proto}:{host}:{port}-{guest}:{inside}"
            for _, proto, host, port, guest, inside in machine["forwarding"].values()
        )
        return vm.card(int(number), model, mac, f"user,ipv6=off{rules}")
    if kind != "hostonly":
        raise Refused(f"this stand-in has no network cards of type {kind}")
    name = settings.get(f"hostonlyadapter{number}", "")
    if all(adapter["name"] != name for adapter in register.data["adapters"]):
        raise Refused(f"Nonexistent host networking interface, name '{name}' (VERR_INTERNAL_ERROR)",
                      "NS_ERROR_FAILURE (0x80004005), component ConsoleWrap, interface IConsole")  # fmt: skip
    config = vbox_network.network_config(register, register.adapter(name))
    networks.append({"home": str(home()), "name": name, "config": config})
    return vm.card(int(number), model, mac, f"tap,fd={{tap{len(networks) - 1}}}")


def controlvm(register: Register, arguments: list[str]) -> str:
    """The buttons of a running machine."""
    machine = register.machine(arguments[0])
    if not vm.running(run_folder(machine)):
        raise Refused(f"Machine '{machine['name']}' is not currently running.")
    verbs = {"acpipowerbutton": "system_powerdown", "pause": "stop", "resume": "cont", "reset": "system_reset"}
    verb = arguments[1]
    if verb == "poweroff":
        vm.power_off(run_folder(machine))
        sys.stderr.write("0%...10%...20%...30%...40%...50%...60%...70%...80%...90%...100%\n")
    elif verb in verbs:
        vm.command(run_folder(machine), verbs[verb])
    else:
        raise syntax(f"Invalid parameter '{verb}'")
    return ""


def listing(register: Register, arguments: list[str]) -> str:
    """`list`."""
    machines = register.data["machines"].values()
    answers: dict[str, Callable[[], str]] = {
        "hostonlyifs": lambda: vbox_network.hostonlyifs(register),
        "bridgedifs": lambda: vbox_network.bridgedifs(register),
        "dhcpservers": lambda: vbox_network.dhcpservers(register),
        "vms": lambda: "".join(f'"{each["name"]}" {{{each["uuid"]}}}\n' for each in machines),
        "runningvms": lambda: "".join(
            f'"{each["name"]}" {{{each["uuid"]}}}\n' for each in machines if state(each) in ("running", "paused")
        ),
        "hostinfo": lambda: (
            "Host Information:\n\nProcessor online count: 2\nProcessor supports HW virtualization: yes\n"
            "Processor supports long mode: yes\n"
        ),
    }
    if len(arguments) != 1 or arguments[0] not in answers:
        raise syntax(f"Unknown subcommand {' '.join(arguments)!r}")
    return answers[arguments[0]]()


COMMANDS: dict[str, Callable[[Register, list[str]], str]] = {
    "list": listing, "startvm": startvm, "controlvm": controlvm,
    "hostonlyif": vbox_network.hostonlyif, "dhcpserver": vbox_network.dhcpserver,
    **{name: getattr(vbox_machine, name) for name in (
        "createvm", "modifyvm", "storagectl", "storageattach", "unregistervm", "guestproperty", "sharedfolder",
        "setextradata", "showvminfo")},
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """One command."""
    if arguments in (["--version"], ["-v"]):
        print(os.environ.get("STANDIN_VBOX_VERSION", "7.0.20") + "r163906")
        return 0
    try:
        if not arguments or arguments[0] not in COMMANDS:
            raise syntax(f"Invalid command '{' '.join(arguments[:1])}'")
        with register() as known:
            try:
                sys.stdout.write(COMMANDS[arguments[0]](known, arguments[1:]))
            except (IndexError, KeyError) as fault:
                raise syntax(f"Not enough parameters ({fault})") from fault
    except Refused as refused:
        for line in refused.lines:
            print(f"VBoxManage: error: {line}", file=sys.stderr)
        return refused.status
    except vm.VmError as fault:
        print(f"VBoxManage: error: {fault}", file=sys.stderr)
        return 1
    return 0
