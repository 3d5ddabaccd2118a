"""The providers' tables: flags, variables, and what Libcloud is asked, held against Libcloud's real signatures."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import MagicMock, create_autospec

import pytest
from libcloud.compute.base import KeyPair, NodeImage, NodeLocation, NodeSize
from libcloud.compute.drivers.azure_arm import AzureNodeDriver
from libcloud.compute.drivers.digitalocean import DigitalOcean_v2_NodeDriver
from libcloud.compute.drivers.ec2 import EC2NodeDriver
from libcloud.compute.drivers.exoscale import ExoscaleNodeDriver
from libcloud.compute.drivers.gce import GCENodeDriver
from libcloud.compute.drivers.linode import LinodeNodeDriverV4
from libcloud.compute.drivers.openstack import OpenStack_2_NodeDriver
from libcloud.compute.drivers.rackspace import RackspaceNodeDriver
from libcloud.compute.drivers.vultr import VultrNodeDriverV2

from shoal.machine.cloud.amazonec2 import credentials
from shoal.machine.cloud.azure import encoded, tenant_in
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.provider import Plan, pairs
from shoal.machine.cloud.rules import SWARM, Rule, needed
from shoal.machine.cloud.userdata import compose
from shoal.machine.driver import Context, driver_class
from shoal.machine.errors import MachineError
from shoal.machine.keys import KeyPair as OurPair
from tests.clouds import Missing, ResourceManager

FLAGS = Path(__file__).with_name("data_cloud_flags.txt")

SECRET = "s3cr3t-"


class Case(NamedTuple):
    """A provider: Libcloud's class, the values that must be given, and what a listing there answers."""

    driver: Any
    given: Mapping[str, Any]
    answers: Mapping[str, Any] = {}


def things(kind: Callable[..., Any], *names: str) -> list[Any]:
    """Sizes, images or networks, by name."""
    return [SimpleNamespace(id=f"id-{name}", name=name, extra={}, kind=kind) for name in names]


CASES = {
    "amazonec2": Case(EC2NodeDriver, {"amazonec2-ami": "ami-1", "amazonec2-tags": "a,1", "amazonec2-monitoring": True}, {
        "ex_list_networks": things(object, "vpc"), "ex_list_subnets": [SimpleNamespace(id="sn", extra={"vpc_id": "id-vpc"})],
        "ex_create_security_group": {"group_id": "sg-1"}, "ex_get_security_groups": [],
        "ex_list_network_interfaces": [],
    }),
    "digitalocean": Case(DigitalOcean_v2_NodeDriver, {"digitalocean-tags": "a, b", "digitalocean-monitoring": True}, {
        "list_locations": [SimpleNamespace(id="nyc3")],
        "create_key_pair": SimpleNamespace(extra={"id": 7}),
    }),
    "google": Case(GCENodeDriver, {"google-project": "p", "google-open-port": ("80/tcp", "53/udp")}, {
        "ex_list_firewalls": [],
    }),
    "azure": Case(AzureNodeDriver, {"azure-subscription-id": "sub", "azure-client-id": "me", "azure-tenant-id": "t"}),
    "openstack": Case(OpenStack_2_NodeDriver, {
        "openstack-auth-url": "https://os.example:5000/v3", "openstack-username": "me", "openstack-flavor-name": "m1",
        "openstack-image-name": "Debian", "openstack-net-name": "net", "openstack-floatingip-pool": "public",
    }, {
        "list_sizes": things(NodeSize, "m1"), "list_images": things(NodeImage, "Debian"),
        "ex_list_networks": things(object, "net"), "ex_list_security_groups": [], "ex_list_floating_ips": [],
        "ex_list_floating_ip_pools": things(object, "public"),
        "ex_create_floating_ip": SimpleNamespace(ip_address="192.0.2.9"),
    }),
    "rackspace": Case(RackspaceNodeDriver, {"rackspace-username": "me"}, {
        "list_images": things(NodeImage, "Debian", "Ubuntu 24.04 LTS (Noble) (Cloud)"),
    }),
    "exoscale": Case(ExoscaleNodeDriver, {"exoscale-affinity-group": ("apart",)}, {
        "list_sizes": things(NodeSize, "Small"), "list_images": things(NodeImage, "Linux Ubuntu 24.04 LTS 64-bit"),
        "list_locations": things(NodeLocation, "CH-DK-2"), "ex_list_affinity_groups": things(object, "apart"),
        "ex_list_security_groups": [], "ex_create_security_group": {"name": "docker-machine", "account": "me"},
    }),
    "linode": Case(LinodeNodeDriverV4, {"linode-tags": "a,b", "linode-create-private-ip": True}),
    "vultr": Case(VultrNodeDriverV2, {"vultr-enabled-ipv6": True}, {
        "import_key_pair_from_string": SimpleNamespace(extra={"id": "key-1"}),
    }),
}  # fmt: skip


