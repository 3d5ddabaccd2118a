"""Exoscale, and other CloudStack clouds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from shoal.machine.cloud import api, rules
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.provider import Option, Plan, Provider, Save, ssh_options
from shoal.machine.errors import MachineError

N, MADE_BY = "exoscale", "Made by shoal machine"


class Exoscale(Provider):
    """Exoscale's CloudStack API: sizes, images and zones go by name, security groups too."""

    name, title, constant, id_key = N, "Exoscale", "exoscale", "Id"
    account, key_kind = f"{N}-api-key", "rsa"
    options = (
        Option(f"{N}-url", "API endpoint", "EXOSCALE_ENDPOINT", key="URL", server=True),
        Option(f"{N}-api-key", "API key", "EXOSCALE_API_KEY", secret=True, old_key="ApiKey"),
        Option(f"{N}-api-secret-key", "API secret key", "EXOSCALE_API_SECRET", secret=True, old_key="ApiSecretKey"),
        Option(f"{N}-instance-profile", "Instance profile (Small, Medium, Large, ...)", "EXOSCALE_INSTANCE_PROFILE",
               "Small", "InstanceProfile"),
        Option(f"{N}-disk-size", "Disk size (10, 50, 100, 200, 400)", "EXOSCALE_DISK_SIZE", 50, "DiskSize"),
        Option(f"{N}-image", "Image template", "EXOSCALE_IMAGE", "Linux Ubuntu 24.04 LTS 64-bit", "Image"),
        Option(f"{N}-security-group", "Security group", "EXOSCALE_SECURITY_GROUP", ("docker-machine",),
               "SecurityGroups"),
        Option(f"{N}-availability-zone", "Availability zone", "EXOSCALE_AVAILABILITY_ZONE", "CH-DK-2",
               "AvailabilityZone"),
        *ssh_options(N, "EXOSCALE", "root", port=False),
        Option(f"{N}-ssh-key", "Path to the SSH user's private key", "EXOSCALE_SSH_KEY", key="OwnKeyPath"),
        Option(f"{N}-userdata", "Path to file with cloud-init user data", "EXOSCALE_USERDATA", key="UserDataFile"),
        Option(f"{N}-affinity-group", "Affinity group", "EXOSCALE_AFFINITY_GROUP", (), "AffinityGroups"),
    )  # fmt: skip

    def connection(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """Libcloud knows the endpoint, unless another is given."""
        found: dict[str, Any] = {"key": secrets[f"{N}-api-key"], "secret": secrets[f"{N}-api-secret-key"]}
        if data.get("URL"):
            url = urlsplit(str(data["URL"]))
            secure = url.scheme != "http"
            found.update(host=url.hostname, path=url.path, port=url.port or (443 if secure else 80), secure=secure)
        return found

    def open_ports(self, cloud: Any, data: dict[str, Any], save: Save) -> None:
        """Groups that are missing are made, with our rules; those that exist are left as they are."""
        present = {group["name"] for group in cloud.ex_list_security_groups()}
        for name in data["SecurityGroups"]:
            if name in present:
                continue
            data["OurGroups"] = [*data.get("OurGroups", []), name]
            save()
            made = cloud.ex_create_security_group(name, description=MADE_BY)
            for rule in rules.needed(data["SSHPort"]):
                source = {"usersecuritygrouplist[0].account": made.get("account", ""),
                          "usersecuritygrouplist[0].group": name} if rule.members else {}  # fmt: skip
                cloud.ex_authorize_security_group_ingress(
                    name, rule.protocol.upper(), "" if rule.members else rules.ANYWHERE, rule.first, rule.last, **source
                )

    def close_ports(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """Groups of our making, unless another machine is in them."""
        for group in cloud.ex_list_security_groups():
            if group["name"] in data.get("SecurityGroups", ()) and group.get("description") == MADE_BY:
                try:
                    cloud.ex_delete_security_group(group["name"])
                except Exception as fault:  # Libcloud has no type of its own for it
                    if not self.port_conflict(fault):
                        raise

    def arguments(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
        """Names are looked up: the API wants ids. Images of one name differ in their disks."""
        location = api.pick(cloud.list_locations(), data["AvailabilityZone"], "availability zone")
        images = cloud.list_images(location=location)
        sized = [image for image in images if image.extra.get("size") in (None, data["DiskSize"] << 30)]
        groups = {group.name: group for group in cloud.ex_list_affinity_groups()} if data["AffinityGroups"] else {}
        missing = [name for name in data["AffinityGroups"] if name not in groups]
        if missing:
            raise MachineError(f"there is no affinity group {missing[0]}")
        return {
            "name": plan.name, "size": api.pick(cloud.list_sizes(), data["InstanceProfile"], "instance profile"),
            "image": api.pick(sized or images, data["Image"], "image"), "location": location,
            "ex_keyname": plan.key_name, "ex_userdata": plan.user_data,
            "ex_security_groups": list(data["SecurityGroups"]), "ex_rootdisksize": str(data["DiskSize"]),
            "ex_affinity_groups": [groups[name] for name in data["AffinityGroups"]] or None,
        }  # fmt: skip

    def start(self, cloud: Any, node: Any) -> None:
        """CloudStack's name for it."""
        cloud.ex_start(node)

    def stop(self, cloud: Any, node: Any) -> None:
        """As above."""
        cloud.ex_stop(node)

    def addresses(self, node: Any, data: Mapping[str, Any]) -> tuple[str, str]:
        """In a basic zone there is one address; Libcloud calls it public or private as it looks."""
        public, private = super().addresses(node, data)
        return public or private, private


class ExoscaleDriver(CloudDriver):
    """`-d exoscale`."""

    provider = Exoscale()
