"""VBoxManage's commands about networks of the host: host-only adapters, DHCP servers, what can be bridged to."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import lan
from vbox_machine import options
from vbox_register import Refused, Register, home, syntax

NETWORKS = Path("/etc/vbox/networks.conf")
DEFAULT_RANGE = "192.168.56.0/21"
PREFIX = "HostInterfaceNetworking-"


def hostonlyif(register: Register, arguments: list[str]) -> str:
    """Make, address or remove an adapter."""
    verb, words = arguments[0], arguments[1:]
    if verb == "create":
        names = {adapter["name"] for adapter in register.data["adapters"]}
        name = next(f"vboxnet{number}" for number in range(128) if f"vboxnet{number}" not in names)
        number = int(name.removeprefix("vboxnet"))
        register.data["adapters"].append(
            {"name": name, "number": number, "ip": f"192.168.{56 + number % 8}.1", "mask": "255.255.255.0"}
        )
        register.save()
        return f"0%...10%...20%...30%...40%...50%...60%...70%...80%...90%...100%\nInterface '{name}' was successfully created\n"
    adapter = register.adapter(words[0])
    if verb == "ipconfig":
        given = options(words[1:], {"ip": True, "netmask": True})
        if not _allowed(given["ip"]):
            raise _Denied()
        adapter.update(ip=given["ip"], mask=given.get("netmask", "255.255.255.0"))
    elif verb == "remove":
        register.data["adapters"].remove(adapter)
    else:
        raise syntax(f"Invalid parameter '{verb}'")
    register.save()
    return ""


class _Denied(Refused):
    """Since 6.1.28."""

    def __init__(self) -> None:
        super().__init__("Code E_ACCESSDENIED (0x80070005) - Access denied (extended info not available)")
        self.lines.append(
            'Context: "EnableStaticIPConfig(Bstr(pszIp).raw(), Bstr(pszNetmask).raw())" at line 242 of file VBoxManageHostonly.cpp'
        )


def _allowed(address: str) -> bool:
    if tuple(map(int, os.environ.get("STANDIN_VBOX_VERSION", "7.0.20").split("."))) < (6, 1, 28):
        return True
    ranges = [
        word
        for line in (NETWORKS.read_text().splitlines() if NETWORKS.exists() else [])
        if line.startswith("*")
        for word in line[1:].split()
        if ":" not in word
    ]
    return any(
        ipaddress.IPv4Address(address) in ipaddress.ip_network(each, strict=False) for each in ranges or [DEFAULT_RANGE]
    )


def dhcpserver(register: Register, arguments: list[str]) -> str:
    """Add, change or remove a DHCP server."""
    verb = arguments[0]
    names = {
        "netname": True,
        "ip": True,
        "netmask": True,
        "lowerip": True,
        "upperip": True,
        "enable": False,
        "disable": False,
    }
    given = options(arguments[1:], names)
    known = register.dhcp(given.get("netname", ""))
    if verb == "add" and known:
        raise Refused("DHCP server already exists", "E_INVALIDARG (0x80070057)")
    if verb in ("modify", "remove") and not known:
        raise Refused("DHCP server does not exist")
    if verb == "remove":
        register.data["dhcp"].remove(known)
    elif verb in ("add", "modify"):
        server = known if known is not None else {"network": given["netname"], "enabled": False}
        server.update({key: given[key] for key in ("ip", "netmask", "lowerip", "upperip") if key in given})
        server["enabled"] = "enable" in given or (server["enabled"] and "disable" not in given)
        if not known:
            register.data["dhcp"].append(server)
    else:
        raise syntax(f"Invalid parameter '{verb}'")
    register.save()
    return ""


def hostonlyifs(register: Register) -> str:
    """`list hostonlyifs`."""
    return "".join(
        _interface(
            adapter["name"], f"786f6276-656e-4{adapter['number']:03x}-8000-0a00270000{adapter['number']:02x}",
            adapter["ip"], adapter["mask"], "0a:00:27:00:00:00", PREFIX + adapter["name"],
        )
        for adapter in register.data["adapters"]
    )  # fmt: skip


def bridgedifs(register: Register) -> str:
    """`list bridgedifs`: this computer's own interfaces."""
    done = subprocess.run(["/sbin/ip", "-json", "-4", "address", "show"], capture_output=True, text=True, check=True)
    own = {lan.link_name(home(), adapter["name"]) for adapter in register.data["adapters"]}
    text = ""
    for link in json.loads(done.stdout or "[]"):
        shared = lan.NETNS in os.environ and str(link.get("ifname")).startswith("shoal")
        if shared or link.get("ifname") in own or "LOOPBACK" in link.get("flags", []):
            continue
        for address in link.get("addr_info", []):
            interface = ipaddress.IPv4Interface(f"{address['local']}/{address['prefixlen']}")
            text += _interface(
                link["ifname"],
                "0" * 8,
                str(interface.ip),
                str(interface.netmask),
                link.get("address", ""),
                PREFIX + link["ifname"],
            )
    return text


def _interface(name: str, guid: str, address: str, mask: str, mac: str, network: str) -> str:
    fields: dict[str, str] = {
        "Name": name, "GUID": guid, "DHCP": "Disabled", "IPAddress": address, "NetworkMask": mask, "IPV6Address": "",
        "IPV6NetworkMaskPrefixLength": "0", "HardwareAddress": mac, "MediumType": "Ethernet", "Wireless": "No",
        "Status": "Up", "VBoxNetworkName": network,
    }  # fmt: skip
    return "".join(f"{key + ':':<16} {value}\n" for key, value in fields.items()) + "\n"


def dhcpservers(register: Register) -> str:
    """`list dhcpservers`."""
    return "".join(
        f"NetworkName:    {server['network']}\nDhcpd IP:       {server['ip']}\nLowerIPAddress: {server['lowerip']}\n"
        f"UpperIPAddress: {server['upperip']}\nNetworkMask:    {server['netmask']}\n"
        f"Enabled:        {'Yes' if server['enabled'] else 'No'}\nGlobal Configuration:\n    minLeaseTime:     default\n"
        "    Forced options:   None\n    Suppressed opts.: None\n        1/legacy: 255.255.255.0\nGroups:               None\n"
        "Individual Configs:   None\n\n"
        for server in register.data["dhcp"]
    )


def network_config(register: Register, adapter: dict[str, Any]) -> dict[str, Any]:
    """An adapter as `lan.join` takes it."""
    prefix = ipaddress.IPv4Network(f"0.0.0.0/{adapter['mask']}").prefixlen
    server = register.dhcp(PREFIX + adapter["name"])
    dhcp = None
    if server and server["enabled"]:
        dhcp = {"server": server["ip"], "lower": server["lowerip"], "upper": server["upperip"]}
    return {"host": f"{adapter['ip']}/{prefix}", "dhcp": dhcp}
