"""Any provider that Libcloud knows: `-d libcloud --libcloud-provider NAME`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from shoal.machine.cloud import api
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.provider import Option, Plan, Provider, ssh_options
from shoal.machine.errors import MachineError

N = "libcloud"
_USER_DATA = ("ex_userdata", "ex_user_data", "ex_customdata", "cloud_init")


class AnyCloud(Provider):
    """What create_node takes is read from its signature; what is missing there cannot be given."""

    name, title = N, "the provider"
    account = f"{N}-key"
    options = (
        Option(f"{N}-provider", "The provider's name at Libcloud", "LIBCLOUD_PROVIDER", key="Provider"),
        Option(f"{N}-key", "API key, token or user", "LIBCLOUD_KEY", secret=True),
        Option(f"{N}-secret", "API secret or password", "LIBCLOUD_SECRET", secret=True, optional=True),
        Option(
            f"{N}-connect", "Argument of the provider's driver class, as name=value", "", (), "Connect", server=True
        ),
        Option(f"{N}-size", "Size, by id or name", "LIBCLOUD_SIZE", key="Size"),
        Option(f"{N}-image", "Image, by id or name", "LIBCLOUD_IMAGE", key="Image"),
        Option(f"{N}-location", "Location, by id or name", "LIBCLOUD_LOCATION", key="Location"),
        Option(f"{N}-option", "Argument of create_node, as name=value", "", (), "Options"),
        Option(f"{N}-userdata", "Path to file with cloud-init user data", "LIBCLOUD_USERDATA", key="UserDataFile"),
        Option(f"{N}-private-address", "Reach the machine at its private address", "", False, "UsePrivateIP"),
        *ssh_options(N, "LIBCLOUD", "root"),
    )

    def configure(self, data: dict[str, Any], values: Mapping[str, Any]) -> None:
        """Whether there is such a provider, and how it takes keys and user-data."""
        if not data["Provider"]:
            raise MachineError(f"{N} driver requires the --{N}-provider option")
        words = self._parameters(data)
        if not self._takes_key(data):
            raise MachineError(f"Libcloud has no way to give machines at {data['Provider']} an ssh key")
        if not any(name in words for name in _USER_DATA):
            if data["UserDataFile"]:
                raise MachineError(f"Libcloud has no way to give machines at {data['Provider']} user-data")
            data["FirstContact"] = True
        arguments(data["Connect"])
        for name in arguments(data["Options"]):
            if name not in words:
                raise MachineError(f"create_node of {data['Provider']} has no argument {name}")

    def connection(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """Key and secret come first in every driver class, whatever they are called there."""
        given = [secrets[f"{N}-key"], *([secrets[f"{N}-secret"]] if secrets.get(f"{N}-secret") else [])]
        return {"": (data["Provider"], *given), **arguments(data["Connect"])}

    def connect(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> Any:
        """As above."""
        connection = self.connection(data, secrets)
        _, *given = connection.pop("")
        return _class(data)(*given, **connection)

    def import_key(self, cloud: Any, plan: Plan, data: dict[str, Any]) -> None:
        """Where create_node takes its name; otherwise the key goes along with create_node."""
        if "ex_keyname" in self._parameters(data):
            cloud.import_key_pair_from_string(plan.key_name, plan.public_key)

    def delete_key(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """As above."""
        if "ex_keyname" in self._parameters(data):
            super().delete_key(cloud, data)

    def arguments(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
        """What the signature has a place for."""
        from libcloud.compute.base import NodeAuthSSHKey

        words = self._parameters(data)
        found: dict[str, Any] = {"name": plan.name}
        for name, listing in (("size", "list_sizes"), ("image", "list_images"), ("location", "list_locations")):
            if data[name.capitalize()]:
                found[name] = api.pick(getattr(cloud, listing)(), data[name.capitalize()], name)
        if "ex_keyname" in words:
            found["ex_keyname"] = plan.key_name
        elif "auth" in words:
            found["auth"] = NodeAuthSSHKey(plan.public_key)
        else:
            found["ex_authorized_keys"] = [plan.public_key]
        for name in _USER_DATA:
            if name in words:
                found[name] = plan.user_data
                break
        return {**found, **arguments(data["Options"])}

    def _takes_key(self, data: Mapping[str, Any]) -> bool:
        words, features = self._parameters(data), getattr(_class(data), "features", {}).get("create_node", [])
        return "ex_keyname" in words or "ex_authorized_keys" in words or ("auth" in words and "ssh_key" in features)

    def _parameters(self, data: Mapping[str, Any]) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(_class(data).create_node).parameters


def _class(data: Mapping[str, Any]) -> Any:
    from libcloud.compute.providers import get_driver

    try:
        return get_driver(data["Provider"])
    except AttributeError as fault:
        raise MachineError(f"Libcloud knows no provider {data['Provider']}") from fault


def arguments(texts: Any) -> dict[str, Any]:
    """`name=value` each; true, false and numbers are what they look like. Raises MachineError."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise MachineError(f'invalid argument "{text}": want name=value')
        plain: Any = {"true": True, "false": False}.get(value.lower(), value)
        found[name] = int(value) if value.isdecimal() else plain
    return found


class AnyCloudDriver(CloudDriver):
    """`-d libcloud`."""

    provider = AnyCloud()
