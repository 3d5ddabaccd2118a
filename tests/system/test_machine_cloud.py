"""Cloud machines with real computers behind them: a real sshd, user-data taken as cloud-init takes it, a real engine."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from keyring.backends.fail import Keyring

from shoal.machine import actions, ssh
from shoal.machine.cloud import api
from shoal.machine.cloud.amazonec2 import AmazonEC2, AmazonEC2Driver
from shoal.machine.driver import Context, EngineSetup, State, register
from shoal.machine.errors import MachineError
from shoal.machine.host import open_host
from shoal.machine.store import Store
from tests.clouds import using
from tests.ec2 import ec2_server, emptied
from tests.machine_suite import Yard
from tests.system.ssh_hosts import SshHost

pytestmark = pytest.mark.system

SUBNET = f"10.89.{os.getpid() % 250}.0/24"


class Centre:
    """The computers behind EC2's instances: one that is started when EC2 says so."""

    def __init__(self, folder: Path) -> None:
        self.host = SshHost(folder, SUBNET, "instance")
        self.obeys = True
        """Whether its image has cloud-init."""

    def launch(self, user_data: str, public_key: str) -> None:
        """First boot: cloud-init lets the key in, and takes the host key of the user-data."""
        self.host.create()
        install = "umask 077; mkdir -p /root/.ssh; cat >/root/.ssh/authorized_keys"
        own = self.host.key.with_suffix(".pub").read_bytes()
        self.run(install, own + public_key.encode() + b"\n")
        if self.obeys:
            keys = json.loads(user_data.partition("\n")[2])["ssh_keys"]
            self.run("cat >/etc/ssh/ssh_host_ed25519_key", keys["ed25519_private"].encode())

    def run(self, command: str, input: bytes = b"") -> str:
        """A command on it by the centre's staff, who do not care for host keys."""
        (self.host.driver.context.directory / "known_hosts").unlink(missing_ok=True)
        return self.host.run(command, input=input)

    def off(self) -> None:
        """Power off."""
        self.host.stop()

    def on(self) -> None:
        """Power on, at another address, as EC2 does it."""
        self.host.driver.new_address()
        self.host.start()


class Located(AmazonEC2):
    """EC2 whose instances are the centre's computers: their addresses are not those that moto makes up."""

    interval = 0.1
    centre: Centre

    def create(self, cloud: Any, data: Any, plan: Any) -> Any:
        """The computer boots with what moto was told."""
        node = super().create(cloud, data, plan)
        answer = cloud.connection.request(
            cloud.path, params={"Action": "DescribeInstanceAttribute", "InstanceId": node.id, "Attribute": "userData"}
        )
        text = answer.body.partition("<value>")[2].partition("</value>")[0]
        self.centre.launch(base64.b64decode(text).decode(), plan.public_key)
        return node

    def start(self, cloud: Any, node: Any) -> None:
        """Both."""
        super().start(cloud, node)
        self.centre.on()

    def stop(self, cloud: Any, node: Any) -> None:
        """Both."""
        super().stop(cloud, node)
        self.centre.off()

    def reboot(self, cloud: Any, node: Any) -> None:
        """Both."""
        super().reboot(cloud, node)
        self.centre.host.stop()
        self.centre.host.start()

    def destroy(self, cloud: Any, node: Any) -> None:
        """Both."""
        super().destroy(cloud, node)
        self.centre.host.remove()

    def addresses(self, node: Any, data: Any) -> tuple[str, str]:
        """Where the computer is, when EC2 says that it runs."""
        return (self.centre.host.address, "10.0.0.1") if super().addresses(node, data)[0] else ("", "")


class Driver(AmazonEC2Driver):
    """`-d amazonec2` of this test."""

    provider = Located()
    login_timeout = 5.0


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ec2_server() as endpoint:
        yield endpoint


@pytest.fixture
def ec2(server: str) -> Any:
    return emptied(server)


@pytest.fixture
def yard(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    register("amazonec2-here", Driver)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-key")
    values = {flag.name: flag.default for flag in Driver.flags()}
    values.update({
        "amazonec2-access-key": "AKIA1", "amazonec2-secret-key": "s3cr3t-key", "amazonec2-endpoint": server,
        "amazonec2-ami": "ami-12c6146b", "amazonec2-ssh-user": "root",
    })  # fmt: skip
    Located.centre = Centre(tmp_path / "centre")
    with using(Keyring()):
        yield Yard(Store(tmp_path / "store"), "amazonec2-here", values)
    Located.centre.host.remove()
    api.forget_answers()


def running(ec2: Any) -> list[str]:
    """The ids of the instances that are not terminated."""
    found = [one for part in ec2.describe_instances()["Reservations"] for one in part["Instances"]]
    return [one["InstanceId"] for one in found if one["State"]["Name"] != "terminated"]


def seen(progress: list[str], *words: str) -> bool:
    """Whether a line has all these words."""
    return any(all(word in line for word in words) for line in progress)


def test_a_machines_life(yard: Yard, ec2: Any) -> None:
    """Created over ssh whose first connection is checked, usable; stopped, back elsewhere; restarted; removed wholly."""
    host = yard.create()
    directory = yard.store.directory("m1")
    assert yard.answers()
    assert len(running(ec2)) == 1
    # The key in user-data was for the first connection only: now the machine has one that nobody else knows.
    pinned = (directory / "known_hosts").read_text().split()[1:3]
    assert Located.centre.run("ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key").split()[:2] == pinned
    assert ssh.run(host.driver.ssh(), "echo here").text == "here"
    for path in yard.store.root.rglob("*"):
        assert not path.is_file() or b"s3cr3t-key" not in path.read_bytes(), path
    before = host.driver.address()
    actions.stop(yard.store, "m1", yard.said.append)
    assert yard.state() is State.STOPPED
    yard.start()
    after = open_host(yard.store, "m1").driver.address()
    assert after != before and yard.answers()
    assert seen(yard.said, after, f"(was {before})")
    actions.restart(yard.store, "m1", yard.said.append, datetime.now(UTC))
    assert open_host(yard.store, "m1").driver.address() == after and yard.answers()
    actions.remove(yard.store, "m1", yard.said.append)
    assert running(ec2) == [] and ec2.describe_key_pairs()["KeyPairs"] == []
    assert [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]
    assert yard.store.names() == []


def test_an_image_that_ignores_user_data(yard: Yard, ec2: Any, tmp_path: Path) -> None:
    """Another host key than the one given is refused, with what to do; with --...-ssh-first-contact it is recorded."""
    Located.centre.obeys = False
    with pytest.raises(MachineError, match="--amazonec2-ssh-first-contact"):
        yard.create()
    assert running(ec2) == [] and yard.store.names() == []
    Located.centre = Centre(tmp_path / "second")
    Located.centre.obeys = False
    driver = Driver(Context("m1", tmp_path, tmp_path, yard.said.append), {})
    driver.configure({**yard.values, "amazonec2-ssh-first-contact": True})
    driver.check()

    def reached(address: str) -> EngineSetup:
        raise LookupError(address)

    with pytest.raises(LookupError):
        driver.create(reached)
    recorded = (tmp_path / "known_hosts").read_text().split()[1:3]
    assert Located.centre.run("ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key").split()[:2] == recorded
    driver.remove()
    assert running(ec2) == []
