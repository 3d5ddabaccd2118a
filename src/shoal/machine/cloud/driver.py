"""CloudDriver: what all machines at cloud providers have in common. `provider` says what differs.

`data` is written before and after every step that makes something at the provider, so that `remove` finds all of it,
whatever ended `create`: the key's name before the key, a random token before the machine, its id before any waiting.
"""

from __future__ import annotations

import os
import secrets as random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from shoal.machine import install, provision, ssh
from shoal.machine.cloud import access, api, userdata
from shoal.machine.cloud.provider import Plan, Provider
from shoal.machine.cloud.remote import Remote, state_of
from shoal.machine.cloud.rules import ENGINE_PORT
from shoal.machine.driver import Context, Flag, Prepare, SshEndpoint, State, Traits
from shoal.machine.errors import MachineError, NotRunning, PreCreateError
from shoal.machine.files import write_atomic
from shoal.machine.keys import generate

ANSWER_TIMEOUT = 1.5
"""Seconds in which a machine must answer at its address to be taken to be there still."""


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
        self._remote = Remote(self.provider, context, data)
        self._sure = False

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
        self._remote.credentials.take(values)
        self.data["ExistingKey"] = bool(self.data.get("KeyName"))
        self.data["FirstContact"] = bool(values.get(f"{provider.name}-ssh-first-contact")) or (
            not provider.takes_user_data
        )
        self._user_data()
        provider.configure(self.data, values)

    @classmethod
    def leaving(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """Everything but secrets, and where they are."""
        secret = {"Secrets", *(option.old_key for option in cls.provider.options if option.secret)}
        return {key: value for key, value in data.items() if key not in secret}

    @classmethod
    def arrived(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """As it left. Raises MachineError when it names a server to which this computer does not send its secrets."""
        for option in cls.provider.options:
            value = data.get(option.key) if option.server else None
            if value and value != os.environ.get(option.environment or "="):
                remedy = (
                    f": if that is right, set {option.environment} to it and import again" if option.environment else ""
                )
                raise MachineError(f"its {option.key} is {value}, where your secrets would be sent{remedy}")
        return cls.leaving(data)

    def check(self) -> None:
        """Whether Libcloud is there, the provider takes the token, and nothing stands in the way. Changes nothing."""
        try:
            self._remote.ask(lambda cloud: self.provider.check(cloud, self.data))
        except MachineError as fault:
            raise PreCreateError(str(fault)) from fault

    def create(self, prepare: Prepare) -> None:
        """Make the machine with its key and its ports, wait until it answers, and install the engine."""
        say, provider, data = self.context.say, self.provider, self.data
        api.require()
        data["Token"] = random.token_hex(5)
        self._remote.credentials.keep()
        self._remote.credentials.note_account()
        say("Creating SSH key...")
        public, host = self._make_keys(), generate()
        if not data["FirstContact"]:
            access.pin(self._known_hosts(), self.context.name, host.public)
        user_data = userdata.compose(host, self._user_data(), *provider.own_user_data(data))
        plan = Plan(
            self.context.name, data["Token"], data["KeyName"], public, user_data, self._remote.credentials.found()
        )
        self._save()
        if not data.get("ExistingKey"):
            self._remote.ask(lambda cloud: provider.import_key(cloud, plan, data))
            self._save()
        with self._remote.exclusive():
            self._remote.ask(lambda cloud: provider.open_ports(cloud, data, self._save))
        data["Creating"] = True
        self._save()
        say(f"Launching the machine at {provider.title}...")
        node = self._remote.ask(lambda cloud: provider.create(cloud, data, plan))
        data[provider.id_key] = provider.identify(node)
        del data["Creating"]
        self._save()
        self._remote.wait_for_address()
        if self._remote.on_node(lambda cloud, node: provider.created(cloud, node, data)):
            data["LastIPAddress"] = ""
            self._remote.wait_for_address()
        self._bring_up(prepare, host.public)

    def start(self, prepare: Prepare) -> None:
        """Start the machine; where it comes back with another address, that one is used from then on."""
        self._remote.on_node(self.provider.start)
        self._remote.wait_for_address()
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
        self._remote.on_node(self.provider.reboot)
        deadline = time.monotonic() + self._remote.limit()
        while before and self._boot_mark() in (before, ""):
            if time.monotonic() > deadline:
                raise MachineError("the machine did not come back from its restart")
            time.sleep(min(1.0, self.provider.interval))
        self._remote.wait_for_address()
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
            self._remote.ask(self._remote.remove)
        except MachineError as fault:
            known = data.get(provider.id_key)
            where = f"; look there for {known or data['MachineName']}" if known or data.get("Creating") else ""
            raise MachineError(f"{fault} (something may be left at {provider.title}{where})") from fault
        self._remote.credentials.forget()
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
            node = self._remote.ask(self._remote.glance)
        except MachineError:
            if self.data.get("IPAddress") and ssh.greets(self.ssh()):
                return State.RUNNING
            raise
        if node is None:
            raise self._remote.gone()
        found = state_of(node)
        if found is State.RUNNING:
            self._remote.take_address(node)
        return found

    def address(self) -> str:
        """Its address as it was last known, while something answers there; otherwise the provider is asked.

        Where that cannot be done the known one has to do.
        """
        if not self._sure and not (self.data.get("IPAddress") and self._answers()):
            self._sure = True
            try:
                if self.state() is not State.RUNNING:
                    raise NotRunning
            except NotRunning:
                raise
            except MachineError:
                if not self.data.get("IPAddress"):
                    raise
        self._sure = True
        if not self.data.get("IPAddress"):
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

    def _answers(self) -> bool:
        """Whether somebody is there at the known address: its engine, or its sshd."""
        for port in (ENGINE_PORT, int(self.data.get("SSHPort") or 22)):
            with suppress(OSError), socket.create_connection((self.data["IPAddress"], port), timeout=ANSWER_TIMEOUT):
                return True
        return False

    def _make_keys(self) -> str:
        """Have a key to log in with: the user's own, or a new one; its public line. Notes its path and name."""
        own, name = str(self.data.get("OwnKeyPath") or ""), self.data.get("KeyName")
        if own:
            source = Path(own).expanduser()
            path, public = provision.place_of_key(self.context.directory, source), access.public_of(source)
            write_atomic(path, source.read_bytes(), 0o600)
            self.data["SSHKeyPath"] = str(path)
        elif name:
            # Known at the provider, and to the user's ssh agent.
            public, self.data["SSHKeyPath"] = "", ""
        else:
            path, public = access.make_key(self.context.directory, self.provider.key_kind)
            self.data["SSHKeyPath"] = str(path)
        self.data["KeyName"] = name or f"{self.context.name}-{self.data['Token']}"
        return public

    def _user_data(self) -> str:
        flag = next((option.name for option in self.provider.options if option.key == "UserDataFile"), "")
        return userdata.read(str(self.data.get("UserDataFile") or ""), flag)

    def _bring_up(self, prepare: Prepare, first_key: str = "") -> None:
        """Wait until ssh lets us in, replace the host key that came by user-data, install what is to run.

        Where docker-machine made the machine its Docker is what is to run.
        """
        self._sure = True
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
        if "Token" not in self.data:
            return
        if first_key and not self.data["FirstContact"]:
            access.renew_host_key(endpoint, first_key, self.context.say)
        if first_key:
            access.wait_for_cloud_init(endpoint)
        setup = prepare(endpoint.host)
        install.over_ssh(endpoint, setup, self.context.say, cache=self.context.store / "cache")

    def _boot_mark(self) -> str:
        """Something that is different after every boot; empty while the machine cannot be asked."""
        command = "cat /proc/sys/kernel/random/boot_id; cut -d ' ' -f 22 /proc/1/stat"
        try:
            return ssh.run(self.ssh(), command, timeout=15).text
        except MachineError:
            return ""

    def _end(self, how: Callable[[Any, Any], None]) -> None:
        """Stop it one way or the other; one that has no machine any more is not waited for."""
        self._remote.on_node(how)
        self._remote.wait(lambda node: state_of(node) in (State.STOPPED, State.SAVED, State.NONE), "stop")
        self.data["IPAddress"], self._sure = "", False
        self._save()

    def _removed(self) -> bool:
        """Whether the machine was removed by somebody else since it was loaded, with its secrets."""
        return not self.context.directory.exists()

    def _known_hosts(self) -> Path:
        return self.context.directory / "known_hosts"

    def _save(self) -> None:
        self.context.save(self.data)
