"""The driver amazonec2 against moto's server: what is really made at EC2, and that nothing of it is left."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from keyring.backends.fail import Keyring

from shoal.machine.cloud import api
from shoal.machine.cloud import driver as driver_module
from shoal.machine.cloud.amazonec2 import AmazonEC2, AmazonEC2Driver
from shoal.machine.cloud.amazonec2_groups import MADE_BY
from shoal.machine.driver import Context, Prepare, State
from shoal.machine.errors import MachineError, PreCreateError
from tests.clouds import using
from tests.ec2 import ec2_server, emptied

UBUNTU = "ami-12c6146b"


class Quick(AmazonEC2):
    """Asks more often."""

    interval = 0.05


class Bare(AmazonEC2Driver):
    """Without what comes after the machine runs: moto's machines have no sshd."""

    provider = Quick()

    def _bring_up(self, prepare: Prepare, first_key: str = "") -> None:
        prepare(self.address())

    def _answers(self) -> bool:
        return True


class Old(AmazonEC2Driver):
    """Brings machines up as it does, and takes them to have booted anew at once."""

    provider = Quick()

    def _answers(self) -> bool:
        return True

    def _boot_mark(self) -> str:
        return ""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ec2_server() as endpoint:
        yield endpoint


@pytest.fixture
def ec2(server: str) -> Iterator[Any]:
    """EC2 as others see it, empty at first."""
    with using(Keyring()):
        yield emptied(server)
    api.forget_answers()


class Shop:
    """Makes drivers, and remembers what they saved."""

    def __init__(self, server: str, tmp_path: Path) -> None:
        self.server, self.tmp_path = server, tmp_path
        self.said: list[str] = []
        self.addresses: list[str] = []

    def driver(self, name: str, **values: Any) -> Bare:
        """A driver that took its flags; names are given without `amazonec2-`, _ for -."""
        directory = self.tmp_path / name
        directory.mkdir(exist_ok=True)
        driver = Bare(Context(name, directory, self.tmp_path, self.said.append), {})
        given = {"access-key": "AKIA1", "secret-key": "s3cr3t", "endpoint": self.server, "ami": UBUNTU}
        given.update({key.replace("_", "-"): value for key, value in values.items()})
        defaults = {flag.name: flag.default for flag in Bare.flags()}
        driver.configure({**defaults, **{f"amazonec2-{key}": value for key, value in given.items()}})
        return driver

    def create(self, name: str, **values: Any) -> Bare:
        """A machine."""
        driver = self.driver(name, **values)
        driver.check()
        driver.create(self.addresses.append)  # type: ignore[arg-type, return-value]
        return driver


@pytest.fixture
def shop(server: str, tmp_path: Path) -> Shop:
    return Shop(server, tmp_path)


def instances(ec2: Any) -> list[Any]:
    """All instances, also those that are terminated."""
    return [instance for found in ec2.describe_instances()["Reservations"] for instance in found["Instances"]]


def group(ec2: Any, name: str = "docker-machine") -> Any:
    """The security group called `name`, if it is there."""
    found = [one for one in ec2.describe_security_groups()["SecurityGroups"] if one["GroupName"] == name]
    return found[0] if found else None


