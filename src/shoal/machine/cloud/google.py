"""Google Compute Engine."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoal.machine.cloud import api, rules
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.provider import Option, Plan, Provider, Save, words
from shoal.machine.errors import MachineError

N, TAG = "google", "docker-machine"
MEMBERS_RULE = "docker-machine-members"
"""The firewall rule by which machines reach each other; shared by all that bear TAG."""
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?")
_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_only,https://www.googleapis.com/auth/logging.write,"
           "https://www.googleapis.com/auth/monitoring.write")  # fmt: skip


class Google(Provider):
    """Instances are known by their names; keys and user-data are metadata; one firewall rule per machine."""

    name, title, constant, id_key = N, "Google Compute Engine", "gce", "InstanceName"
    names_are_ids = True
    options = (
        Option(f"{N}-project", "GCE project", "GOOGLE_PROJECT", key="Project"),
        Option(f"{N}-application-credentials", "JSON key file of a service account",
               "GOOGLE_APPLICATION_CREDENTIALS", key="CredentialsFile"),
        Option(f"{N}-zone", "GCE zone", "GOOGLE_ZONE", "us-central1-a", "Zone"),
        Option(f"{N}-machine-type", "GCE machine type", "GOOGLE_MACHINE_TYPE", "n1-standard-1", "MachineType"),
        Option(f"{N}-machine-image", "GCE machine image: URL, PROJECT/global/images/NAME or .../images/family/NAME",
               "GOOGLE_MACHINE_IMAGE", "ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64", "MachineImage"),
        Option(f"{N}-username", "GCE user name", "GOOGLE_USERNAME", "docker-user", "SSHUser"),
        Option(f"{N}-service-account", "Service account of the machine", "GOOGLE_SERVICE_ACCOUNT", "default",
               "ServiceAccount"),
        Option(f"{N}-scopes", "Scopes of the machine's service account", "GOOGLE_SCOPES", _SCOPES, "Scopes"),
        Option(f"{N}-disk-size", "Disk size (in GB)", "GOOGLE_DISK_SIZE", 10, "DiskSize", "ex_disk_size"),
        Option(f"{N}-disk-type", "Disk type", "GOOGLE_DISK_TYPE", "pd-standard", "DiskType", "ex_disk_type"),
        Option(f"{N}-network", "Network of the machine", "GOOGLE_NETWORK", "default", "Network", "ex_network"),
        Option(f"{N}-subnetwork", "Subnetwork of the machine", "GOOGLE_SUBNETWORK", "", "Subnetwork",
               "ex_subnetwork"),
        Option(f"{N}-address", "Name or IP of a static external address", "GOOGLE_ADDRESS", key="Address"),
        Option(f"{N}-preemptible", "Preemptible", "GOOGLE_PREEMPTIBLE", False, "Preemptible", "ex_preemptible"),
        Option(f"{N}-tags", "Instance tags (comma-separated)", "GOOGLE_TAGS", key="Tags"),
        Option(f"{N}-use-internal-ip", "Reach the machine at its internal address", "GOOGLE_USE_INTERNAL_IP", False,
               "UseInternalIP"),
        Option(f"{N}-use-internal-ip-only", "Give the machine no external address", "GOOGLE_USE_INTERNAL_IP_ONLY",
               False, "UseInternalIPOnly"),
        Option(f"{N}-use-existing", "Use an instance that exists", "GOOGLE_USE_EXISTING", False, "UseExisting"),
        Option(f"{N}-open-port", "Make the port accessible from the Internet, e.g. 8080/tcp", "", (), "OpenPorts"),
        Option(f"{N}-userdata", "Path to file with cloud-init user data", "GOOGLE_USERDATA", key="UserDataFile"),
    )  # fmt: skip

    def configure(self, data: dict[str, Any], values: Mapping[str, Any]) -> None:
        """Names are narrower here than elsewhere."""
        if not data["Project"]:
            raise MachineError("no Google Cloud Project name specified (--google-project)")
        if data["UseExisting"]:
            raise MachineError("--google-use-existing: use the driver generic for a computer that exists already")
        if not _NAME.fullmatch(data["MachineName"]):
            raise MachineError(
                f'"{data["MachineName"]}" cannot be the name of a machine at Google: it takes lower case letters, '
                "digits and -, 52 at most, beginning with a letter"
            )
        rules.needed(data["SSHPort"], data["OpenPorts"])

    def connection(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """A service account's key file; only its path is in the record."""
        path = credentials_file(str(data.get("CredentialsFile") or ""), os.environ)
        return {
            "user_id": service_account(path), "key": str(path), "project": data["Project"],
            "datacenter": data["Zone"],
            # Libcloud would keep its access token in a file in the user's home.
            "credential_file": os.devnull,
        }  # fmt: skip

    def import_key(self, cloud: Any, plan: Plan, data: dict[str, Any]) -> None:
        """The key is part of the machine's metadata."""

    def delete_key(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """It went with the machine."""

    def open_ports(self, cloud: Any, data: dict[str, Any], save: Save) -> None:
        """A rule for what comes from anywhere, of this machine alone; one for members, shared."""
        needed = rules.needed(data["SSHPort"], data["OpenPorts"])
        data["Firewall"] = data["KeyName"].lower()
        save()
        cloud.ex_create_firewall(
            data["Firewall"], allowed=_allowed(rule for rule in needed if not rule.members), network=data["Network"],
            source_ranges=[rules.ANYWHERE], target_tags=[data["Firewall"]], description="Made by shoal machine",
        )  # fmt: skip
        name = f"{MEMBERS_RULE}-{data['Network']}"[:63]
        if name in [firewall.name for firewall in cloud.ex_list_firewalls()]:
            return
        try:
            cloud.ex_create_firewall(
                name, allowed=_allowed(rule for rule in needed if rule.members), network=data["Network"],
                source_tags=[TAG], target_tags=[TAG], description="Made by shoal machine",
            )  # fmt: skip
        except Exception as fault:  # Libcloud's types for it are not all of one family
            if not api.already_there(fault):
                raise

    def close_ports(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """The machine's rule; the members' one when no instance of the project bears its tag any more."""
        if not data.get("Firewall"):
            return
        members = f"{MEMBERS_RULE}-{data['Network']}"[:63]
        used = any(TAG in (node.extra.get("tags") or []) for node in cloud.list_nodes(ex_zone="all"))
        gone = [data["Firewall"], *([] if used else [members])]
        for firewall in cloud.ex_list_firewalls():
            if firewall.name in gone:
                cloud.ex_destroy_firewall(firewall)

    def arguments(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
        """Image and accounts in the forms that Libcloud takes."""
        metadata = {"ssh-keys": f"{data['SSHUser']}:{plan.public_key} {data['SSHUser']}", "user-data": plan.user_data}
        return {
            "name": plan.name, "size": data["MachineType"], "image": image(cloud, data["MachineImage"]),
            "location": cloud.ex_get_zone(data["Zone"]), "ex_metadata": metadata,
            "ex_tags": [TAG, data["Firewall"], *words(data["Tags"])], "ex_labels": {"shoal-token": plan.token},
            "external_ip": _external(cloud, data),
            "ex_service_accounts": [{"email": data["ServiceAccount"], "scopes": words(data["Scopes"])}],
        }  # fmt: skip

    def nodes(self, cloud: Any, data: Mapping[str, Any]) -> list[Any]:
        """Those of the zone."""
        return list(cloud.list_nodes(ex_zone=data["Zone"]))

    def identify(self, node: Any) -> Any:
        """Its name."""
        return node.name

    def is_ours(self, node: Any, data: Mapping[str, Any]) -> bool:
        """By its label."""
        return bool((node.extra.get("labels") or {}).get("shoal-token") == data["Token"])

    def destroy(self, cloud: Any, node: Any) -> None:
        """Its disk goes with it (autoDelete)."""
        cloud.destroy_node(node)

    def is_private(self, data: Mapping[str, Any]) -> bool:
        """docker-machine called it internal."""
        return bool(data.get("UseInternalIP") or data.get("UseInternalIPOnly"))


def image(cloud: Any, text: str) -> Any:
    """The image that docker-machine's `PROJECT/global/images/NAME`, a family's name, or a URL means."""
    parts = text.split("/")
    if text.startswith("https://") or len(parts) < 4:
        return cloud.ex_get_image(text)
    project = parts[-5] if parts[-2] == "family" and len(parts) >= 5 else parts[-4]
    if parts[-2] == "family":
        return cloud.ex_get_image_from_family(parts[-1], ex_project_list=[project])
    return cloud.ex_get_image(parts[-1], ex_project_list=[project])


def _allowed(needed: Any) -> list[dict[str, Any]]:
    found: dict[str, list[str]] = {}
    for rule in needed:
        found.setdefault(rule.protocol, []).append(
            str(rule.first) if rule.first == rule.last else f"{rule.first}-{rule.last}"
        )
    return [{"IPProtocol": protocol, "ports": ports} for protocol, ports in found.items()]


def _external(cloud: Any, data: Mapping[str, Any]) -> Any:
    if data["UseInternalIPOnly"]:
        return None
    if not data["Address"]:
        return "ephemeral"
    region = data["Zone"].rpartition("-")[0]
    for address in cloud.ex_list_addresses(region=region):
        if data["Address"] in (address.name, address.address):
            return address
    raise MachineError(f"there is no static address {data['Address']} in the region {region}")


def credentials_file(chosen: str, environment: Mapping[str, str]) -> Path:
    """The file with the credentials: the one chosen, else gcloud's application default ones."""
    path = Path(chosen or environment.get("GOOGLE_APPLICATION_CREDENTIALS", ""))
    if not path.name:
        root = Path(environment["APPDATA"]) if "APPDATA" in environment else Path.home() / ".config"
        path = root / "gcloud" / "application_default_credentials.json"
    if not path.exists():
        raise MachineError(
            "google driver requires the key file of a service account: set GOOGLE_APPLICATION_CREDENTIALS to its path"
        )
    return path


def service_account(path: Path) -> str:
    """The account in a key file. Raises MachineError for files of other kinds."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as fault:
        raise MachineError(f"{path}: {fault}") from fault
    if content.get("type") != "service_account" or not content.get("client_email"):
        raise MachineError(
            f"{path} is no key file of a service account (its type is {content.get('type')}). Make one at Google and "
            "set GOOGLE_APPLICATION_CREDENTIALS to its path"
        )
    return str(content["client_email"])


class GoogleDriver(CloudDriver):
    """`-d google`."""

    provider = Google()