@pytest.fixture(autouse=True)
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's credentials are a file; nothing of this computer's environment counts."""
    path = tmp_path / "google.json"
    path.write_text(json.dumps({"type": "service_account", "client_email": "me@p.example", "private_key": "x"}))
    for name in ("OS_PROJECT_NAME", "OS_PROJECT_ID", "AWS_PROFILE", "OS_USER_DOMAIN_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))


def configured(name: str, tmp_path: Path, **more: Any) -> CloudDriver:
    """A driver that took its flags: defaults, secrets, and what the case gives."""
    kind: Any = driver_class(name)
    values = {flag.name: flag.default for flag in kind.flags()}
    for option in kind.provider.options:
        if option.secret:
            values[option.name] = SECRET + option.name
    values.update(CASES[name].given if name in CASES else {})
    values.update(more)
    driver: CloudDriver = kind(Context("m1", tmp_path, tmp_path, lambda line: None), {})
    driver.configure(values)
    return driver


@pytest.mark.parametrize("line", FLAGS.read_text().splitlines())
def test_docker_machines_flags_are_all_there(line: str) -> None:
    """Every flag of docker-machine's cloud drivers is taken, from the same environment variable."""
    name, variable = line.split()
    flags = {flag.name: flag for flag in driver_class(name.partition("-")[0]).flags()}
    assert flags[name].environment == ("" if variable == "-" else variable)


@pytest.mark.parametrize("name", [*CASES, "libcloud"])
def test_flags_are_unique_and_explained(name: str) -> None:
    """No flag twice, every one begins with the driver's name and has a sentence of help."""
    flags = driver_class(name).flags()
    assert len({flag.name for flag in flags}) == len(flags)
    assert all(flag.name.startswith(f"{name}-") and flag.help for flag in flags)


@pytest.mark.parametrize("name", CASES)
def test_secrets_never_reach_data(name: str, tmp_path: Path) -> None:
    """What the record will hold has no secret in it, whatever was given."""
    driver = configured(name, tmp_path)
    assert SECRET not in json.dumps(driver.data)
    assert any(option.secret for option in driver.provider.options) or name == "google"


@pytest.mark.parametrize("name", CASES)
def test_required_secrets_are_demanded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its token a driver refuses, and names the flag."""
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    options = [option.name for option in driver_class(name).provider.options if option.secret]  # type: ignore[attr-defined]
    if not options:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none"))
        driver = configured(name, tmp_path)
        with pytest.raises(MachineError, match="GOOGLE_APPLICATION_CREDENTIALS"):
            driver.provider.connection(driver.data, {})
        return
    with pytest.raises(MachineError, match=options[0]):
        configured(name, tmp_path, **dict.fromkeys(options, ""))


@pytest.mark.parametrize("name", CASES)
def test_libcloud_takes_the_connections_arguments(name: str, tmp_path: Path) -> None:
    """The arguments for the account fit the class's signature."""
    driver = configured(name, tmp_path)
    secrets = {option.name: SECRET for option in driver.provider.options if option.secret}
    inspect.signature(CASES[name].driver).bind(**driver.provider.connection(driver.data, secrets))


