"""Rackspace's OpenStack of old ("next generation" servers)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shoal.machine.cloud import api
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.provider import Option, Plan, Provider, ssh_options
from shoal.machine.errors import MachineError

N = "rackspace"
UBUNTU = "Ubuntu 24.04 LTS"


class Rackspace(Provider):
    """Servers have a public address and no firewall."""

    name, title, constant, id_key = N, "Rackspace", "rackspace", "MachineId"
    key_kind = "rsa"
    options = (
        Option(f"{N}-username", "Account username", "OS_USERNAME", key="Username"),
        Option(f"{N}-api-key", "API key", "OS_API_KEY", secret=True, old_key="APIKey"),
        Option(f"{N}-region", "Region name", "OS_REGION_NAME", "IAD", "Region"),
        Option(f"{N}-endpoint-type", "Endpoint type", "OS_ENDPOINT_TYPE", "publicURL", "EndpointType",
               idle="Libcloud uses the public ones"),
        Option(f"{N}-image-id", f"Image ID; default is the newest {UBUNTU}", "OS_IMAGE_ID", key="ImageId"),
        Option(f"{N}-flavor-id", "Flavor ID", "OS_FLAVOR_ID", "general1-1", "FlavorId"),
        *ssh_options(N, "OS", "root"),
        Option(f"{N}-docker-install", "Install docker", "", "true", "DockerInstall",
               idle="the engine is always installed"),
        Option(f"{N}-active-timeout", "Seconds until the machine must run", "OS_ACTIVE_TIMEOUT", 300, "ActiveTimeout"),
    )  # fmt: skip

    def configure(self, data: dict[str, Any], values: Mapping[str, Any]) -> None:
        """The account's name is no secret, but needed."""
        if not data["Username"]:
            raise MachineError(f"{N} driver requires the --{N}-username option")

    def connection(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """Regions are in small letters at Libcloud."""
        return {"key": data["Username"], "secret": secrets[f"{N}-api-key"], "region": str(data["Region"]).lower()}

    def arguments(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
        """User-data only arrives by a config drive."""
        return {
            "name": plan.name, "size": api.size(cloud, data["FlavorId"]), "image": self._image(cloud, data),
            "ex_keyname": plan.key_name, "ex_userdata": plan.user_data, "ex_config_drive": True,
        }  # fmt: skip

    def start(self, cloud: Any, node: Any) -> None:
        """Nova's start."""
        cloud.ex_start_node(node)

    def stop(self, cloud: Any, node: Any) -> None:
        """Nova's stop."""
        cloud.ex_stop_node(node)

    def _image(self, cloud: Any, data: Mapping[str, Any]) -> Any:
        if data["ImageId"]:
            return api.image(cloud, data["ImageId"])
        found = [image for image in cloud.list_images() if str(image.name).startswith(UBUNTU)]
        if not found:
            raise MachineError(f"there is no image of {UBUNTU}: choose one with --{N}-image-id")
        return max(found, key=lambda image: str(image.extra.get("updated") or ""))


class RackspaceDriver(CloudDriver):
    """`-d rackspace`."""

    provider = Rackspace()
