"""CloudDriver: what all machines at cloud providers have in common. `provider` says what differs.

`data` is written before and after every step that makes something at the provider, so that `remove` finds all of it,
whatever ended `create`: the key's name before the key, a random token before the machine, its id before any waiting.
"""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from shoal.machine import install, ssh
from shoal.machine.cloud import access, api, userdata
from shoal.machine.cloud.credentials import Credentials
from shoal.machine.cloud.provider import Plan, Provider
from shoal.machine.cloud.rules import ENGINE_PORT
from shoal.machine.driver import Context, Flag, Prepare, SshEndpoint, State, Traits
from shoal.machine.errors import MachineError, NotRunning, PreCreateError
from shoal.machine.files import write_atomic
from shoal.machine.keys import generate

T = TypeVar("T")

LIMIT = 600.0
"""Seconds until a machine must run, or be stopped, or be gone, unless a flag says another limit."""

STATES = {
    "running": State.RUNNING, "normal": State.RUNNING, "updating": State.RUNNING, "migrating": State.RUNNING,
    "reconfiguring": State.RUNNING, "starting": State.STARTING, "pending": State.STARTING,
    "rebooting": State.STARTING, "stopping": State.STOPPING, "stopped": State.STOPPED, "paused": State.PAUSED,
    "suspended": State.SAVED, "terminated": State.NONE, "error": State.ERROR, "unknown": State.ERROR,
}  # fmt: skip
"""Libcloud's states in docker-machine's words."""


