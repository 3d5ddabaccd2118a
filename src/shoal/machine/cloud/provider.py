"""What a provider's file says: a table of flags, how its account is reached, and what is done otherwise there.

Everything has a default that is Libcloud's common way; a provider overrides what it does differently. `cloud` is
always Libcloud's driver object, `data` the machine's part of config.json. Failures of Libcloud may pass: the driver
turns them into MachineErrors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from shoal.machine.driver import Flag
from shoal.machine.errors import MachineError


class Option(NamedTuple):
    """A flag of `create`, and where its value goes: into `data` under `key`, and to create_node as `argument`.

    A `secret` goes into neither; `old_key` is where docker-machine left it in clear. `idle` says why a flag is taken
    without effect. `server` says that the value decides who is sent the secrets. The default's type is the flag's.
    """

    name: str
    help: str
    environment: str = ""
    default: str | int | bool | tuple[str, ...] = ""
    key: str = ""
    argument: str = ""
    secret: bool = False
    optional: bool = False
    old_key: str = ""
    idle: str = ""
    server: bool = False

    @property
    def flag(self) -> Flag:
        """As drivers declare it."""
        note = f" (without effect: {self.idle})" if self.idle else ""
        return Flag(self.name, self.help + note, self.environment, self.default)


class Plan(NamedTuple):
    """The machine that is to be made. `token` is random: what bears it at the provider is this machine's."""

    name: str
    token: str
    key_name: str
    public_key: str
    user_data: str
    secrets: Mapping[str, str] = {}


Save = Callable[[], None]
"""Writes `data` into the record now."""


