"""Amazon EC2."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shoal.machine.cloud import amazonec2_groups, api, rules
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.provider import Option, Plan, Provider, Save, pairs, ssh_options
from shoal.machine.errors import MachineError

UBUNTU_OWNER, UBUNTU = "099720109477", "ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-amd64-server-*"

N = "amazonec2"


class AmazonEC2(Provider):
    """EC2: VPC only. One security group per name, shared by machines."""

    name, title, constant, id_key = N, "Amazon EC2", "ec2", "InstanceId"
    account = f"{N}-access-key"
    options = (
        Option(f"{N}-access-key", "AWS access key", "AWS_ACCESS_KEY_ID", secret=True, optional=True,
               old_key="AccessKey"),
        Option(f"{N}-secret-key", "AWS secret key", "AWS_SECRET_ACCESS_KEY", secret=True, optional=True,
               old_key="SecretKey"),
        Option(f"{N}-session-token", "AWS session token", "AWS_SESSION_TOKEN", secret=True, optional=True,
               old_key="SessionToken"),
        Option(f"{N}-ami", "AWS machine image; default is the newest Ubuntu 24.04", "AWS_AMI", key="AMI"),
        Option(f"{N}-region", "AWS region", "AWS_DEFAULT_REGION", "us-east-1", "Region"),
        Option(f"{N}-vpc-id", "AWS VPC id; default is the account's own", "AWS_VPC_ID", key="VpcId"),
        Option(f"{N}-zone", "AWS zone for instance (i.e. a,b,c,d,e)", "AWS_ZONE", "a", "Zone"),
        Option(f"{N}-subnet-id", "AWS VPC subnet id", "AWS_SUBNET_ID", key="SubnetId"),
        Option(f"{N}-security-group", "AWS VPC security group", "AWS_SECURITY_GROUP", ("docker-machine",),
               "SecurityGroupNames"),
        Option(f"{N}-security-group-readonly", "Add no rules to the security groups", "AWS_SECURITY_GROUP_READONLY",
               False, "SecurityGroupReadOnly"),
        Option(f"{N}-open-port", "Make the port accessible from the Internet: PORT, PORT-PORT, PORT/udp", "", (),
               "OpenPorts"),
        Option(f"{N}-tags", "AWS tags (e.g. key1,value1,key2,value2)", "AWS_TAGS", key="Tags"),
        Option(f"{N}-instance-type", "AWS instance type", "AWS_INSTANCE_TYPE", "t2.micro", "InstanceType"),
        Option(f"{N}-device-name", "AWS root device name", "AWS_DEVICE_NAME", "/dev/sda1", "DeviceName"),
        Option(f"{N}-root-size", "AWS root disk size (in GB)", "AWS_ROOT_SIZE", 16, "RootSize"),
        Option(f"{N}-volume-type", "Amazon EBS volume type", "AWS_VOLUME_TYPE", "gp2", "VolumeType"),
        Option(f"{N}-iam-instance-profile", "AWS IAM instance profile", "AWS_INSTANCE_PROFILE", "",
               "IamInstanceProfile", "ex_iamprofile"),
        *ssh_options(N, "AWS", "ubuntu"),
        Option(f"{N}-request-spot-instance", "Request a spot instance", "", False, "RequestSpotInstance", "ex_spot"),
        Option(f"{N}-spot-price", "Highest price of a spot instance (in dollar)", "", "0.50", "SpotPrice"),
        Option(f"{N}-block-duration-minutes", "Spot instance duration", "", 0, "BlockDurationMinutes",
               idle="Amazon no longer offers spot blocks"),
        Option(f"{N}-private-address-only", "Only use a private IP address", "", False, "PrivateIPOnly"),
        Option(f"{N}-use-private-address", "Reach the machine at its private IP address", "", False, "UsePrivateIP"),
        Option(f"{N}-monitoring", "Enable CloudWatch monitoring", "", False, "Monitoring"),
        Option(f"{N}-use-ebs-optimized-instance", "Create an EBS optimized instance", "", False,
               "UseEbsOptimizedInstance"),
        Option(f"{N}-ssh-keypath", "SSH key to use instead of a new one", "AWS_SSH_KEYPATH", key="OwnKeyPath"),
        Option(f"{N}-keypair-name", "AWS key pair to use; needs --amazonec2-ssh-keypath", "AWS_KEYPAIR_NAME",
               key="KeyName"),
        Option(f"{N}-retries", "Retry count for recoverable failures", "", 5, "RetryCount",
               idle="failures that pass are tried again until the time is over"),
        Option(f"{N}-endpoint", "Endpoint URL (host name or URL)", "AWS_ENDPOINT", key="Endpoint",
               server=True),
        Option(f"{N}-insecure-transport", "Send requests without TLS; needs --amazonec2-endpoint",
               "AWS_INSECURE_TRANSPORT", False, "DisableSSL"),
        Option(f"{N}-userdata", "Path to file with cloud-init user data", "AWS_USERDATA", key="UserDataFile"),
    )  # fmt: skip

    def configure(self, data: dict[str, Any], values: Mapping[str, Any]) -> None:
        """Check what EC2 would refuse late, or what only makes sense together."""
        if data["DisableSSL"] and not data["Endpoint"]:
            raise MachineError(f"using --{N}-insecure-transport also requires --{N}-endpoint")
        if data["KeyName"] and not data["OwnKeyPath"]:
            raise MachineError(f"using --{N}-keypair-name also requires --{N}-ssh-keypath")
        if not credentials({option: str(values.get(option) or "") for option in _SECRETS})[1]:
            raise MachineError(
                f"{N} driver requires AWS credentials configured with the --{N}-access-key and --{N}-secret-key "
                "options, environment variables, or ~/.aws/credentials"
            )
        if not data["Endpoint"] and data["Region"] not in _regions():
            raise MachineError("Invalid region specified")
        pairs(data["Tags"])
        rules.needed(data["SSHPort"], data["OpenPorts"])

    def connection(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """Region, keys, and the endpoint where it is another."""
        key, secret, token = credentials(secrets)
        if not secret:
            raise MachineError("Amazon EC2 cannot be asked: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        found: dict[str, Any] = {
            "key": key,
            "secret": secret,
            "token": token or None,
            "region": data["Region"],
            "signature_version": "4",
        }
        if data.get("Endpoint"):
            text = str(data["Endpoint"])
            url = urlsplit(text if "://" in text else f"//{text}")
            found["secure"] = url.scheme != "http" and not data.get("DisableSSL")
            found.update(host=url.hostname, port=url.port or (443 if found["secure"] else 80))
        return found

    def connect(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> Any:
        """Services that only speak as EC2 does write its XML namespace without the last slash."""
        from libcloud.compute.drivers.ec2 import NAMESPACE, EC2Response

        class Compatible(EC2Response):
            def parse_body(self) -> Any:
                self.body = str(self.body).replace(f'"{NAMESPACE.rstrip("/")}"', f'"{NAMESPACE}"')
                return super().parse_body()  # type: ignore[no-untyped-call]

        cloud = super().connect(data, secrets)
        if data.get("Endpoint"):
            cloud.connection.responseCls = Compatible
        return cloud

    def check(self, cloud: Any, data: dict[str, Any]) -> None:
        """Find the subnet: the one that is named, or that of the zone in the VPC."""
        if not data["VpcId"] and not data["SubnetId"]:
            networks = cloud.ex_list_networks(filters={"is-default": "true"})
            if not networks:
                raise MachineError(
                    f"{N} driver requires either the --{N}-subnet-id or --{N}-vpc-id option or an AWS Account with a "
                    "default vpc-id"
                )
            data["VpcId"] = networks[0].id
        if data["KeyName"] and data["KeyName"] not in [pair.name for pair in cloud.list_key_pairs()]:
            raise MachineError(
                f"There is no keypair with the name {data['KeyName']}. Please verify the key name provided."
            )
        subnet = self._subnet(cloud, data)
        data.update(SubnetId=subnet.id, VpcId=subnet.extra["vpc_id"])
        if not data["AMI"]:
            data["AMI"] = newest(cloud.list_images(ex_owner=UBUNTU_OWNER, ex_filters={"name": UBUNTU}))

    def open_ports(self, cloud: Any, data: dict[str, Any], save: Save) -> None:
        """Find or make the groups, and let in what they do not."""
        data["Lingers"] = True
        amazonec2_groups.open_ports(cloud, data, save)

    def close_ports(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """Remove groups of our own making that nothing uses."""
        if data.get("SecurityGroupIds"):
            amazonec2_groups.close_ports(cloud, data, self.port_conflict)

    def arguments(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
        """What EC2 wants in forms of its own."""
        disk = {"VolumeSize": data["RootSize"], "VolumeType": data["VolumeType"], "DeleteOnTermination": "true"}
        found: dict[str, Any] = {
            "name": plan.name, "size": api.size(cloud, data["InstanceType"]), "image": api.image(cloud, data["AMI"]),
            "ex_keyname": plan.key_name, "ex_userdata": plan.user_data, "ex_clienttoken": plan.token,
            "ex_metadata": pairs(data["Tags"]), "ex_subnet": self._subnet(cloud, data),
            "ex_security_group_ids": list(data["SecurityGroupIds"]),
            "ex_assign_public_ip": not data["PrivateIPOnly"],
            "ex_blockdevicemappings": [{"DeviceName": data["DeviceName"], "Ebs": disk}],
        }  # fmt: skip
        if data["UseEbsOptimizedInstance"]:
            found["ex_ebs_optimized"] = "true"
        if data["RequestSpotInstance"] and data["SpotPrice"]:
            found["ex_spot_max_price"] = data["SpotPrice"]
        return found

    def created(self, cloud: Any, node: Any, data: dict[str, Any]) -> bool:
        """Watch it more closely, if so wished."""
        if data["Monitoring"]:
            cloud.connection.request(cloud.path, params={"Action": "MonitorInstances", "InstanceId.1": node.id})
        return False

    def find(self, cloud: Any, data: Mapping[str, Any]) -> Any | None:
        """Asks for this one only; one that was never there is an error of EC2's."""
        try:
            return self.among(cloud.list_nodes(ex_node_ids=[data["InstanceId"]]), data)
        except Exception as fault:  # Libcloud has no type of its own for it
            if "InvalidInstanceID.NotFound" in str(fault):
                return None
            raise

    def lost(self, cloud: Any, data: Mapping[str, Any]) -> Any | None:
        """By the client token, which is this machine's alone."""
        return next((node for node in cloud.list_nodes() if node.extra.get("client_token") == data["Token"]), None)

    def kill(self, cloud: Any, node: Any) -> None:
        """Without asking its operating system."""
        cloud.connection.request(
            cloud.path, params={"Action": "StopInstances", "InstanceId.1": node.id, "Force": "true"}
        )

    def _subnet(self, cloud: Any, data: Mapping[str, Any]) -> Any:
        if data["SubnetId"]:
            found = cloud.ex_list_subnets(filters={"subnet-id": data["SubnetId"]})
            if not found:
                raise MachineError(
                    "The desired subnet could not be located in this region. "
                    f"Is '--{N}-subnet-id' or AWS_SUBNET_ID configured correctly?"
                )
            if data["VpcId"] and found[0].extra["vpc_id"] != data["VpcId"]:
                raise MachineError(f"SubnetId: {data['SubnetId']} does not belong to VpcId: {data['VpcId']}")
            return found[0]
        zone = data["Region"] + data["Zone"]
        found = cloud.ex_list_subnets(filters={"availability-zone": zone, "vpc-id": data["VpcId"]})
        if not found:
            raise MachineError(
                f"unable to find a subnet that is both in the zone {zone} and belonging to VPC ID {data['VpcId']}"
            )
        return found[0]


