"""Linode (Akamai)."""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping
from typing import Any

from shoal.machine.cloud import api
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.provider import Option, Plan, Provider, ssh_options, words
from shoal.machine.errors import MachineError

N = "linode"


class Linode(Provider):
    """Flags are those of Linode's own driver for docker-machine. Linodes have no firewall unless one is made."""

    name, title, constant, id_key = N, "Linode", "linode", "InstanceID"
    account = f"{N}-token"
    options = (
        Option(f"{N}-token", "Linode API token", "LINODE_TOKEN", secret=True, old_key="APIToken"),
        Option(f"{N}-root-pass", "Root password; default is one that nobody knows", "LINODE_ROOT_PASSWORD",
               secret=True, optional=True),
        Option(f"{N}-authorized-users", "Users of the account whose keys are let in too", "LINODE_AUTHORIZED_USERS",
               key="AuthorizedUsers"),
        Option(f"{N}-label", "Label; default is the machine's name", "LINODE_LABEL", key="InstanceLabel"),
        Option(f"{N}-region", "Region", "LINODE_REGION", "us-east", "Region"),
        Option(f"{N}-instance-type", "Instance type", "LINODE_INSTANCE_TYPE", "g6-standard-4", "InstanceType"),
        *ssh_options(N, "LINODE", "root"),
        Option(f"{N}-image", "Image", "LINODE_IMAGE", "linode/ubuntu24.04", "InstanceImage"),
        Option(f"{N}-docker-port", "Port of the engine", "LINODE_DOCKER_PORT", 2376,
               idle="the engine's port is 2376"),
        Option(f"{N}-swap-size", "Swap size (MB)", "LINODE_SWAP_SIZE", 512, idle="Linode's own default is used"),
        Option(f"{N}-stackscript", "StackScript", "LINODE_STACKSCRIPT", key="StackScript"),
        Option(f"{N}-stackscript-data", "Data of the StackScript", "LINODE_STACKSCRIPT_DATA", key="StackScriptData"),
        Option(f"{N}-create-private-ip", "Create a private IP", "LINODE_CREATE_PRIVATE_IP", False, "CreatePrivateIP",
               "ex_private_ip"),
        Option(f"{N}-ua-prefix", "Prefix of the User-Agent", "LINODE_UA_PREFIX", idle="Libcloud sends its own"),
        Option(f"{N}-tags", "Comma-separated list of tags", "LINODE_TAGS", key="Tags"),
        Option(f"{N}-userdata", "Path to file with cloud-init user data", "LINODE_USERDATA", key="UserDataFile"),
    )  # fmt: skip

    def configure(self, data: dict[str, Any], values: Mapping[str, Any]) -> None:
        """StackScripts cannot be passed through Libcloud; user-data does the same."""
        if data["StackScript"] or data["StackScriptData"]:
            raise MachineError(f"--{N}-stackscript is not supported: use --{N}-userdata")
        data["InstanceLabel"] = data["InstanceLabel"] or data["MachineName"]

    def connection(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """The token."""
        return {"key": secrets[f"{N}-token"]}

    def check(self, cloud: Any, data: dict[str, Any]) -> None:
        """Labels are unique in an account."""
        if any(node.name == data["InstanceLabel"] for node in cloud.list_nodes()):
            raise MachineError(f"there is a Linode with the label {data['InstanceLabel']} already")

    def import_key(self, cloud: Any, plan: Plan, data: dict[str, Any]) -> None:
        """The key goes to the machine alone."""

    def delete_key(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """It went with the machine."""

    def arguments(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
        """Its token is a tag, so that it is known again."""
        return {
            "name": data["InstanceLabel"], "size": api.size(cloud, data["InstanceType"]),
            "image": api.image(cloud, data["InstanceImage"]), "location": api.location(cloud, data["Region"]),
            "root_pass": plan.secrets.get(f"{N}-root-pass") or random.token_urlsafe(32),
            "ex_authorized_keys": [plan.public_key], "ex_authorized_users": words(data["AuthorizedUsers"]),
            "ex_tags": [*words(data["Tags"]), f"shoal-{plan.token}"], "ex_userdata": plan.user_data,
        }  # fmt: skip

    def lost(self, cloud: Any, data: Mapping[str, Any]) -> Any | None:
        """By its tag."""
        tag = f"shoal-{data['Token']}"
        return next((node for node in cloud.list_nodes() if tag in (node.extra.get("tags") or ())), None)


class LinodeDriver(CloudDriver):
    """`-d linode`."""

    provider = Linode()
