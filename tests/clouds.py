"""A cloud for tests: Libcloud's dummy provider, given what real providers have, and a driver for it.

Its machines have an address that answers only in a test that puts a computer behind it (`Account.computers`).
Also Azure's Resource Manager, as far as it keeps what it was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keyring
import keyring.backend
from libcloud.common.types import InvalidCredsError
from libcloud.compute.base import KeyPair, Node
from libcloud.compute.drivers.dummy import DummyNodeDriver
from libcloud.compute.types import NodeState

from shoal.machine.cloud import api
from shoal.machine.cloud.driver import CloudDriver
from shoal.machine.cloud.provider import Option, Plan, Provider, ssh_options
from shoal.machine.driver import Prepare
from tests.machine_fake import _Power


class Account:
    """One customer's machines and keys. `interrupt` is called when a machine was made, before anybody knows its id;
    `trouble` before its machines are told."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.keys: dict[str, str] = {}
        self.user_data: dict[str, str] = {}
        self.questions = 0
        self.interrupt: Callable[[], None] = lambda: None
        self.trouble: Callable[[], None] = lambda: None
        self.on: Callable[[str], str] = lambda name: "127.0.0.1"
        self.off: Callable[[str], None] = lambda name: None


ACCOUNTS: dict[str, Account] = {}
"""By token. A token that is not here is refused."""


class DummyCloud(DummyNodeDriver):
    """Libcloud's dummy driver with keys, user-data, start and stop; what it makes outlives it."""

    def __init__(self, key: str) -> None:
        super().__init__(key)  # type: ignore[no-untyped-call]
        self.token = key

    @property
    def account(self) -> Account:
        """The token's."""
        if self.token not in ACCOUNTS:
            raise InvalidCredsError(f"401 bad token {self.token}")
        return ACCOUNTS[self.token]

    def list_nodes(self) -> list[Node]:
        """All machines of the account."""
        self.account.questions += 1
        self.account.trouble()
        return list(self.account.nodes.values())

    def create_node(self, name: str, size: Any, image: Any, ex_keyname: str = "", ex_userdata: str = "") -> Node:
        """A machine that runs at once."""
        assert ex_keyname in self.account.keys
        node = super().create_node(name, size, image)  # type: ignore[no-untyped-call]
        node.id, node.name, node.extra = f"node-{len(self.account.user_data) + 1}", name, {"key_name": ex_keyname}
        self.account.user_data[name] = ex_userdata
        node.public_ips = [self.account.on(name)]
        self.account.nodes[node.id] = node
        self.account.interrupt()
        return node

    def start_node(self, node: Node) -> bool:
        """Start it; its address may be another."""
        node.public_ips, node.state = [self.account.on(node.name)], NodeState.RUNNING
        return True

    def stop_node(self, node: Node) -> bool:
        """Stop it."""
        self.account.off(node.name)
        node.public_ips, node.state = [], NodeState.STOPPED
        return True

    def reboot_node(self, node: Node) -> bool:
        """Stop and start it."""
        return self.stop_node(node) and self.start_node(node)

    def destroy_node(self, node: Node) -> bool:
        """It is no more."""
        self.account.off(node.name)
        del self.account.nodes[node.id]
        return True

    def import_key_pair_from_string(self, name: str, key_material: str) -> KeyPair:
        """Keep the key."""
        self.account.keys[name] = key_material
        return super().import_key_pair_from_string(name, key_material)  # type: ignore[no-untyped-call, no-any-return]

    def list_key_pairs(self) -> list[KeyPair]:
        """The account's keys."""
        return [KeyPair(name, key, "", self) for name, key in self.account.keys.items()]  # type: ignore[no-untyped-call]

    def delete_key_pair(self, key_pair: KeyPair) -> bool:
        """Forget the key."""
        del self.account.keys[key_pair.name]
        return True


class Dummy(Provider):
    """The table of the dummy provider."""

    name, title, id_key, account, interval = "dummy", "the dummy provider", "NodeID", "dummy-token", 0.01
    options = (
        Option("dummy-token", "Token", "DUMMY_TOKEN", secret=True, old_key="AccessToken"),
        Option("dummy-size", "Size", "DUMMY_SIZE", "s1", "Size"),
        Option("dummy-userdata", "User data", "", key="UserDataFile"),
        *ssh_options("dummy", "DUMMY", "root"),
    )

    def connect(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> Any:
        """The dummy driver."""
        return DummyCloud(**self.connection(data, secrets))

    def connection(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """The token."""
        return {"key": secrets["dummy-token"]}

    def arguments(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
        """As any provider."""
        return {
            "name": plan.name, "size": api.size(cloud, data["Size"]), "image": api.image(cloud, "i1"),
            "ex_keyname": plan.key_name, "ex_userdata": plan.user_data,
        }  # fmt: skip


class DummyDriver(CloudDriver):
    """Machines of the dummy provider as they are; somebody must have put a computer behind their addresses."""

    provider = Dummy()


class ThreadDriver(DummyDriver):
    """Machines that are two threads on 127.0.0.1, so that everything but ssh and the installation can be tested."""

    powers: dict[str, _Power] = {}

    def _bring_up(self, prepare: Prepare, first_key: str = "") -> None:
        self.off(self.context.name)
        self.powers[self.context.name] = _Power(prepare(self.address()))

    @classmethod
    def off(cls, name: str) -> None:
        """Cut one's power."""
        if power := cls.powers.pop(name, None):
            power.off()

    def _boot_mark(self) -> str:
        return ""

    def _answers(self) -> bool:
        return True

    def url(self) -> str:
        """On the port that it got."""
        return f"tcp://{self.address()}:{self.powers[self.context.name].engine.server_address[1]}"

    def ssh(self) -> Any:
        """On the port that it got."""
        return super().ssh()._replace(port=self.powers[self.context.name].sshd.server_address[1])


class Missing(Exception):
    """What Libcloud raises for what is not there."""

    code = 404


class ResourceManager:
    """Azure's: what was put is there until it is deleted. `request` is that of Libcloud's connection."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Any]] = {}

    def request(self, where: str, params: Any = None, data: Any = None, method: str = "GET") -> Any:
        """One call."""
        if method == "PUT":
            self.resources[where] = {
                **data,
                "properties": {"provisioningState": "Succeeded", **data.get("properties", {})},
            }
        elif method == "DELETE":
            self.resources = {
                path: kept for path, kept in self.resources.items() if not f"{path}/".startswith(f"{where}/")
            }
        elif where not in self.resources:
            raise Missing
        return SimpleNamespace(object=self.resources.get(where))


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock file."""
    import fcntl

    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class MemoryKeyring(keyring.backend.KeyringBackend):
    """A keyring that works."""

    priority = 5  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        """What was kept."""
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep it."""
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        """Forget it."""
        del self.kept[service, username]


@contextmanager
def using(backend: keyring.backend.KeyringBackend) -> Iterator[None]:
    """Have `backend` be the keyring of this process."""
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    try:
        yield
    finally:
        keyring.set_keyring(before)