def test_what_is_made(ec2: Any, shop: Shop) -> None:
    """An instance with its key pair, group, tags, disk, user-data and zone, as the flags say."""
    driver = shop.create("m1", tags="team,blue,env,test", root_size=20, zone="b", open_port=("8080", "53/udp"),
                         instance_type="t3.small")  # fmt: skip
    [made] = instances(ec2)
    assert made["InstanceId"] == driver.data["InstanceId"]
    assert (made["InstanceType"], made["ImageId"]) == ("t3.small", UBUNTU)
    assert made["Placement"]["AvailabilityZone"] == "us-east-1b"
    assert {(tag["Key"], tag["Value"]) for tag in made["Tags"]} == {("Name", "m1"), ("team", "blue"), ("env", "test")}
    [pair] = ec2.describe_key_pairs()["KeyPairs"]
    assert made["KeyName"] == pair["KeyName"] == driver.data["KeyName"]
    volume = ec2.describe_volumes(VolumeIds=[made["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]])["Volumes"][0]
    assert (volume["Size"], volume["VolumeType"]) == (20, "gp2")
    assert made["ClientToken"] == driver.data["Token"]
    assert driver.address() == made["PublicIpAddress"] == shop.addresses[-1]
    assert driver.data["PrivateIPAddress"] == made["PrivateIpAddress"]
    data = ec2.describe_instance_attribute(InstanceId=made["InstanceId"], Attribute="userData")
    import base64

    assert "ed25519_private" in base64.b64decode(data["UserData"]["Value"]).decode()


def test_the_groups_rules(ec2: Any, shop: Shop) -> None:
    """ssh, the Engine API and what is opened from anywhere; the swarm's ports from members only. Twice is once."""
    shop.create("m1", open_port=("8080",))
    shop.create("m2", open_port=("53/udp",))
    found = group(ec2)
    assert found["Description"] == MADE_BY
    rules = {
        (rule["IpProtocol"], rule["FromPort"], rule["ToPort"], tuple(r["CidrIp"] for r in rule["IpRanges"]),
         tuple(pair["GroupId"] for pair in rule["UserIdGroupPairs"]))
        for rule in found["IpPermissions"]
    }  # fmt: skip
    everywhere, members = (("0.0.0.0/0",), ()), ((), (found["GroupId"],))
    assert rules == {
        ("tcp", 22, 22, *everywhere), ("tcp", 2376, 2376, *everywhere), ("tcp", 8080, 8080, *everywhere),
        ("udp", 53, 53, *everywhere), ("tcp", 2377, 2378, *members), ("tcp", 7946, 7946, *members),
        ("udp", 7946, 7946, *members), ("udp", 4789, 4789, *members),
    }  # fmt: skip
    assert all(
        instance["NetworkInterfaces"][0]["Groups"][0]["GroupName"] == "docker-machine" for instance in instances(ec2)
    )


def test_stop_start_and_another_address(ec2: Any, shop: Shop) -> None:
    """Stopped has no address; started comes back with another one, which is used and told."""
    driver = shop.create("m1")
    first = driver.address()
    driver.stop()
    assert instances(ec2)[0]["State"]["Name"] == "stopped"
    assert (driver.state(), driver.data["IPAddress"]) == (State.STOPPED, "")
    driver.start(shop.addresses.append)  # type: ignore[arg-type, return-value]
    assert driver.state() is State.RUNNING
    assert shop.addresses[-1] == driver.address() == instances(ec2)[0]["PublicIpAddress"] != first
    assert any(f"(was {first})" in line for line in shop.said)
    driver.kill()
    assert instances(ec2)[0]["State"]["Name"] == "stopped"


def test_rm_removes_everything(ec2: Any, shop: Shop) -> None:
    """The instance, its key pair; the group with its last machine. Again is no failure."""
    first, second = shop.create("m1"), shop.create("m2")
    first.remove()
    assert [made["State"]["Name"] for made in instances(ec2)] == ["terminated", "running"]
    assert [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]] == [second.data["KeyName"]]
    assert group(ec2)
    second.remove()
    assert {made["State"]["Name"] for made in instances(ec2)} == {"terminated"}
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert group(ec2) is None
    second.remove()
    assert second.state() is State.NONE


def test_several_at_once(ec2: Any, shop: Shop) -> None:
    """Machines that are made at the same time share one group, whole; removed at the same time they leave nothing."""
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(shop.create, ["m1", "m2", "m3"]))
        assert len(group(ec2)["IpPermissions"]) == 6
        assert len({driver.data["InstanceId"] for driver in made}) == 3
        list(pool.map(lambda driver: driver.remove(), made))
    assert group(ec2) is None and ec2.describe_key_pairs()["KeyPairs"] == []


def test_groups_of_others_stay(ec2: Any, shop: Shop) -> None:
    """A group that was there is used, and its rules completed unless it is read-only; it is never removed."""
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    for name in ("mine", "closed"):
        ec2.create_security_group(GroupName=name, Description="of the user", VpcId=vpc)
    ec2.authorize_security_group_ingress(GroupId=group(ec2, "mine")["GroupId"], IpProtocol="tcp", FromPort=1, ToPort=9000,
                                         CidrIp="0.0.0.0/0")  # fmt: skip
    one = shop.create("m1", security_group=("mine",))
    assert [rule["IpProtocol"] for rule in group(ec2, "mine")["IpPermissions"]] == ["tcp", "udp", "udp"]
    two = shop.create("m2", security_group=("closed",), security_group_readonly=True)
    assert group(ec2, "closed")["IpPermissions"] == []
    one.remove()
    two.remove()
    assert group(ec2, "mine") and group(ec2, "closed")


def test_a_key_pair_of_the_users(ec2: Any, shop: Shop, tmp_path: Path) -> None:
    """--amazonec2-keypair-name with --amazonec2-ssh-keypath: that key is used, copied for us alone, and stays at EC2."""
    text = ec2.create_key_pair(KeyName="mine")["KeyMaterial"]
    key = tmp_path / "mine.pem"
    key.write_text(text)
    driver = shop.create("m1", keypair_name="mine", ssh_keypath=str(key))
    assert instances(ec2)[0]["KeyName"] == "mine"
    copy = tmp_path / "m1" / "mine.pem"
    assert (copy.read_text(), copy.stat().st_mode & 0o777, driver.ssh().key) == (text, 0o600, copy)
    driver.remove()
    assert [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]] == ["mine"]
    with pytest.raises(PreCreateError, match="There is no keypair with the name other"):
        shop.driver("m2", keypair_name="other", ssh_keypath=str(key)).check()