@pytest.mark.parametrize("name", CASES)
def test_libcloud_takes_everything_that_is_asked(name: str, tmp_path: Path) -> None:
    """A machine's whole life is asked of Libcloud in calls that its real methods accept."""
    case, driver = CASES[name], configured(name, tmp_path)
    provider, data = driver.provider, driver.data
    cloud = create_autospec(case.driver, instance=True)
    cloud.connection, cloud.subscription_id, cloud.path = MagicMock(), "sub", "/"
    cloud.connection.request.return_value.object = {"properties": {"provisioningState": "Succeeded"}}
    if name == "azure":
        cloud.connection.request.side_effect = ResourceManager().request
    for method in ("list_nodes", "list_key_pairs", "list_images", "list_sizes", "list_locations"):
        getattr(cloud, method).return_value = []
    for method, answer in case.answers.items():
        getattr(cloud, method).return_value = answer
    if name == "azure":
        cloud.ex_get_node.side_effect = Missing()
    provider.check(cloud, data)
    plan = Plan("m1", "t0k3n", "m1-t0k3n", "ssh-ed25519 AAAA", "#cloud-config USERDATA")
    data.update(KeyName=plan.key_name, Token=plan.token)
    provider.import_key(cloud, plan, data)
    provider.open_ports(cloud, data, lambda: None)
    provider.create(cloud, data, plan)
    made = cloud.create_node.call_args
    assert made.kwargs["name"] == "m1"
    assert plan.user_data in str(made.kwargs)
    node = MagicMock(public_ips=["192.0.2.1"], private_ips=["10.0.0.1"], extra={"addresses": {}})
    node.id, node.name, data[provider.id_key] = "id-1", "m1", "id-1"
    provider.created(cloud, node, data)
    for act in (provider.start, provider.stop, provider.kill, provider.reboot, provider.destroy):
        act(cloud, node)
    cloud.list_key_pairs.return_value = [KeyPair(plan.key_name, "", "", cloud, extra={"id": 7})]
    provider.find(cloud, data)
    provider.lost(cloud, data)
    provider.released(cloud, data)
    provider.delete_key(cloud, data)
    provider.close_ports(cloud, data)
    assert provider.addresses(node, data)[0] == "192.0.2.1"


def test_amazon_credentials_from_its_file(tmp_path: Path) -> None:
    """Access keys may be in ~/.aws/credentials, in the profile that AWS_PROFILE names."""
    path = tmp_path / "credentials"
    path.write_text(
        "[default]\naws_access_key_id=a\naws_secret_access_key=b%c\n[w]\naws_access_key_id=d\naws_secret_access_key=e\n"
    )
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(path)}
    assert credentials({}, environment) == ("a", "b%c", "")
    assert credentials({}, {**environment, "AWS_PROFILE": "w"}) == ("d", "e", "")
    assert credentials({"amazonec2-access-key": "x", "amazonec2-secret-key": "y"}, environment) == ("x", "y", "")
    assert credentials({}, {**environment, "AWS_PROFILE": "none"}) == ("", "", "")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("amazonec2", {"amazonec2-region": "mars-1"}, "Invalid region specified"),
        ("amazonec2", {"amazonec2-keypair-name": "mine"}, "also requires --amazonec2-ssh-keypath"),
        ("amazonec2", {"amazonec2-insecure-transport": True}, "also requires --amazonec2-endpoint"),
        ("amazonec2", {"amazonec2-tags": "a,b,c"}, "Tags are not key value in pairs. 3 elements found"),
        ("amazonec2", {"amazonec2-open-port": ("http",)}, 'invalid port "http"'),
        ("amazonec2", {"amazonec2-userdata": "/nonexistent"}, "unable to read --amazonec2-userdata file"),
        ("google", {"google-project": ""}, "no Google Cloud Project name specified"),
        ("google", {"google-use-existing": True}, "use the driver generic"),
        ("azure", {"azure-client-id": ""}, "browser is not supported"),
        ("azure", {"azure-docker-port": 2377}, "the engine's port is 2376"),
        ("azure", {"azure-image": "ubuntu"}, "want PUBLISHER:OFFER:SKU:VERSION"),
        ("openstack", {"openstack-insecure": True}, "--openstack-cacert"),
        ("openstack", {"openstack-image-id": "x"}, "either --openstack-image-id or --openstack-image-name"),
        ("openstack", {"openstack-username": ""}, "requires the --openstack-username option"),
        ("rackspace", {"rackspace-username": ""}, "requires the --rackspace-username option"),
        ("linode", {"linode-stackscript": "1"}, "use --linode-userdata"),
        ("vultr", {"vultr-cloud-init-user-data": "%"}, "--vultr-cloud-init-user-data"),
        ("libcloud", {"libcloud-provider": ""}, "requires the --libcloud-provider option"),
        ("libcloud", {"libcloud-provider": "nowhere"}, "knows no provider nowhere"),
        ("libcloud", {"libcloud-provider": "upcloud", "libcloud-option": ("x=1",)}, "has no argument x"),
        ("libcloud", {"libcloud-provider": "dummy"}, "no way to give machines at dummy an ssh key"),
    ],
)  # fmt: skip
def test_bad_values_are_refused(name: str, values: Mapping[str, Any], message: str, tmp_path: Path) -> None:
    """What cannot work is refused before anything is asked, in words that name the flag."""
    with pytest.raises(MachineError) as caught:
        configured(name, tmp_path, **values)
    assert message in str(caught.value)


