"""What a machine at Azure needs around it: resource group, virtual network, firewall, public address, network card.

Libcloud makes machines but not these, so its connection is asked directly (Azure Resource Manager: PUT makes or
changes, DELETE of what is not there is fine).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from shoal.machine.cloud import rules
from shoal.machine.errors import MachineError

VERSION, GROUP_VERSION = "2019-06-01", "2021-04-01"
OURS = {"made-by": "shoal-machine"}
LIMIT = 300.0


def path(cloud: Any, data: Mapping[str, Any], kind: str, name: str, group: str = "") -> str:
    """The path of a resource; `kind` is like `Network/publicIPAddresses`."""
    return (
        f"/subscriptions/{cloud.subscription_id}/resourceGroups/{group or data['ResourceGroup']}"
        f"/providers/Microsoft.{kind}/{name}"
    )


def check(cloud: Any, data: Mapping[str, Any]) -> None:
    """Whether nobody else has what `make` would overwrite. Raises MachineError that names it."""
    for where in _parts(cloud, data):
        found = _get(cloud, where)
        if found and not _is_ours(found):
            raise MachineError(
                f"there is a {where.rpartition('/')[2]} in {data['ResourceGroup']} that was not made by shoal machine: "
                "choose another name for the machine"
            )


def make(cloud: Any, data: Mapping[str, Any]) -> None:
    """Make what is missing; the card comes last."""
    group = f"/subscriptions/{cloud.subscription_id}/resourceGroups/{data['ResourceGroup']}"
    if _get(cloud, group, GROUP_VERSION) is None:
        _put(cloud, group, {"location": data["Location"], "tags": OURS}, GROUP_VERSION)
    subnet = _subnet(cloud, data)
    firewall = _firewall(cloud, data)
    _put(
        cloud, firewall, {"location": data["Location"], "tags": OURS, "properties": {"securityRules": rule_list(data)}}
    )
    configuration: dict[str, Any] = {"subnet": {"id": subnet}, "privateIPAllocationMethod": "Dynamic"}
    if data["PrivateIPAddr"]:
        configuration.update(privateIPAllocationMethod="Static", privateIPAddress=data["PrivateIPAddr"])
    if not data["NoPublicIP"]:
        address = _address(cloud, data)
        _put(cloud, address, address_body(data))
        configuration["publicIPAddress"] = {"id": address}
    _put(cloud, _card(cloud, data), {
        "location": data["Location"], "tags": OURS,
        "properties": {
            "networkSecurityGroup": {"id": firewall},
            "ipConfigurations": [{"name": "ip", "properties": configuration}],
        },
    })  # fmt: skip


def remove(cloud: Any, data: Mapping[str, Any]) -> None:
    """Take the machine's own parts away, and the virtual network when it is ours and nothing is in it any more.

    docker-machine left no tag on what it made; what we make has one.
    """
    for where in _parts(cloud, data):
        found = _get(cloud, where)
        if found and ("Token" not in data or _is_ours(found)):
            _delete(cloud, where)
    network = _network(cloud, data)
    found = _get(cloud, network)
    if found and _is_ours(found):
        subnets = found.get("properties", {}).get("subnets", [])
        if not any(subnet.get("properties", {}).get("ipConfigurations") for subnet in subnets):
            _delete(cloud, network)


def card(cloud: Any, data: Mapping[str, Any]) -> Any:
    """The network card as create_node wants it."""
    return cloud.ex_get_nic(_card(cloud, data))


def rule_list(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The firewall's rules. Members are in one virtual network, whose own traffic Azure lets in anyway."""
    needed = [rule for rule in rules.needed(data["SSHPort"], data["OpenPorts"]) if not rule.members]
    return [
        {
            "name": f"{rule.protocol}-{rule.first}-{rule.last}",
            "properties": {
                "priority": 100 + number, "direction": "Inbound", "access": "Allow",
                "protocol": rule.protocol.capitalize(), "sourceAddressPrefix": "*", "sourcePortRange": "*",
                "destinationAddressPrefix": "*", "destinationPortRange": f"{rule.first}-{rule.last}",
            },
        }
        for number, rule in enumerate(needed)
    ]  # fmt: skip