def test_private_addresses(ec2: Any, shop: Shop) -> None:
    """--amazonec2-use-private-address reaches the machine at its private one; -only gives it no other."""
    driver = shop.create("m1", use_private_address=True)
    assert driver.address() == instances(ec2)[0]["PrivateIpAddress"]
    only = shop.create("m2", private_address_only=True)
    assert only.url() == f"tcp://{only.data['PrivateIPAddress']}:2376"


def test_an_interrupted_request_is_found_by_its_token(ec2: Any, shop: Shop) -> None:
    """The machine was made but its id never came back: remove finds it by the client token, and only that one."""

    class Lost(Quick):
        def create(self, cloud: Any, data: Any, plan: Any) -> Any:
            super().create(cloud, data, plan)
            raise OSError("connection lost")

    other = shop.create("m0")
    driver = shop.driver("m1")
    driver.provider = driver._remote.provider = Lost()  # type: ignore[misc]
    driver.check()
    with pytest.raises(MachineError, match="connection lost"):
        driver.create(shop.addresses.append)  # type: ignore[arg-type, return-value]
    assert len(instances(ec2)) == 2
    driver.remove()
    assert {made["InstanceId"] for made in instances(ec2) if made["State"]["Name"] == "running"} == {
        other.data["InstanceId"]
    }
    assert len(ec2.describe_key_pairs()["KeyPairs"]) == 1


def test_subnets(ec2: Any, shop: Shop) -> None:
    """A subnet that is not there, or of another VPC, or a zone without one, is refused before anything is made."""
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", AvailabilityZone="us-east-1c")["Subnet"]["SubnetId"]
    default = next(one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"] if one["IsDefault"])
    for values, message in (
        ({"subnet_id": "subnet-00000000"}, "desired subnet could not be located"),
        ({"subnet_id": subnet, "vpc_id": default}, "does not belong to VpcId"),
        ({"zone": "z"}, "unable to find a subnet that is both in the zone us-east-1z"),
    ):
        with pytest.raises(PreCreateError, match=message):
            shop.driver("m1", **values).check()
    driver = shop.driver("m1", subnet_id=subnet)
    driver.check()
    assert driver.data["VpcId"] == vpc
    assert instances(ec2) == []


def test_a_record_of_docker_machines(
    ec2: Any, shop: Shop, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docker-machine made is asked, stopped, started and removed with its own record.

    Its Docker is left as it is; its key pair goes, its group stays.
    """
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    made = ec2.create_security_group(GroupName="docker-machine", Description="Docker Machine", VpcId=vpc)["GroupId"]
    ec2.import_key_pair(
        KeyName="old", PublicKeyMaterial=shop.create("m1").context.directory.joinpath("id_ed25519.pub").read_bytes()
    )
    instance = ec2.run_instances(ImageId=UBUNTU, MinCount=1, MaxCount=1, KeyName="old")["Instances"][0]["InstanceId"]
    record = {
        "IPAddress": "192.0.2.1", "MachineName": "old", "SSHUser": "ubuntu", "SSHPort": 22, "StorePath": str(tmp_path),
        "AccessKey": "AKIA1", "SecretKey": "s3cr3t", "SessionToken": "", "Region": "us-east-1", "Endpoint": server,
        "InstanceId": instance, "KeyName": "old", "ExistingKey": False, "SecurityGroupIds": [made],
        "SecurityGroupNames": ["docker-machine"], "OpenPorts": None, "VpcId": vpc,
    }  # fmt: skip
    directory = tmp_path / "old"
    directory.mkdir()
    (directory / "id_rsa").touch()
    driver = Old(Context("old", directory, tmp_path, shop.said.append), record)
    assert driver.state() is State.RUNNING
    assert driver.ssh().key == directory / "id_rsa"
    assert any("AccessKey in clear" in line for line in shop.said)
    driver.stop()
    assert driver.state() is State.STOPPED
    asked: list[str] = []
    monkeypatch.setattr(driver_module.ssh, "wait_for_banner", lambda endpoint, timeout: asked.append(endpoint.host))
    monkeypatch.setattr(driver_module.access, "log_in", lambda endpoint, timeout: asked.append(endpoint.user))
    for again in (driver.start, driver.restart):
        again(lambda address: pytest.fail("nothing is to be installed there"))
        assert driver.state() is State.RUNNING
    assert asked == [driver.address(), "ubuntu"] * 2
    driver.remove()
    assert instance not in [one["InstanceId"] for one in instances(ec2) if one["State"]["Name"] != "terminated"]
    assert "old" not in [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]]
    assert made in [one["GroupId"] for one in ec2.describe_security_groups()["SecurityGroups"]]