class CloudDriver:
    """One machine at a provider. `data`: docker-machine's fields, KeyName, Token, Secrets (references), Account."""

    provider: ClassVar[Provider]
    login_timeout: ClassVar[float] = access.LOGIN_TIMEOUT
    traits = Traits(ssh_timeout=300.0, engine_timeout=180.0)

    def __init__(self, context: Context, data: dict[str, Any]) -> None:
        self.context, self.data = context, data
        if self.provider.names_are_ids and data.get("MachineName") and "Token" not in data:
            # docker-machine's record: it kept no other id.
            data.setdefault(self.provider.id_key, data["MachineName"])
        self._credentials = Credentials(self.provider, context, data)

    @classmethod
    def flags(cls) -> Sequence[Flag]:
        """The provider's table, and the one flag that all have."""
        first_contact = Flag(
            f"{cls.provider.name}-ssh-first-contact",
            "Take the machine's own ssh key at the first connection: for images that ignore cloud-init",
            "",
            False,
        )
        ours = (first_contact,) if cls.provider.takes_user_data else ()
        return (*(option.flag for option in cls.provider.options), *ours)

    def configure(self, values: Mapping[str, Any]) -> None:
        """Take the flags' values; secrets are kept aside. Raises MachineError."""
        api.require()
        provider = self.provider
        self.data.update(
            IPAddress="", MachineName=self.context.name, SSHUser="root", SSHPort=22, StorePath=str(self.context.store)
        )
        for option in provider.options:
            if option.key:
                value = values.get(option.name, option.default)
                self.data[option.key] = list(value) if isinstance(value, tuple) else value
        self._credentials.take(values)
        self.data["FirstContact"] = bool(values.get(f"{provider.name}-ssh-first-contact")) or (
            not provider.takes_user_data
        )
        self._user_data()
        provider.configure(self.data, values)

    def check(self) -> None:
        """Whether Libcloud is there, the provider takes the token, and nothing stands in the way. Changes nothing."""
        try:
            self._ask(lambda cloud: self.provider.check(cloud, self.data))
        except MachineError as fault:
            raise PreCreateError(str(fault)) from fault

    def create(self, prepare: Prepare) -> None:
        """Make the machine with its key and its ports, wait until it answers, and install the engine."""
        say, provider, data = self.context.say, self.provider, self.data
        api.require()
        data["Token"] = random.token_hex(5)
        self._credentials.keep()
        self._credentials.note_account()
        say("Creating SSH key...")
        public, host = self._make_keys(), generate()
        if not data["FirstContact"]:
            access.pin(self._known_hosts(), self.context.name, host.public)
        user_data = userdata.compose(host, self._user_data(), *provider.own_user_data(data))
        plan = Plan(self.context.name, data["Token"], data["KeyName"], public, user_data, self._credentials.found())
        self._save()
        if not data.get("ExistingKey"):
            self._ask(lambda cloud: provider.import_key(cloud, plan, data))
            self._save()
        self._ask(lambda cloud: provider.open_ports(cloud, data, self._save))
        data["Creating"] = True
        self._save()
        say(f"Launching the machine at {provider.title}...")
        node = self._ask(lambda cloud: provider.create(cloud, data, plan))
        data[provider.id_key] = provider.identify(node)
        del data["Creating"]
        self._save()
        self._wait_for_address()
        self._ask(lambda cloud: provider.created(cloud, self._fresh(cloud), data))
        self._wait_for_address()
        self._bring_up(prepare, host.public)

    def start(self, prepare: Prepare) -> None:
        """Start the machine; where it comes back with another address, that one is used from then on."""
        self._ask(lambda cloud: self.provider.start(cloud, self._existing(cloud)))
        self._wait_for_address()
        self._bring_up(prepare)

    def stop(self) -> None:
        """Have it shut down, and wait until it has."""
        self._end(self.provider.stop)

    def kill(self) -> None:
        """Cut its power, where the provider can do that."""
        self._end(self.provider.kill)

    def restart(self, prepare: Prepare) -> None:
        """Have it boot anew; its address stays where a reboot keeps it."""
        before = self._boot_mark()
        self._ask(lambda cloud: self.provider.reboot(cloud, self._existing(cloud)))
        deadline = time.monotonic() + self._limit()
        while before and self._boot_mark() in (before, ""):
            if time.monotonic() > deadline:
                raise MachineError("the machine did not come back from its restart")
            time.sleep(min(1.0, self.provider.interval))
        self._wait_for_address()
        self._bring_up(prepare)

    def new_address(self) -> None:
        """Not ours to choose."""
        raise MachineError(f"{self.provider.title} chooses its machines' addresses itself")

    def remove(self) -> None:
        """Take away the machine, its key, its firewall where it is ours and unused, and its secrets."""
        data, provider = self.data, self.provider
        if not (data.get(provider.id_key) or data.get("Token")) or self._removed():
            return
        try:
            self._ask(self._remove)
        except MachineError as fault:
            known = data.get(provider.id_key)
            where = f"; look there for {known or data['MachineName']}" if known or data.get("Creating") else ""
            raise MachineError(f"{fault} (something may be left at {provider.title}{where})") from fault
        self._credentials.forget()
        for key in (provider.id_key, "Token", "Creating", "KeyName", "IPAddress", "PrivateIPAddress"):
            data.pop(key, None)

    @staticmethod
    def abandon(context: Context) -> None:
        """Without its record nothing tells at which provider a machine is: `rm` says that something may be left."""

    def state(self) -> State:
        """What the provider says. Where it cannot be asked, a machine whose sshd answers runs."""
        if not self.data.get(self.provider.id_key) or self._removed():
            return State.NONE
        try:
            node = self._ask(self._glance)
        except MachineError:
            if self.data.get("IPAddress") and ssh.greets(self.ssh()):
                return State.RUNNING
            raise
        if node is None:
            raise self._gone()
        found = STATES.get(str(getattr(node.state, "value", node.state)).lower(), State.ERROR)
        if found is State.RUNNING:
            self._take_address(node)
        return found

    def address(self) -> str:
        """Its address as it was last known; the provider is asked only when there is none."""
        if not self.data.get("IPAddress") and (self.state() is not State.RUNNING or not self.data.get("IPAddress")):
            raise NotRunning
        return str(self.data["IPAddress"])

    def url(self) -> str:
        """Its Engine API."""
        address = self.address()
        return f"tcp://{f'[{address}]' if ':' in address else address}:{ENGINE_PORT}"

    def ssh(self) -> SshEndpoint:
        """Its sshd; asks the provider only when the address is not known."""
        path = self.data.get("SSHKeyPath")
        old = self.context.directory / "id_rsa"
        key = Path(path) if path else old if old.exists() else None
        port, user = int(self.data.get("SSHPort") or 22), str(self.data.get("SSHUser") or "root")
        return SshEndpoint(self.address(), port, user, key, self._known_hosts(), self.context.name)

    def diagnose(self) -> str:
        """The end of the engine's log, where ssh gets that far."""
        script = "journalctl -u shoald -n 15 --no-pager -o cat 2>/dev/null || tail -n 15 /var/log/shoald.log"
        try:
            return ssh.run(endpoint := self.ssh(), ssh.as_root(endpoint, script), timeout=20).text
        except MachineError:
            return ""

    def _make_keys(self) -> str:
        """Have a key to log in with: the user's own, or a new one; its public line. Notes its path and name."""
        own, name = self.data.get("OwnKeyPath"), self.data.get("KeyName")
        if own:
            path = self.context.directory / Path(own).name
            public = access.public_of(Path(own))
            write_atomic(path, Path(own).read_bytes(), 0o600)
            self.data["SSHKeyPath"] = str(path)
        elif name:
            # Known at the provider, and to the user's ssh agent.
            public, self.data["SSHKeyPath"] = "", ""
        else:
            path, public = access.make_key(self.context.directory, self.provider.key_kind)
            self.data["SSHKeyPath"] = str(path)
        self.data["ExistingKey"] = bool(name)
        self.data["KeyName"] = name or f"{self.context.name}-{self.data['Token']}"
        return public

    def _user_data(self) -> str:
        flag = next((option.name for option in self.provider.options if option.key == "UserDataFile"), "")
        return userdata.read(str(self.data.get("UserDataFile") or ""), flag)

    def _bring_up(self, prepare: Prepare, first_key: str = "") -> None:
        """Wait until ssh lets us in, replace the host key that came by user-data, install what is to run."""
        endpoint = self.ssh()
        self.context.say("Waiting for SSH to be available...")
        ssh.wait_for_banner(endpoint, self.traits.ssh_timeout)
        try:
            access.log_in(endpoint, self.login_timeout)
        except ssh.SshError as fault:
            if not first_key or self.data["FirstContact"]:
                raise
            raise MachineError(
                f"{fault}. If the machine's image ignores cloud-init, it has another ssh key than the one it was "
                f"given: create it with --{self.provider.name}-ssh-first-contact"
            ) from fault
        if first_key and not self.data["FirstContact"]:
            access.renew_host_key(endpoint, first_key, self.context.say)
        if first_key:
            access.wait_for_cloud_init(endpoint)
        setup = prepare(endpoint.host)
        install.over_ssh(endpoint, self.context.name, setup, self.context.say, cache=self.context.store / "cache")

    def _boot_mark(self) -> str:
        """Something that is different after every boot; empty while the machine cannot be asked."""
        command = "cat /proc/sys/kernel/random/boot_id; cut -d ' ' -f 22 /proc/1/stat"
        try:
            return ssh.run(self.ssh(), command, timeout=15).text
        except MachineError:
            return ""

    def _end(self, how: Callable[[Any, Any], None]) -> None:
        """Stop it one way or the other; one that has no machine any more is not waited for."""
        self._ask(lambda cloud: how(cloud, self._existing(cloud)))
        self._wait(lambda node: node is None or STATES.get(str(node.state)) in (State.STOPPED, State.SAVED), "stop")
        self.data["IPAddress"] = ""
        self._save()

    def _remove(self, cloud: Any) -> None:
        provider, data = self.provider, self.data
        node = self._fresh(cloud)
        if node is None and data.get("Creating"):
            node = provider.lost(cloud, data)
            if node is not None:
                data[provider.id_key] = provider.identify(node)
        elif node is None and data.get(provider.id_key):
            self._credentials.check_account()
        if node is not None and STATES.get(str(node.state)) is not State.NONE:
            provider.destroy(cloud, node)
            api.forget_answers()
        if node is not None and data.get("Lingers"):
            self._wait(lambda now: now is None or STATES.get(str(now.state)) is State.NONE, "go")
        provider.released(cloud, data)
        if data.get("KeyName") and data.get("Token") and not data.get("ExistingKey"):
            provider.delete_key(cloud, data)
        provider.close_ports(cloud, data)

    def _wait_for_address(self) -> None:
        self.context.say("Waiting for an IP...")

        def ready(node: Any | None) -> bool:
            if node is not None and STATES.get(str(node.state)) in (State.ERROR, State.NONE):
                raise MachineError(f"{self.provider.title} could not make the machine: its state is {node.state}")
            return node is not None and STATES.get(str(node.state)) is State.RUNNING and bool(self._address_of(node))

        before = self.data.get("LastIPAddress") or ""
        self._take_address(self._wait(ready, "run"))
        now = self.data["IPAddress"]
        if before and before != now:
            self.context.say(f"The machine has another address than before: {now} (was {before})")
        self.data["LastIPAddress"] = now
        self._save()

    def _wait(self, done: Callable[[Any | None], bool], what: str) -> Any:
        """Ask until `done` is content with the node; the node. Raises MachineError after the limit."""
        deadline = time.monotonic() + self._limit()
        api.forget_answers()
        while not done(node := self._ask(self._fresh)):
            if time.monotonic() > deadline:
                raise MachineError(f"the machine did not {what} within {self._limit():g} seconds")
            time.sleep(self.provider.interval)
        api.forget_answers()
        return node

    def _limit(self) -> float:
        return float(self.data.get("ActiveTimeout") or LIMIT)

    def _take_address(self, node: Any) -> None:
        self.data["IPAddress"] = self._address_of(node) or self.data.get("IPAddress", "")
        self.data["PrivateIPAddress"] = self.provider.addresses(node, self.data)[1]

    def _address_of(self, node: Any) -> str:
        public, private = self.provider.addresses(node, self.data)
        return private if self.provider.is_private(self.data) else public

    def _fresh(self, cloud: Any) -> Any | None:
        return self.provider.find(cloud, self.data) if self.data.get(self.provider.id_key) else None

    def _existing(self, cloud: Any) -> Any:
        node = self._fresh(cloud)
        if node is None:
            raise self._gone()
        return node

    def _glance(self, cloud: Any) -> Any | None:
        """The node, from the answer that all machines of its account share."""
        nodes = api.account_nodes(self._credentials.account(), lambda: self.provider.nodes(cloud, self.data))
        return self.provider.among(nodes, self.data)

    def _removed(self) -> bool:
        """Whether the machine was removed by somebody else since it was loaded, with its secrets."""
        return not self.context.directory.exists()

    def _gone(self) -> MachineError:
        return MachineError(f"{self.provider.title} has no machine {self.data.get(self.provider.id_key)} any more")

    def _ask(self, question: Callable[[Any], T]) -> T:
        return self._credentials.ask(question)

    def _known_hosts(self) -> Path:
        return self.context.directory / "known_hosts"

    def _save(self) -> None:
        self.context.save(self.data)
