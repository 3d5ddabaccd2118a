"""DigitalOcean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shoal.machine.cloud import api
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.provider import Option, Plan, Provider, ssh_options, words
from shoal.machine.errors import MachineError

N, E = "digitalocean", "DIGITALOCEAN"


class DigitalOcean(Provider):
    """Droplets. They have no firewall unless one is made for them, so there is none to open."""

    name, title, constant, id_key = N, "DigitalOcean", "digitalocean", "DropletID"
    account = f"{N}-access-token"
    options = (
        Option(f"{N}-access-token", "DigitalOcean access token", f"{E}_ACCESS_TOKEN", secret=True,
               old_key="AccessToken"),
        *ssh_options(N, E, "root"),
        Option(f"{N}-ssh-key-fingerprint", "Fingerprint of a key that the account has", f"{E}_SSH_KEY_FINGERPRINT",
               key="KeyName"),
        Option(f"{N}-ssh-key-path", "SSH private key path", f"{E}_SSH_KEY_PATH", key="OwnKeyPath"),
        Option(f"{N}-image", "DigitalOcean image", f"{E}_IMAGE", "ubuntu-24-04-x64", "Image"),
        Option(f"{N}-region", "DigitalOcean region", f"{E}_REGION", "nyc3", "Region"),
        Option(f"{N}-size", "DigitalOcean size", f"{E}_SIZE", "s-1vcpu-1gb", "Size"),
        Option(f"{N}-ipv6", "Enable IPv6", f"{E}_IPV6", False, "IPv6"),
        Option(f"{N}-private-networking", "Enable private networking", f"{E}_PRIVATE_NETWORKING", False,
               "PrivateNetworking"),
        Option(f"{N}-backups", "Enable backups", f"{E}_BACKUPS", False, "Backups"),
        Option(f"{N}-userdata", "Path to file with cloud-init user data", f"{E}_USERDATA", key="UserDataFile"),
        Option(f"{N}-monitoring", "Enable monitoring", f"{E}_MONITORING", False, "Monitoring"),
        Option(f"{N}-tags", "Comma-separated list of tags", f"{E}_TAGS", key="Tags"),
    )  # fmt: skip

    def connection(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """The token."""
        return {"key": secrets[f"{N}-access-token"]}

    def check(self, cloud: Any, data: dict[str, Any]) -> None:
        """Whether the region exists and takes machines."""
        if data["Region"] not in [region.id for region in cloud.list_locations()]:
            raise MachineError(
                "digitalocean requires a valid region" if not data["Region"] else f"no region {data['Region']}"
            )

    def import_key(self, cloud: Any, plan: Plan, data: dict[str, Any]) -> None:
        """Keys are told apart by a number."""
        data["SSHKeyID"] = int(cloud.create_key_pair(plan.key_name, plan.public_key).extra["id"])

    def delete_key(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """By its number, or by its name when making it was interrupted. docker-machine noted a user's own key."""
        for pair in cloud.list_key_pairs() if not data.get("SSHKeyFingerprint") else ():
            if pair.extra["id"] == data.get("SSHKeyID") or pair.name == data.get("KeyName"):
                cloud.delete_key_pair(pair)

    def arguments(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
        """Most goes into one dictionary here."""
        # Libcloud passes on the attributes it knows of; this one is younger.
        cloud.EX_CREATE_ATTRIBUTES = list({*cloud.EX_CREATE_ATTRIBUTES, "monitoring"})
        attributes = {
            "backups": data["Backups"], "ipv6": data["IPv6"], "private_networking": data["PrivateNetworking"],
            "tags": words(data["Tags"]), "monitoring": data["Monitoring"],
            "ssh_keys": [data.get("SSHKeyID") or plan.key_name],
        }  # fmt: skip
        return {
            "name": plan.name, "size": api.size(cloud, data["Size"]), "image": api.image(cloud, data["Image"]),
            "location": api.location(cloud, data["Region"]), "ex_create_attr": attributes,
            "ex_user_data": plan.user_data,
        }  # fmt: skip

    def start(self, cloud: Any, node: Any) -> None:
        """Power on."""
        cloud.ex_power_on_node(node)

    def stop(self, cloud: Any, node: Any) -> None:
        """As by its power button."""
        cloud.ex_shutdown_node(node)

    def kill(self, cloud: Any, node: Any) -> None:
        """Libcloud has no call for it."""
        cloud.connection.request(
            f"/v2/droplets/{node.id}/actions", data=json.dumps({"type": "power_off"}), method="POST"
        )


class DigitalOceanDriver(CloudDriver):
    """`-d digitalocean`."""

    provider = DigitalOcean()