class Provider:
    """A provider. Subclasses fill in the table."""

    name = ""
    """The driver's name; every flag begins with it."""
    title = ""
    """As the provider writes itself."""
    constant = ""
    """Libcloud's name of it (`libcloud.compute.types.Provider`)."""
    options: tuple[Option, ...] = ()
    id_key = "MachineId"
    """Where docker-machine kept the machine's id."""
    names_are_ids = False
    """Whether machines are known by their names, so that docker-machine kept no id."""
    key_kind = "ed25519"
    """The ssh key that is made; `rsa` where another is not taken everywhere."""
    takes_user_data = True
    """Whether user-data can be given. Otherwise the machine's ssh key is recorded at the first connection."""
    account = ""
    """The flag of the secret by which one account is told from another, where nothing in `data` does."""
    interval = 3.0
    """Seconds between two questions while something is waited for."""

    def configure(self, data: dict[str, Any], values: Mapping[str, Any]) -> None:
        """Check the flags' values, and work out what follows from them. Raises MachineError."""

    def own_user_data(self, data: Mapping[str, Any]) -> Sequence[str]:
        """Parts of the user-data beside the user's file. Raises MachineError."""
        return ()

    def connection(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """The arguments of Libcloud's driver class; `secrets` by flag."""
        raise NotImplementedError

    def connect(self, data: Mapping[str, Any], secrets: Mapping[str, str]) -> Any:
        """Libcloud's driver object."""
        from libcloud.compute.providers import get_driver

        return get_driver(self.constant)(**self.connection(data, secrets))

    def check(self, cloud: Any, data: dict[str, Any]) -> None:
        """Whether the machine can be made: asks, changes nothing. Raises MachineError."""
        if any(node.name == data["MachineName"] for node in self.nodes(cloud, data)):
            raise MachineError(f"there is a machine called {data['MachineName']} at {self.title} already")

    def import_key(self, cloud: Any, plan: Plan, data: dict[str, Any]) -> None:
        """Make the public key known to the provider."""
        cloud.import_key_pair_from_string(plan.key_name, plan.public_key)

    def delete_key(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """Take the public key away again, if it is there."""
        # The last two are docker-machine's, of drivers that called it otherwise.
        name = next((data[key] for key in ("KeyName", "KeyPairName", "KeyPair") if data.get(key)), "")
        for pair in cloud.list_key_pairs() if name else ():
            if pair.name == name:
                cloud.delete_key_pair(pair)

    def open_ports(self, cloud: Any, data: dict[str, Any], save: Save) -> None:
        """Let in what a machine of a swarm needs, where the provider keeps things out."""

    def close_ports(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """Take away what `open_ports` made, unless another machine uses it."""

    def arguments(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
        """What create_node is called with, but for the options that name their argument themselves."""
        raise NotImplementedError

    def create(self, cloud: Any, data: Mapping[str, Any], plan: Plan) -> Any:
        """Make the machine; Libcloud's node."""
        direct = {option.argument: data[option.key] for option in self.options if option.argument}
        given = {name: list(value) if isinstance(value, tuple) else value for name, value in direct.items() if value}
        return cloud.create_node(**{**given, **self.arguments(cloud, data, plan)})

    def created(self, cloud: Any, node: Any, data: dict[str, Any]) -> bool:
        """What is done to a machine that runs for the first time; True when it has another address then."""
        return False

    def nodes(self, cloud: Any, data: Mapping[str, Any]) -> Sequence[Any]:
        """The account's machines."""
        found: Sequence[Any] = cloud.list_nodes()
        return found

    def identify(self, node: Any) -> Any:
        """What is kept of a node to find it again."""
        return node.id

    def find(self, cloud: Any, data: Mapping[str, Any]) -> Any | None:
        """The machine's node as it is now."""
        return self.among(self.nodes(cloud, data), data)

    def among(self, nodes: Sequence[Any], data: Mapping[str, Any]) -> Any | None:
        """The machine's node among those of its account."""
        wanted = str(data.get(self.id_key) or "")
        return next((node for node in nodes if wanted and str(self.identify(node)) == wanted), None)

    def lost(self, cloud: Any, data: Mapping[str, Any]) -> Any | None:
        """The node of a machine whose making was interrupted before its id was known, by what was sent with it.

        Raises MachineError when there is one of its name that may be another's.
        """
        for node in self.nodes(cloud, data):
            if node.name != data["MachineName"]:
                continue
            if self.is_ours(node, data):
                return node
            raise MachineError(
                f"making the machine was interrupted, and there is a {node.name} ({node.id}) at {self.title}: it "
                "cannot be told whether that is this one. Remove it there, then use --force here"
            )
        return None

    def is_ours(self, node: Any, data: Mapping[str, Any]) -> bool:
        """Whether the node bears this machine's token."""
        return bool(data.get("KeyName")) and data["KeyName"] in (node.extra.get("key_name"), node.extra.get("keyname"))

    def start(self, cloud: Any, node: Any) -> None:
        """Start the stopped machine."""
        cloud.start_node(node)

    def stop(self, cloud: Any, node: Any) -> None:
        """Have it shut down."""
        cloud.stop_node(node)

    def kill(self, cloud: Any, node: Any) -> None:
        """Cut its power, where that differs from `stop`."""
        self.stop(cloud, node)

    def reboot(self, cloud: Any, node: Any) -> None:
        """Have it start anew."""
        cloud.reboot_node(node)

    def destroy(self, cloud: Any, node: Any) -> None:
        """Take it away."""
        cloud.destroy_node(node)

    def released(self, cloud: Any, data: Mapping[str, Any]) -> None:
        """What is taken away once the node is gone (addresses, disks)."""

    def addresses(self, node: Any, data: Mapping[str, Any]) -> tuple[str, str]:
        """Its public and its private address; empty for none yet."""
        public, private = list(node.public_ips or []), list(node.private_ips or [])
        return next((ip for ip in public if ip), ""), next((ip for ip in private if ip), "")

    def is_private(self, data: Mapping[str, Any]) -> bool:
        """Whether the machine is reached at its private address."""
        return bool(data.get("UsePrivateIP") or data.get("PrivateIPOnly"))

    def port_conflict(self, fault: Exception) -> bool:
        """Whether `fault` only says that what is to be removed is still used."""
        text = str(fault)
        return any(word in text for word in ("DependencyViolation", "InUse", "in use", "in-use", "ResourceInUse"))


def pairs(text: str) -> dict[str, str]:
    """`key1,value1,key2,value2`, as docker-machine takes tags. Raises MachineError for an odd number."""
    words = text.split(",") if text else []
    if len(words) % 2:
        raise MachineError(f"Tags are not key value in pairs. {len(words)} elements found")
    return dict(zip(words[::2], words[1::2], strict=True))


def words(text: str) -> list[str]:
    """A list separated by commas, without white space and empty ones."""
    return [word.strip() for word in text.split(",") if word.strip()]


def ssh_options(name: str, prefix: str, user: str, *, port: bool = True) -> tuple[Option, ...]:
    """The flags of ssh that most providers have; `prefix` is that of their environment variables."""
    found = [Option(f"{name}-ssh-user", "SSH username", f"{prefix}_SSH_USER", user, "SSHUser")]
    if port:
        found.append(Option(f"{name}-ssh-port", "SSH port", f"{prefix}_SSH_PORT", 22, "SSHPort"))
    return tuple(found)
