"""Microsoft Azure (Resource Manager)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from shoal.machine.cloud import api, azure_network, rules
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.provider import Option, Plan, Provider, Save
from shoal.machine.errors import MachineError

N = "azure"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,52}[A-Za-z0-9])?")
_IMAGE = re.compile(r"[^:]+:[^:]+:[^:]+:[^:]+")
_BROWSER = "logging in by a browser is not supported: make a service principal at Azure"


class Azure(Provider):
    """A machine has an address, a network card and a firewall of its own; the virtual network is shared."""

    name, title, constant, id_key = N, "Azure", "azure_arm", "VirtualMachine"
    names_are_ids, key_kind = True, "rsa"
    options = (
        Option(f"{N}-environment", "Azure environment (e.g. AzurePublicCloud, AzureChinaCloud)", "AZURE_ENVIRONMENT",
               "AzurePublicCloud", "Environment"),
        Option(f"{N}-subscription-id", "Azure subscription ID", "AZURE_SUBSCRIPTION_ID", key="SubscriptionID"),
        Option(f"{N}-tenant-id", "Azure tenant ID; default is the subscription's", "AZURE_TENANT_ID", key="TenantID"),
        Option(f"{N}-resource-group", "Resource group (made if missing)", "AZURE_RESOURCE_GROUP", "docker-machine",
               "ResourceGroup"),
        Option(f"{N}-ssh-user", "SSH username", "AZURE_SSH_USER", "docker-user", "SSHUser"),
        Option(f"{N}-docker-port", "Port of the engine", "AZURE_DOCKER_PORT", 2376, "DockerPort"),
        Option(f"{N}-location", "Region", "AZURE_LOCATION", "westus", "Location"),
        Option(f"{N}-size", "Size of the machine", "AZURE_SIZE", "Standard_B2s", "Size"),
        Option(f"{N}-image", "Image: PUBLISHER:OFFER:SKU:VERSION", "AZURE_IMAGE",
               "Canonical:ubuntu-24_04-lts:server:latest", "Image"),
        Option(f"{N}-vnet", "Virtual network ([resourcegroup:]name; made if missing)", "AZURE_VNET",
               "docker-machine-vnet", "VirtualNetwork"),
        Option(f"{N}-subnet", "Subnet of the virtual network", "AZURE_SUBNET", "docker-machine", "SubnetName"),
        Option(f"{N}-subnet-prefix", "Addresses of a subnet that is made", "AZURE_SUBNET_PREFIX", "192.168.0.0/16",
               "SubnetPrefix"),
        Option(f"{N}-availability-set", "Availability set", "AZURE_AVAILABILITY_SET", "docker-machine",
               "AvailabilitySet", idle="Libcloud has no availability sets"),
        Option(f"{N}-custom-data", "Path to file with cloud-init user data", "AZURE_CUSTOM_DATA_FILE",
               key="UserDataFile"),
        Option(f"{N}-private-ip-address", "Static private IP address", key="PrivateIPAddr"),
        Option(f"{N}-storage-type", "Kind of the disk's storage", "AZURE_STORAGE_TYPE", "Standard_LRS", "StorageType",
               "ex_storage_account_type"),
        Option(f"{N}-use-private-ip", "Reach the machine at its private address", "", False, "UsePrivateIP"),
        Option(f"{N}-no-public-ip", "Give the machine no public address", "", False, "NoPublicIP"),
        Option(f"{N}-static-public-ip", "Give the machine a static public address", "", False, "StaticPublicIP"),
        Option(f"{N}-dns", "DNS label of the public address", "AZURE_DNS_LABEL", key="DNSLabel"),
        Option(f"{N}-open-port", "Make the port accessible from the Internet", "", (), "OpenPorts"),
        Option(f"{N}-client-id", "Service principal account ID", "AZURE_CLIENT_ID", key="ClientID"),
        Option(f"{N}-client-secret", "Service principal account password", "AZURE_CLIENT_SECRET", secret=True,
               old_key="ClientSecret"),
    )  # fmt: skip

    def configure(self, data: dict[str, Any], values: Mapping[str, Any]) -> None:
        """What Azure would refuse late."""
        if not data["SubscriptionID"]:
            raise MachineError(f"{N} driver requires the --{N}-subscription-id option")
        if not data["ClientID"]:
            raise MachineError(f"{N} driver requires the --{N}-client-id option: {_BROWSER}")
        if data["DockerPort"] != rules.ENGINE_PORT:
            raise MachineError(f"--{N}-docker-port: the engine's port is {rules.ENGINE_PORT}")
        if not _NAME.fullmatch(data["MachineName"]):
            raise MachineError(f'"{data["MachineName"]}" cannot be the name of a machine at Azure')
        if not _IMAGE.fullmatch(data["Image"]):
            raise MachineError(f"--{N}-image: want PUBLISHER:OFFER:SKU:VERSION")
        if data["NoPublicIP"] and (data["StaticPublicIP"] or data["DNSLabel"]):
            raise MachineError(f"--{N}-no-public-ip excludes --{N}-static-public-ip and --{N}-dns")
        rules.needed(data["SSHPort"], data["OpenPorts"])

    def connection(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """The service principal."""
        environment = data["Environment"]
        return {
            "tenant_id": data.get("TenantID") or "", "subscription_id": data["SubscriptionID"],
            "key": data["ClientID"], "secret": secrets[f"{N}-client-secret"], "region": data["Location"],
            "cloud_environment": "default" if environment == "AzurePublicCloud" else environment,
        }  # fmt: skip

    def connect(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> Any:
        """Find the tenant, and have Libcloud's request bodies understood: it puts bytes for user-data into JSON."""
        found = dict(data)
        if not found.get("TenantID"):
            found["TenantID"] = tenant_of(found["SubscriptionID"], found["Environment"])
        cloud = super().connect(found, secrets)
        cloud.connection.encode_data = encoded
        return cloud

    def check(self, cloud: Any, data: dict[str, Any]) -> None:
        """Whether the name is free in the resource group, and so are those of the machine's parts."""
        if self.find(cloud, {**data, self.id_key: data["MachineName"]}) is not None:
            raise MachineError(f"there is a machine called {data['MachineName']} in {data['ResourceGroup']} already")
        azure_network.check(cloud, data)

    def import_key(self, cloud: Any, plan: Plan, data: dict[str, Any]) -> None:
        """The key goes to the machine alone."""

    def delete_key(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """It went with the machine."""

    def open_ports(self, cloud: Any, data: dict[str, Any], save: Save) -> None:
        """Everything a machine needs before it is made: group, network, firewall, address, card."""
        data["Lingers"] = True
        data["Network"] = True
        save()
        azure_network.make(cloud, data)

    def close_ports(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """The machine's own parts; the network when nothing is in it and it was ours. The resource group stays."""
        if data.get("Network") or "Token" not in data:
            azure_network.remove(cloud, data)

    def arguments(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
        """A managed disk, which goes with the machine."""
        from libcloud.compute.base import NodeAuthSSHKey
        from libcloud.compute.drivers.azure_arm import AzureImage

        publisher, offer, sku, version = data["Image"].split(":")
        made: Any = AzureImage
        place = api.location(cloud, data["Location"])
        return {
            "name": plan.name, "size": api.size(cloud, data["Size"]), "location": place,
            "image": made(version, sku, offer, publisher, place.id, cloud),
            "auth": NodeAuthSSHKey(plan.public_key), "ex_resource_group": data["ResourceGroup"],
            "ex_user_name": data["SSHUser"], "ex_nic": azure_network.card(cloud, data),
            "ex_tags": {"shoal-token": plan.token}, "ex_customdata": plan.user_data.encode(),
            "ex_use_managed_disks": True, "ex_os_disk_delete": True,
        }  # fmt: skip

    def nodes(self, cloud: Any, data: Mapping[str, Any]) -> list[Any]:
        """Those of the resource group."""
        return list(cloud.list_nodes(ex_resource_group=data["ResourceGroup"]))

    def identify(self, node: Any) -> Any:
        """Its name."""
        return node.name

    def find(self, cloud: Any, data: Mapping[str, Any]) -> Any | None:
        """By its path."""
        try:
            return cloud.ex_get_node(azure_network.path(cloud, data, "Compute/virtualMachines", data[self.id_key]))
        except Exception as fault:  # Libcloud's BaseHTTPError, which tells by its code
            if getattr(fault, "code", None) == 404:
                return None
            raise

    def is_ours(self, node: Any, data: Mapping[str, Any]) -> bool:
        """By its tag."""
        return bool((node.extra.get("tags") or {}).get("shoal-token") == data["Token"])

    def stop(self, cloud: Any, node: Any) -> None:
        """Deallocated: a machine that is only shut down is still charged for."""
        cloud.stop_node(node, ex_deallocate=True)

    def destroy(self, cloud: Any, node: Any) -> None:
        """Its card and disk are taken away with it."""
        cloud.destroy_node(node)

    def is_private(self, data: Mapping[str, Any]) -> bool:
        """Also where it has no other address."""
        return bool(data.get("UsePrivateIP") or data.get("NoPublicIP"))


def encoded(data: Any) -> str:
    """JSON in which bytes are text."""
    return json.dumps(data, default=lambda value: value.decode() if isinstance(value, bytes) else str(value))


def tenant_of(subscription: str, environment: str) -> str:
    """The tenant of a subscription: Azure names it when it refuses a request without a token."""
    from libcloud.common.azure_arm import publicEnvironments

    known = publicEnvironments.get("default" if environment == "AzurePublicCloud" else environment)
    if known is None:
        raise MachineError(f"there is no Azure environment {environment}")
    base = str(known["resourceManagerEndpointUrl"]).rstrip("/")
    try:
        with urlopen(f"{base}/subscriptions/{subscription}?api-version=2016-06-01", timeout=30):
            raise MachineError("Azure answered without asking for a token: set AZURE_TENANT_ID")
    except HTTPError as answer:
        return tenant_in(answer.headers.get("WWW-Authenticate", ""))
    except OSError as fault:
        raise MachineError(f"Azure: {fault}") from fault


def tenant_in(challenge: str) -> str:
    """The tenant in a `WWW-Authenticate` header: the last part of its authorization_uri's path."""
    match = re.search(r'authorization_uri="https://[^/"]+/([0-9a-fA-F-]{36})', challenge)
    if not match:
        raise MachineError("Azure did not say which tenant the subscription belongs to: set AZURE_TENANT_ID")
    return match[1]


class AzureDriver(CloudDriver):
    """`-d azure`."""

    provider = Azure()
