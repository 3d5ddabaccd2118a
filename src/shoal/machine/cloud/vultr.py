"""Vultr."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from shoal.machine.cloud import api, rules
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.provider import Option, Plan, Provider, ssh_options
from shoal.machine.errors import MachineError

N = "vultr"


class Vultr(Provider):
    """Flags are those of Vultr's own driver for docker-machine, and the older ones where they mean the same."""

    name, title, constant, id_key = N, "Vultr", "vultr", "InstanceID"
    account = f"{N}-api-key"
    options = (
        Option(f"{N}-api-key", "Vultr API key", "VULTR_API_KEY", secret=True, old_key="APIKey"),
        Option(f"{N}-region", "Region", "VULTR_REGION", "ewr", "Region"),
        Option(f"{N}-vps-plan", "VPS plan", "VULTR_VPS_PLAN", "vc2-1c-2gb", "Plan"),
        Option(f"{N}-tags", "Tags; Libcloud passes one on", "VULTR_TAGS", (), "Tags"),
        Option(f"{N}-os-id", "Operating system ID (2284: Ubuntu 24.04)", "VULTR_OSID", 2284, "OSID"),
        Option(f"{N}-iso-id", "ISO ID", "VULTR_ISOID", "", "ISOID", "ex_iso_id"),
        Option(f"{N}-image-id", "Image ID of a Marketplace app", "VULTR_IMAGEID", "", "ImageID", "ex_image_id"),
        Option(f"{N}-firewall-group-id", "Firewall group; it must let in 22 and 2376", "VULTR_FIREWALL_GROUP_ID", "",
               "FirewallGroupID", "ex_firewall_group_id"),
        Option(f"{N}-ipxe-chain-url", "IPXE chain URL", "VULTR_IPXE_CHAIN_URL", "", "IPXEChainURL",
               "ex_ipxe_chain_url"),
        Option(f"{N}-startup-script-id", "Startup script ID", "VULTR_STARTUP_SCRIPT_ID", "", "ScriptID",
               "ex_script_id"),
        Option(f"{N}-snapshot-id", "Snapshot ID", "VULTR_SNAPSHOT_ID", "", "SnapshotID", "ex_snapshot"),
        Option(f"{N}-enabled-ipv6", "Enable IPv6", "VULTR_ENABLE_IPV6", False, "IPv6", "ex_enable_ipv6"),
        Option(f"{N}-enable-vpc", "Enable a private network", "VULTR_ENABLE_VPC", False, "EnableVPC",
               "ex_enable_private_network"),
        Option(f"{N}-vpc-ids", "Private networks", "VULTR_VPC_IDS", (), "VPCIDs", "ex_private_network_ids"),
        Option(f"{N}-ssh-key-ids", "Keys of the account that are let in too", "VULTR_SSH_KEY_IDS", (), "SSHKeyIDs"),
        Option(f"{N}-vps-backups", "Enable automatic backups", "VULTR_VPS_BACKUPS", False, "Backups", "ex_backups"),
        Option(f"{N}-ddos-protection", "Enable DDOS protection", "VULTR_DDOS_PROTECTION", False, "DDOSProtection",
               "ex_ddos_protection"),
        Option(f"{N}-cloud-init-user-data", "cloud-init user data in base64", "VULTR_CLOUD_INIT_USER_DATA",
               key="UserDataBase64"),
        Option(f"{N}-userdata", "Path to file with cloud-init user data", "VULTR_USERDATA", key="UserDataFile"),
        Option(f"{N}-floating-ipv4-id", "Reserved IPv4 address", "VULTR_FLOATING_IPV4_ID", "", "ReservedIPv4",
               "ex_reserved_ipv4"),
        Option(f"{N}-send-activation-email", "Send an activation email", "VULTR_SEND_ACTIVATION_EMAIL", False,
               "ActivationEmail", "ex_activation_email"),
        *ssh_options(N, "VULTR", "root"),
    )  # fmt: skip

    def configure(self, data: dict[str, Any], values: Mapping[str, Any]) -> None:
        """One way to give user-data at a time."""
        if data["UserDataBase64"] and data["UserDataFile"]:
            raise MachineError(f"--{N}-cloud-init-user-data and --{N}-userdata exclude each other")
        self.own_user_data(data)

    def own_user_data(self, data: Mapping[str, Any]) -> list[str]:
        """What the user gave, and the host's own firewall opened: Vultr's images let in ssh only."""
        try:
            own = base64.b64decode(data["UserDataBase64"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as fault:
            raise MachineError(f"--{N}-cloud-init-user-data: {fault}") from fault
        allow = [f"ufw allow {rule.first}:{rule.last}/{rule.protocol}" for rule in rules.needed(data["SSHPort"])]
        script = "#!/bin/sh\ncommand -v ufw >/dev/null || exit 0\n" + "\n".join(allow) + "\n"
        return [own, script]

    def connection(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """The key."""
        return {"key": secrets[f"{N}-api-key"]}

    def import_key(self, cloud: Any, plan: Plan, data: dict[str, Any]) -> None:
        """Keys are told apart by an id."""
        data["SSHKeyID"] = cloud.import_key_pair_from_string(plan.key_name, plan.public_key).extra["id"]

    def arguments(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
        """The token is the one tag that Libcloud passes on, unless the user has one."""
        whole = data["SnapshotID"] or data["ISOID"] or data["ImageID"]
        return {
            "name": plan.name, "size": api.size(cloud, data["Plan"]), "location": api.location(cloud, data["Region"]),
            "image": None if whole else api.image(cloud, str(data["OSID"])), "ex_hostname": plan.name,
            "ex_ssh_key_ids": [data["SSHKeyID"], *data["SSHKeyIDs"]], "ex_userdata": plan.user_data,
            "ex_tag": next(iter(data["Tags"]), f"shoal-{plan.token}"),
        }  # fmt: skip

    def is_ours(self, node: Any, data: Mapping[str, Any]) -> bool:
        """By its tag, where the user gave none."""
        return bool(node.extra.get("tag") == f"shoal-{data['Token']}")

    def addresses(self, node: Any, data: Mapping[str, Any]) -> tuple[str, str]:
        """0.0.0.0 until it has one."""
        public, private = super().addresses(node, data)
        return ("" if public == "0.0.0.0" else public), private


class VultrDriver(CloudDriver):
    """`-d vultr`."""

    provider = Vultr()
