"""OpenStack clouds (Nova and Neutron, identity version 3 or 2)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from shoal.machine.cloud import api, rules
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.provider import Option, Plan, Provider, Save, pairs, ssh_options, words
from shoal.machine.errors import MachineError

N = "openstack"
GROUP, MADE_BY = "docker-machine", "Made by shoal machine"


class OpenStack(Provider):
    """Any OpenStack. Without --openstack-sec-groups a group of our own is used."""

    name, title, constant, id_key = N, "OpenStack", "openstack", "MachineId"
    options = (
        Option(f"{N}-auth-url", "OpenStack authentication URL", "OS_AUTH_URL", key="AuthUrl", server=True),
        Option(f"{N}-insecure", "Disable TLS credential checking", "OS_INSECURE", False, "Insecure"),
        Option(f"{N}-cacert", "CA certificate bundle to verify against", "OS_CACERT", key="CaCert"),
        Option(f"{N}-domain-id", "Domain ID (identity v3 only)", "OS_DOMAIN_ID", key="DomainID"),
        Option(f"{N}-domain-name", "Domain name (identity v3 only)", "OS_DOMAIN_NAME", key="DomainName"),
        Option(f"{N}-username", "OpenStack username", "OS_USERNAME", key="Username"),
        Option(f"{N}-password", "OpenStack password", "OS_PASSWORD", secret=True, old_key="Password"),
        Option(f"{N}-tenant-name", "Tenant (project) name", "OS_TENANT_NAME", key="TenantName"),
        Option(f"{N}-tenant-id", "Tenant (project) id", "OS_TENANT_ID", key="TenantId"),
        Option(f"{N}-region", "Region name", "OS_REGION_NAME", key="Region"),
        Option(f"{N}-availability-zone", "Availability zone", "OS_AVAILABILITY_ZONE", "", "AvailabilityZone",
               "ex_availability_zone"),
        Option(f"{N}-endpoint-type", "Endpoint type (adminURL, internalURL or publicURL)", "OS_ENDPOINT_TYPE",
               key="EndpointType", idle="Libcloud uses the public ones"),
        Option(f"{N}-flavor-id", "Flavor id", "OS_FLAVOR_ID", key="FlavorId"),
        Option(f"{N}-flavor-name", "Flavor name", "OS_FLAVOR_NAME", key="FlavorName"),
        Option(f"{N}-image-id", "Image id", "OS_IMAGE_ID", key="ImageId"),
        Option(f"{N}-image-name", "Image name", "OS_IMAGE_NAME", key="ImageName"),
        Option(f"{N}-keypair-name", "Key pair to use; needs --openstack-private-key-file", "OS_KEYPAIR_NAME",
               key="KeyName"),
        Option(f"{N}-private-key-file", "Private key file to use for SSH", "OS_PRIVATE_KEY_FILE", key="OwnKeyPath"),
        Option(f"{N}-user-data-file", "File with cloud-init user data", "OS_USER_DATA_FILE", key="UserDataFile"),
        Option(f"{N}-net-id", "Network id", "OS_NETWORK_ID", key="NetworkId"),
        Option(f"{N}-net-name", "Network name", "OS_NETWORK_NAME", key="NetworkName"),
        Option(f"{N}-sec-groups", "Security groups, comma separated", "OS_SECURITY_GROUPS", key="SecurityGroups"),
        Option(f"{N}-nova-network", "Use nova networking", "OS_NOVA_NETWORK", False, "ComputeNetwork",
               idle="nova-network is gone from OpenStack"),
        Option(f"{N}-floatingip-pool", "Floating IP pool to get an address from", "OS_FLOATINGIP_POOL",
               key="FloatingIpPool"),
        Option(f"{N}-ip-version", "IP version of the address used", "OS_IP_VERSION", 4, "IpVersion"),
        *ssh_options(N, "OS", "root"),
        Option(f"{N}-active-timeout", "Seconds until the machine must run", "OS_ACTIVE_TIMEOUT", 200, "ActiveTimeout"),
        Option(f"{N}-config-drive", "Give the machine a config drive", "OS_CONFIG_DRIVE", False, "ConfigDrive",
               "ex_config_drive"),
        Option(f"{N}-metadata", "Metadata (e.g. key1,value1,key2,value2)", "OS_METADATA", key="Metadata"),
    )  # fmt: skip

    def configure(self, data: dict[str, Any], values: Mapping[str, Any]) -> None:
        """What docker-machine demanded too; clouds of today set OS_PROJECT_NAME where OS_TENANT_NAME was."""
        for key, variables in _NEWER.items():
            data[key] = data[key] or next((os.environ[name] for name in variables if os.environ.get(name)), "")
        if data["Insecure"]:
            raise MachineError(
                "--openstack-insecure would send the password to anybody: give the cloud's CA by --openstack-cacert"
            )
        for key, what in (("AuthUrl", "auth-url"), ("Username", "username")):
            if not data[key]:
                raise MachineError(f"{N} driver requires the --{N}-{what} option")
        for one, other, what in (("FlavorId", "FlavorName", "flavor"), ("ImageId", "ImageName", "image")):
            if bool(data[one]) == bool(data[other]):
                raise MachineError(f"{N} driver requires either --{N}-{what}-id or --{N}-{what}-name, and not both")
        if bool(data["KeyName"]) != bool(data["OwnKeyPath"]):
            raise MachineError(f"--{N}-keypair-name and --{N}-private-key-file go together")
        pairs(data["Metadata"])

    def connection(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """Identity version 3, unless the URL says 2."""
        url = str(data["AuthUrl"]).rstrip("/")
        old = url.endswith("/v2.0")
        for end in ("/v3", "/v2.0"):
            url = url.removesuffix(end)
        found = {
            "key": data["Username"], "secret": secrets[f"{N}-password"], "api_version": "2.2",
            "ex_force_auth_url": url, "ex_force_auth_version": "2.0_password" if old else "3.x_password",
            "ex_tenant_name": data.get("TenantName") or data.get("TenantId"),
            "ex_force_service_region": data.get("Region"), "ex_domain_name": data.get("DomainName"),
            "ex_tenant_domain_id": data.get("DomainID"),
        }  # fmt: skip
        return {name: value for name, value in found.items() if value}

    def connect(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> Any:
        """With the cloud's own CA, where it has one: for the rest of this process (other clouds would then fail)."""
        if data.get("CaCert"):
            import libcloud.security

            libcloud.security.CA_CERTS_PATH = str(data["CaCert"])
        return super().connect(data, secrets)

    def open_ports(self, cloud: Any, data: dict[str, Any], save: Save) -> None:
        """Our own group, where the user names none; one that has not all rules (yet) gets those that are missing."""
        if data["SecurityGroups"]:
            return
        data["OurGroup"] = GROUP
        save()
        present = [group for group in cloud.ex_list_security_groups() if group.name == GROUP]
        group = present[0] if present else cloud.ex_create_security_group(GROUP, MADE_BY)
        if present and group.description != MADE_BY:
            return
        for rule in rules.needed(data["SSHPort"]):
            if not any(_is(old, rule, group) for old in group.rules):
                _allow(cloud, group, rule)

    def close_ports(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """Our own group, unless another machine is in it."""
        for group in cloud.ex_list_security_groups() if data.get("OurGroup") else ():
            if group.name == GROUP and group.description == MADE_BY:
                try:
                    cloud.ex_delete_security_group(group)
                except Exception as fault:  # Libcloud has no type of its own for it
                    if not self.port_conflict(fault):
                        raise

    def arguments(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
        """Flavor, image and networks by id, or looked up by name."""
        groups, present = words(data["SecurityGroups"]), cloud.ex_list_security_groups()
        for name in groups:
            api.pick(present, name, "security group")
        return {
            "name": plan.name, "size": _by(cloud.list_sizes, cloud, api.size, data, "Flavor"),
            "image": _by(cloud.list_images, cloud, api.image, data, "Image"),
            "ex_keyname": plan.key_name, "ex_userdata": plan.user_data, "ex_metadata": pairs(data["Metadata"]),
            "ex_security_groups": [group for group in present if group.name in (groups or [GROUP])],
            "networks": _networks(cloud, data),
        }  # fmt: skip

    def created(self, cloud: Any, node: Any, data: dict[str, Any]) -> bool:
        """A floating address from the pool; one that nobody uses first."""
        pool = data["FloatingIpPool"]
        if not pool or data.get("FloatingIp"):
            return False
        pools = {str(found.id): found.name for found in cloud.ex_list_floating_ip_pools()}
        for free in cloud.ex_list_floating_ips():
            if not free.extra.get("port_id") and pools.get(str(free.extra.get("floating_network_id"))) == pool:
                data["FloatingIp"] = free.ip_address
                cloud.ex_attach_floating_ip_to_node(node, free)
                return True
        made = cloud.ex_create_floating_ip(pool)
        if made is None:
            raise MachineError(f"there is no floating IP pool {pool}")
        data["FloatingIp"] = data["OurFloatingIp"] = made.ip_address
        cloud.ex_attach_floating_ip_to_node(node, made)
        return True

    def released(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """The floating address, where we made it."""
        if data.get("OurFloatingIp") and (address := cloud.ex_get_floating_ip(data["OurFloatingIp"])):
            cloud.ex_delete_floating_ip(address)

    def start(self, cloud: Any, node: Any) -> None:
        """Nova's start."""
        cloud.ex_start_node(node)

    def stop(self, cloud: Any, node: Any) -> None:
        """Nova's stop: an ACPI shutdown first."""
        cloud.ex_stop_node(node)

    def addresses(self, node: Any, data: Mapping[str, Any]) -> tuple[str, str]:
        """The floating one, else any of the wanted version: in many clouds private addresses are all there is."""
        found: list[tuple[str, str]] = []
        for values in (node.extra.get("addresses") or {}).values():
            found += [
                (str(value.get("OS-EXT-IPS:type", "")), value["addr"])
                for value in values
                if value.get("version", 4) == data.get("IpVersion", 4)
            ]
        fixed = [address for kind, address in found if kind != "floating"]
        floating = [address for kind, address in found if kind == "floating"]
        if not found:
            return super().addresses(node, data)
        return next(iter(floating + fixed), ""), next(iter(fixed), "")


_NEWER = {
    "TenantName": ("OS_PROJECT_NAME",), "TenantId": ("OS_PROJECT_ID",), "DomainName": ("OS_USER_DOMAIN_NAME",),
    "DomainID": ("OS_PROJECT_DOMAIN_ID", "OS_USER_DOMAIN_ID"),
}  # fmt: skip


def _is(old: Any, rule: rules.Rule, group: Any) -> bool:
    """Whether a rule of the group is this very one: Libcloud shows those for what goes out as if it came in."""
    # What it calls a name is the id.
    same = old.group.get("name") == group.id if rule.members else old.ip_range == rules.ANYWHERE
    return bool(same) and (old.ip_protocol, old.from_port, old.to_port) == rule[:3]


def _allow(cloud: Any, group: Any, rule: rules.Rule) -> None:
    source = {"source_security_group": group} if rule.members else {"cidr": rules.ANYWHERE}
    try:
        cloud.ex_create_security_group_rule(group, rule.protocol, rule.first, rule.last, **source)
    except Exception as fault:  # Libcloud has no type of its own for it
        if not api.already_there(fault):
            raise


def _by(listing: Any, cloud: Any, direct: Any, data: Mapping[str, Any], what: str) -> Any:
    if data[f"{what}Id"]:
        return direct(cloud, data[f"{what}Id"])
    return api.pick(listing(), data[f"{what}Name"], what.lower())


def _networks(cloud: Any, data: Mapping[str, Any]) -> list[Any]:
    wanted = data["NetworkId"] or data["NetworkName"]
    return [api.pick(cloud.ex_list_networks(), wanted, "network")] if wanted else []


class OpenStackDriver(CloudDriver):
    """`-d openstack`."""

    provider = OpenStack()