def test_any_cloud_reads_the_signature(tmp_path: Path) -> None:
    """-d libcloud gives create_node what it has a place for, and records the host key where user-data has none."""
    driver = configured("libcloud", tmp_path, **{
        "libcloud-provider": "upcloud", "libcloud-option": ("ex_hostname=h",), "libcloud-size": "s",
        "libcloud-image": "i", "libcloud-location": "fi-hel1",
    })  # fmt: skip
    assert driver.data["FirstContact"]
    cloud = create_autospec(driver.provider.connect(driver.data, {"libcloud-key": "a", "libcloud-secret": "b"}))
    for listing, name in (("list_sizes", "s"), ("list_images", "i"), ("list_locations", "fi-hel1")):
        getattr(cloud, listing).return_value = things(object, name)
    driver.provider.create(cloud, driver.data, Plan("m1", "t", "m1-t", "ssh-ed25519 AAAA", ""))
    given = cloud.create_node.call_args.kwargs
    assert (given["ex_hostname"], given["auth"].pubkey, given["size"].name) == ("h", "ssh-ed25519 AAAA", "s")


def test_rules() -> None:
    """ssh, the Engine API and the swarm's ports, and what the user opens; members' ports are for members only."""
    rules = needed(2222, ["8080", "53/udp", "8000-8010/tcp", "2376"])
    assert rules[:2] == [Rule("tcp", 2222, 2222), Rule("tcp", 2376, 2376)]
    assert set(SWARM) <= set(rules) and all(rule.members for rule in SWARM)
    assert rules[-3:] == [Rule("tcp", 8080, 8080), Rule("udp", 53, 53), Rule("tcp", 8000, 8010)]
    for bad in ("0", "70000", "9-8", "80/icmp", "", "a"):
        with pytest.raises(MachineError):
            needed(22, [bad])


def test_user_data_of_both(tmp_path: Path) -> None:
    """The user's own data comes along as a part of its own kind; what cloud-init would not know is refused."""
    from email import message_from_string

    host = OurPair("PRIVATE\n", "ssh-ed25519 AAAA\n")
    alone = compose(host)
    assert alone.startswith("#cloud-config\n")
    assert json.loads(alone.partition("\n")[2])["ssh_keys"]["ed25519_private"] == "PRIVATE\n"
    message = message_from_string(compose(host, "#!/bin/sh\necho ä\n", "", "#cloud-config\npackages: []\n"))
    parts = message.get_payload()
    assert [part.get_content_type() for part in parts] == [
        "text/cloud-config",
        "text/x-shellscript",
        "text/cloud-config",
    ]
    assert parts[1].get_payload(decode=True).decode() == "#!/bin/sh\necho ä\n"
    assert compose(host, "#!/bin/sh\n") == compose(host, "#!/bin/sh\n")
    with pytest.raises(MachineError):
        compose(host, "{}")


def test_azures_peculiarities() -> None:
    """Bytes in a request are text; the tenant is in the challenge of a refused request."""
    assert json.loads(encoded({"customData": b"abc"})) == {"customData": "abc"}
    uuid = "72f988bf-86f1-41af-91ab-2d7cd011db47"
    challenge = f'Bearer authorization_uri="https://login.windows.net/{uuid}", error="invalid_token"'
    assert tenant_in(challenge) == uuid
    with pytest.raises(MachineError, match="AZURE_TENANT_ID"):
        tenant_in("Bearer")


def test_pairs() -> None:
    """Tags as docker-machine takes them."""
    assert pairs("") == {}
    assert pairs("a,1,b,2") == {"a": "1", "b": "2"}
