"""What VBoxManage prints, as values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface
from typing import NamedTuple

from shoal.machine.driver import State

_STATES = {
    "running": State.RUNNING, "livesnapshotting": State.RUNNING, "teleporting": State.RUNNING,
    "paused": State.PAUSED, "saved": State.SAVED, "aborted-saved": State.SAVED, "poweroff": State.STOPPED,
    "aborted": State.STOPPED, "starting": State.STARTING, "restoring": State.STARTING, "stopping": State.STOPPING,
    "saving": State.STOPPING, "gurumeditation": State.ERROR, "stuck": State.ERROR,
}  # fmt: skip


def info(text: str) -> dict[str, str]:
    """`showvminfo --machinereadable`: `key="value"` or `key=value` lines; keys may be quoted themselves."""
    found = {}
    for line in text.splitlines():
        if match := re.fullmatch(r'(?:"([^"]*)"|([^="]+))=(?:"(.*)"|(.*))', line.strip()):
            quoted, plain, text_value, value = match.groups()
            found[quoted if quoted is not None else plain] = text_value if text_value is not None else value
    return found


def state(machine: Mapping[str, str]) -> State:
    """The state in a machine's `info`."""
    return _STATES.get(machine.get("VMState", ""), State.NONE)


def mac_address(machine: Mapping[str, str], card: int) -> str:
    """The MAC address of network card `card`, as `08:00:27:aa:bb:cc`; empty when the card is not there."""
    digits = machine.get(f"macaddress{card}", "").lower()
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2)) if re.fullmatch(r"[0-9a-f]{12}", digits) else ""


class Adapter(NamedTuple):
    """A network interface of the host: a host-only one, or one that machines can be bridged to."""

    name: str
    address: IPv4Interface | None
    network_name: str


def adapters(text: str) -> list[Adapter]:
    """`list hostonlyifs` and `list bridgedifs`: records of `Key: value` lines, `VBoxNetworkName` the last of each."""
    return [
        Adapter(record.get("Name", ""), _interface(record), record.get("VBoxNetworkName", ""))
        for record in _records(text, "Name")
    ]


def _interface(record: Mapping[str, str]) -> IPv4Interface | None:
    try:
        address = IPv4Interface(f"{record.get('IPAddress')}/{record.get('NetworkMask')}")
    except ValueError:
        return None
    return address if int(address.ip) else None


class DhcpServer(NamedTuple):
    """A DHCP server of VirtualBox: for which network, its own address, and what it gives away."""

    network_name: str
    address: IPv4Interface
    lower: IPv4Address
    upper: IPv4Address
    enabled: bool


def dhcp_servers(text: str) -> list[DhcpServer]:
    """`list dhcpservers`, in the words of before 6.1 and since. What has no addresses is left out."""
    found = []
    for record in _records(text, "NetworkName"):
        names = {key.lower().removeprefix("dhcpd "): value for key, value in record.items()}
        try:
            address = IPv4Interface(f"{names['ip']}/{names['networkmask']}")
            lower, upper = IPv4Address(names["loweripaddress"]), IPv4Address(names["upperipaddress"])
        except (KeyError, ValueError):
            continue
        found.append(DhcpServer(record["NetworkName"], address, lower, upper, names.get("enabled") == "Yes"))
    return found


def _records(text: str, first: str) -> Iterator[Mapping[str, str]]:
    """Records that begin with the key `first`. Only unindented lines: what is indented belongs to groups or scopes."""
    record: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not colon or line[:1].isspace():
            continue
        if key == first and record:
            yield record
            record = {}
        record[key] = value.strip()
    if record.get(first):
        yield record


def machines(text: str) -> list[tuple[str, str]]:
    """`list vms`: names and UUIDs."""
    return re.findall(r'^"(.*)" \{([0-9a-fA-F-]{36})\}', text, re.M)


def created_adapter(text: str) -> str | None:
    """The name in `hostonlyif create`'s answer."""
    match = re.search(r"Interface '(.+)' was successfully created", text)
    return match.group(1) if match else None


def property_value(text: str) -> str:
    """The value in `guestproperty get`'s answer; empty for `No value set!`."""
    match = re.search(r"^Value: (.*)$", text, re.M)
    return match.group(1).strip() if match else ""


def guest_address(text: str, mac: str) -> str | None:
    """The first global IPv4 address of the card `mac` in what `ip addr show` printed in the guest."""
    ours = False
    for line in text.splitlines():
        words = line.split()
        if not line[:1].isspace() and ":" in line:
            ours = False
        elif words[:1] == ["link/ether"]:
            ours = len(words) > 1 and words[1].lower() == mac.lower()
        elif ours and words[:1] == ["inet"] and "link" not in words[3:5]:
            return words[1].partition("/")[0]
    return None