_SECRETS = (f"{N}-access-key", f"{N}-secret-key", f"{N}-session-token")


def credentials(secrets: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> tuple[str, str, str]:
    """Access key, secret key and session token: those given, else those in ~/.aws/credentials (AWS_PROFILE)."""
    key, secret, token = (secrets.get(name, "") for name in _SECRETS)
    if key and secret:
        return key, secret, token
    path = environment.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except configparser.Error as fault:
        raise MachineError(f"{path}: {fault}") from fault
    profile = environment.get("AWS_PROFILE") or "default"
    if not parser.has_section(profile):
        return "", "", ""
    part = parser[profile]
    return tuple(part.get(f"aws_{name}", "") for name in ("access_key_id", "secret_access_key", "session_token"))  # type: ignore[return-value]


def newest(images: Sequence[Any]) -> str:
    """The id of the newest image. Raises MachineError when there is none."""
    if not images:
        raise MachineError(f"no Ubuntu image was found in this region: choose one with --{N}-ami")
    return str(max(images, key=lambda image: str(image.extra.get("creation_date") or image.name)).id)


def _regions() -> Sequence[str]:
    from libcloud.compute.drivers.ec2 import EC2NodeDriver

    return list(EC2NodeDriver.list_regions())  # type: ignore[no-untyped-call]


class AmazonEC2Driver(CloudDriver):
    """`-d amazonec2`."""

    provider = AmazonEC2()