def address_body(data: Mapping[str, Any]) -> dict[str, Any]:
    """The public address: of the standard kind, which is all that Azure still makes, and static as that kind is."""
    properties: dict[str, Any] = {"publicIPAllocationMethod": "Static"}
    if data["DNSLabel"]:
        properties["dnsSettings"] = {"domainNameLabel": data["DNSLabel"]}
    return {"location": data["Location"], "tags": OURS, "sku": {"name": "Standard"}, "properties": properties}


def _parts(cloud: Any, data: Mapping[str, Any]) -> list[str]:
    """The paths of what is the machine's alone, in the order in which it may be removed."""
    address = [] if data.get("NoPublicIP") else [_address(cloud, data)]
    return [_card(cloud, data), *address, _firewall(cloud, data)]


def _is_ours(resource: Mapping[str, Any]) -> bool:
    return bool((resource.get("tags") or {}).get("made-by") == OURS["made-by"])


def _address(cloud: Any, data: Mapping[str, Any]) -> str:
    return path(cloud, data, "Network/publicIPAddresses", f"{data['MachineName']}-ip")


def _firewall(cloud: Any, data: Mapping[str, Any]) -> str:
    return path(cloud, data, "Network/networkSecurityGroups", f"{data['MachineName']}-firewall")


def _card(cloud: Any, data: Mapping[str, Any]) -> str:
    return path(cloud, data, "Network/networkInterfaces", f"{data['MachineName']}-nic")


def _network(cloud: Any, data: Mapping[str, Any]) -> str:
    group, _, name = str(data["VirtualNetwork"]).rpartition(":")
    return path(cloud, data, "Network/virtualNetworks", name, group)


def _subnet(cloud: Any, data: Mapping[str, Any]) -> str:
    network = _network(cloud, data)
    if _get(cloud, network) is None:
        space = {"addressSpace": {"addressPrefixes": [data["SubnetPrefix"]]}}
        _put(cloud, network, {"location": data["Location"], "tags": OURS, "properties": space})
    subnet = f"{network}/subnets/{data['SubnetName']}"
    if _get(cloud, subnet) is None:
        _put(cloud, subnet, {"properties": {"addressPrefix": data["SubnetPrefix"]}})
    return subnet


def _get(cloud: Any, where: str, version: str = VERSION) -> Any | None:
    try:
        return cloud.connection.request(where, params={"api-version": version}).object
    except Exception as fault:  # Libcloud's BaseHTTPError, which tells by its code
        if getattr(fault, "code", None) == 404:
            return None
        raise


def _put(cloud: Any, where: str, body: Mapping[str, Any], version: str = VERSION) -> None:
    """Make it, and wait until it is made."""
    cloud.connection.request(where, params={"api-version": version}, data=body, method="PUT")
    deadline = time.monotonic() + LIMIT
    while True:
        found = _get(cloud, where, version) or {}
        state = found.get("properties", {}).get("provisioningState")
        if state == "Succeeded":
            return
        if state == "Failed" or time.monotonic() > deadline:
            raise MachineError(f"Azure could not make {where.rpartition('/')[2]}: its state is {state}")
        time.sleep(1)


def _delete(cloud: Any, where: str) -> None:
    """Take it away, and wait until it is gone: what is next may not be removed before."""
    deadline = time.monotonic() + LIMIT
    if _get(cloud, where) is None:
        return
    cloud.connection.request(where, params={"api-version": VERSION}, method="DELETE")
    while _get(cloud, where) is not None:
        if time.monotonic() > deadline:
            raise MachineError(f"Azure did not remove {where.rpartition('/')[2]} within {LIMIT:g} seconds")
        time.sleep(1)
