"""What machines at a cloud share with others there: found, made once, and not taken from those to whom it belongs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.machine.cloud import api, azure_network, rules
from shoal.machine.cloud.azure import Azure
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.exoscale import ExoscaleDriver
from shoal.machine.cloud.google import Google
from shoal.machine.cloud.openstack import GROUP, MADE_BY, OpenStack
from shoal.machine.driver import Context, State
from shoal.machine.errors import MachineError
from tests.clouds import Missing, ResourceManager, is_locked

AZURE = {
    "MachineName": "web", "ResourceGroup": "g", "Location": "westus", "VirtualNetwork": "net", "SubnetName": "sub",
    "SubnetPrefix": "10.0.0.0/16", "PrivateIPAddr": "", "NoPublicIP": False, "DNSLabel": "", "SSHPort": 22,
    "OpenPorts": [], "Token": "t",
}  # fmt: skip
PARTS = {"firewall": "networkSecurityGroups/web-firewall", "ip": "publicIPAddresses/web-ip",
         "nic": "networkInterfaces/web-nic"}  # fmt: skip


def nobody(path: str) -> Any:
    raise Missing


def azure() -> tuple[Any, ResourceManager]:
    """Libcloud's driver object as far as it is used here, and what it talks to."""
    manager = ResourceManager()
    return SimpleNamespace(subscription_id="s", connection=manager, ex_get_node=nobody), manager


def of_azure(part: str) -> str:
    return f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/{PARTS[part]}"


@pytest.mark.parametrize("part", PARTS)
def test_a_users_own_part_at_azure_is_neither_overwritten_nor_removed(part: str) -> None:
    """What bears a name that the machine's parts would have, and not our tag, is refused before anything is made."""
    cloud, manager = azure()
    manager.resources[of_azure(part)] = {"tags": {"of": "user"}, "properties": {}}
    before = dict(manager.resources)
    with pytest.raises(MachineError, match=f"web-{part} in g .* not made by shoal machine"):
        Azure().check(cloud, dict(AZURE))
    azure_network.remove(cloud, AZURE)
    assert manager.resources == before


def test_the_parts_of_our_making_at_azure_come_and_go() -> None:
    """They are made, may be left from an attempt before, and go with the machine; docker-machine's had no tag."""
    cloud, manager = azure()
    azure_network.make(cloud, AZURE)
    assert {of_azure(part) for part in PARTS} <= set(manager.resources)
    Azure().check(cloud, dict(AZURE))
    azure_network.remove(cloud, AZURE)
    assert not {of_azure(part) for part in PARTS} & set(manager.resources)
    manager.resources.update({of_azure(part): {"properties": {}} for part in PARTS})
    azure_network.remove(cloud, {key: value for key, value in AZURE.items() if key != "Token"})
    assert manager.resources.keys() == {"/subscriptions/s/resourceGroups/g"}


def test_a_public_address_that_the_machine_would_not_have_is_in_nobodys_way() -> None:
    """--azure-no-public-ip: an address of that name is not touched, so it may be there."""
    cloud, manager = azure()
    manager.resources[of_azure("ip")] = {"properties": {}}
    Azure().check(cloud, {**AZURE, "NoPublicIP": True})
    azure_network.make(cloud, {**AZURE, "NoPublicIP": True})
    azure_network.remove(cloud, {**AZURE, "NoPublicIP": True})
    assert of_azure("ip") in manager.resources


GOOGLE = {"SSHPort": 22, "OpenPorts": [], "KeyName": "M1-t", "Network": "default"}


def test_googles_shared_rule_may_come_from_another_computer_meanwhile() -> None:
    """Made between our question and our own making it is what was wanted; any other failure is one."""
    made = []

    def create(name: str, **more: Any) -> None:
        made.append(name)
        if name.startswith("docker-machine-members"):
            raise trouble

    cloud = SimpleNamespace(ex_create_firewall=create, ex_list_firewalls=list)
    trouble = RuntimeError("The resource 'projects/p/global/firewalls/docker-machine-members' already exists")
    Google().open_ports(cloud, dict(GOOGLE), lambda: None)
    assert made == ["m1-t", "docker-machine-members-default"]
    trouble = RuntimeError("quota exceeded")
    with pytest.raises(RuntimeError, match="quota"):
        Google().open_ports(cloud, dict(GOOGLE), lambda: None)


class Neutron:
    """OpenStack's groups as Libcloud shows them: the rules that let everything out look as if they let it in."""

    def __init__(self, *groups: Any) -> None:
        self.groups = list(groups)

    def ex_list_security_groups(self) -> list[Any]:
        return list(self.groups)

    def ex_create_security_group(self, name: str, description: str) -> Any:
        out = SimpleNamespace(ip_protocol=None, from_port=None, to_port=None, ip_range=None, group={})
        self.groups.append(
            SimpleNamespace(id=f"id-{len(self.groups)}", name=name, description=description, rules=[out])
        )
        return self.groups[-1]

    def ex_create_security_group_rule(
        self, group: Any, protocol: str, first: int, last: int, cidr: str = "", source_security_group: Any = None
    ) -> None:
        source = {"name": source_security_group.id} if source_security_group else {}
        made = SimpleNamespace(ip_protocol=protocol, from_port=first, to_port=last, ip_range=cidr, group=source)
        assert made not in group.rules, "409 Security group rule already exists"
        group.rules.append(made)


def test_openstacks_group_is_made_once_and_completed() -> None:
    """A group of ours that lost its maker between group and rules, or has another ssh port, gets what is missing."""
    cloud, data = Neutron(), {"SecurityGroups": "", "SSHPort": 22}
    OpenStack().open_ports(cloud, data, lambda: None)
    (group,) = cloud.groups
    whole = list(group.rules)
    assert len(whole) == 1 + len(rules.needed(22))
    OpenStack().open_ports(cloud, data, lambda: None)
    assert (cloud.groups, group.rules) == ([group], whole)
    del group.rules[1:]
    OpenStack().open_ports(cloud, data, lambda: None)
    assert group.rules == whole
    OpenStack().open_ports(cloud, {**data, "SSHPort": 2222}, lambda: None)
    assert len(group.rules) == len(whole) + 1


def test_openstacks_group_of_somebody_else_stays_as_it_is() -> None:
    """A group of that name that we did not make is used, and nothing is let in there."""
    theirs = SimpleNamespace(id="x", name=GROUP, description="mine", rules=[])
    cloud = Neutron(theirs)
    OpenStack().open_ports(cloud, {"SecurityGroups": "", "SSHPort": 22}, lambda: None)
    assert (cloud.groups, theirs.rules) == ([theirs], [])


def test_a_rule_that_another_computer_made_meanwhile_is_fine() -> None:
    """Both complete the group at the same time; other failures stay failures."""

    class Slow(Neutron):
        def ex_create_security_group_rule(self, *arguments: Any, **more: Any) -> None:
            raise RuntimeError(said)

    ours = SimpleNamespace(id="x", name=GROUP, description=MADE_BY, rules=[])
    said = "409 Conflict Security group rule already exists. Rule id is 7."
    OpenStack().open_ports(Slow(ours), {"SecurityGroups": "", "SSHPort": 22}, lambda: None)
    said = "403 no"
    with pytest.raises(RuntimeError, match="403"):
        OpenStack().open_ports(Slow(ours), {"SecurityGroups": "", "SSHPort": 22}, lambda: None)


def test_what_is_shared_is_held_between_processes(tmp_path: Path) -> None:
    """Two commands at the same time exclude each other, so the lock is a file; another provider's is another."""
    with api.exclusive(tmp_path, "google"):
        (lock,) = (tmp_path / "locks").iterdir()
        assert is_locked(lock)
        with api.exclusive(tmp_path, "openstack"):
            pass
    assert not is_locked(lock)


def test_ports_are_opened_and_closed_under_that_lock(tmp_path: Path) -> None:
    """Whoever makes or removes what is shared is alone."""
    seen: list[bool] = []

    class Watched(ExoscaleDriver.provider.__class__):  # type: ignore[misc, name-defined]
        def note(self, *arguments: Any) -> None:
            seen.append(is_locked(tmp_path / "locks" / "cloud-exoscale"))
            if len(arguments) == 3:
                raise MachineError("seen")

        open_ports = close_ports = note

    driver = a_driver(tmp_path, Watched())
    with pytest.raises(MachineError, match="seen"):
        driver.create(lambda address: pytest.fail("not asked"))
    driver._remote.remove(None)
    assert seen == [True, True]


def a_driver(tmp_path: Path, provider: Any) -> CloudDriver:
    """A driver of `provider` whose every question reaches it at once, and nobody at all behind it."""

    class Driver(CloudDriver):
        pass

    Driver.provider = provider
    provider.import_key = provider.delete_key = provider.released = lambda *arguments: None
    driver = Driver(Context("m1", tmp_path / "machines/m1", tmp_path, lambda line: None), {})
    driver.context.directory.mkdir(parents=True)
    values: dict[str, Any] = {flag.name: flag.default for flag in driver.flags()}
    values |= {option.name: "secret" for option in provider.options if option.secret}
    driver.configure(values)

    def ask(question: Callable[[Any], Any]) -> Any:
        return question(None)

    driver._remote.ask = ask  # type: ignore[method-assign]
    driver._remote.credentials.keep = lambda: None  # type: ignore[method-assign]
    assert driver.state() is State.NONE
    return driver


@pytest.mark.parametrize("name", ["key.pem", "config.json", "known_hosts"])
def test_ones_own_key_by_the_name_of_a_file_of_ours_has_another_here(tmp_path: Path, name: str) -> None:
    """As with generic hosts: nothing of the machine's own is written over its copy."""
    from shoal.machine.keys import generate

    source = tmp_path / "mine" / name
    source.parent.mkdir()
    source.write_text(generate().private)
    driver = a_driver(tmp_path, type(ExoscaleDriver.provider)())
    driver.data.update(OwnKeyPath=str(source), Token="t")
    driver._make_keys()
    kept = Path(driver.data["SSHKeyPath"])
    assert kept == tmp_path / "machines/m1" / f"id_{name}"
    assert kept.read_text() == source.read_text()
