"""GenericDriver: a host that exists already, taken over by ssh. What is not ours on it stays as it is.

Nothing of the host is changed but what Shoal needs: its packages, /opt/shoal, /etc/shoal, its service. Its name, its
other engines and their settings are left alone, and so is everything when the machine is removed from the store.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from shoal.machine import install, provision, ssh
from shoal.machine.driver import Context, Flag, Prepare, SshEndpoint, State, Traits
from shoal.machine.errors import MachineError, NotRunning, PreCreateError
from shoal.machine.files import write_atomic

ENGINE_PORT, SSH_PORT = 2376, 22
PROBE_TIMEOUT = 4.0
"""Seconds after which a host that says nothing is Stopped: less than `ls` waits."""
REBOOT_TIMEOUT = 120.0
"""Seconds that a host may take from being told to reboot until its sshd is gone."""
_DIAGNOSE = "journalctl -q -n 15 --no-pager -u shoald 2>/dev/null || tail -n 15 /var/log/shoald.log 2>/dev/null"
_BOOT_ID = "cat /proc/sys/kernel/random/boot_id; cut -d ' ' -f 22 /proc/1/stat"
_REBOOT = "(sleep 1; shutdown -r now || reboot || systemctl reboot) >/dev/null 2>&1 </dev/null &"


class GenericDriver:
    """One host. `data`: EnginePort, SSHKey (the key as it was given) and docker-machine's common fields."""

    traits = Traits(ssh_timeout=120.0)

    def __init__(self, context: Context, data: dict[str, Any]) -> None:
        self.context = context
        self.data = data

    @staticmethod
    def flags() -> Sequence[Flag]:
        """docker-machine's, with its variables."""
        return (
            Flag("generic-engine-port", "Docker engine port", "GENERIC_ENGINE_PORT", ENGINE_PORT),
            Flag("generic-ip-address", "IP Address of machine", "GENERIC_IP_ADDRESS"),
            Flag("generic-ssh-key", "SSH private key path (if not provided, default SSH key will be used)",
                 "GENERIC_SSH_KEY"),
            Flag("generic-ssh-port", "SSH port", "GENERIC_SSH_PORT", SSH_PORT),
            Flag("generic-ssh-user", "SSH user", "GENERIC_SSH_USER", "root"),
        )  # fmt: skip

    def configure(self, values: Mapping[str, Any]) -> None:
        """Take the flags' values. Raises MachineError without an address, or for what is none."""
        address = str(values.get("generic-ip-address") or "").strip()
        if not address:
            raise MachineError("generic driver requires the --generic-ip-address option")
        check_address(address, "--generic-ip-address")
        user = str(values.get("generic-ssh-user") or "root")
        if user.startswith("-") or not user.isprintable() or " " in user or "@" in user:
            raise MachineError(f'--generic-ssh-user: "{user}" is no user name')
        key = str(values.get("generic-ssh-key") or "")
        self.data.update(
            IPAddress=address, MachineName=self.context.name, SSHUser=user,
            SSHPort=_port(values.get("generic-ssh-port") or SSH_PORT, "--generic-ssh-port"),
            EnginePort=_port(values.get("generic-engine-port") or ENGINE_PORT, "--generic-engine-port"),
            SSHKey=key, SSHKeyPath=str(provision.place_of_key(self.context.directory, Path(key))) if key else "",
            StorePath=str(self.context.store),
        )  # fmt: skip

    def check(self) -> None:
        """Whether the key is there. Raises PreCreateError."""
        key = self.data.get("SSHKey")
        if key and not Path(key).expanduser().is_file():
            raise PreCreateError(f'SSH key does not exist: "{key}"')

    def create(self, prepare: Prepare) -> None:
        """Keep a copy of the key, and set the host up."""
        if self.data.get("SSHKey"):
            self.context.say("Importing SSH key...")
            self._import_key()
        else:
            self.context.say("No SSH key specified. Assuming an existing key at the default location.")
        endpoint = self._endpoint()
        ssh.wait_for_banner(endpoint, self.traits.ssh_timeout)
        self.context.say("Detecting the provisioner...")
        self.provision(prepare)

    def provision(self, prepare: Prepare) -> None:
        """Bring the host to what `prepare` says."""
        setup = prepare(str(self.data["IPAddress"]))
        install.over_ssh(self._endpoint(), setup, self.context.say, cache=self.context.store / "cache")

    def start(self, prepare: Prepare) -> None:
        """A host that is off cannot be switched on from afar."""
        del prepare
        raise MachineError("generic driver does not support start")

    def stop(self) -> None:
        """Nor is it ours to switch off."""
        raise MachineError("generic driver does not support stop")

    def kill(self) -> None:
        """Nor to cut its power."""
        raise MachineError("generic driver does not support kill")

    def restart(self, prepare: Prepare) -> None:
        """Reboot it, and wait until it is another boot's sshd that answers. Raises MachineError when it stays."""
        del prepare
        endpoint = self._endpoint()
        before = ssh.run(endpoint, _BOOT_ID).output
        answer = ssh.run(endpoint, ssh.as_root(endpoint, _REBOOT))
        if answer.status:
            raise MachineError(f"the host does not reboot: {answer.trouble}")
        self.context.say("Waiting for the host to come back...")
        deadline = time.monotonic() + REBOOT_TIMEOUT
        while time.monotonic() < deadline:
            try:
                if ssh.run(endpoint, _BOOT_ID, timeout=15).output != before:
                    return
            except ssh.SshError:
                ssh.wait_for_banner(endpoint, max(1.0, deadline - time.monotonic()))
            time.sleep(0.2)
        raise MachineError(f"the host was told to reboot, and did not within {REBOOT_TIMEOUT:g} seconds")

    def new_address(self) -> None:
        """Its address is not ours to choose."""
        raise MachineError("generic driver does not choose addresses: say where the host is with `provision --address`")

    def move(self, address: str) -> None:
        """The host is at another address now."""
        check_address(address, "--address")
        self.data["IPAddress"] = address

    def remove(self) -> None:
        """Forget it: the host goes on as it is."""

    @staticmethod
    def abandon(context: Context) -> None:
        """There is nothing outside its directory."""

    def state(self) -> State:
        """Running while an sshd answers there, or the engine."""
        endpoint, engine = self._endpoint(), (str(self.data["IPAddress"]), self._engine_port())
        # Side by side: a firewall that drops one of the two must not hide the other.
        answers = _answers(lambda: ssh.greets(endpoint, PROBE_TIMEOUT), lambda: _accepts(*engine))
        return State.RUNNING if any(answers) else State.STOPPED

    def address(self) -> str:
        """As it was given: an address or a host name."""
        if self.state() is not State.RUNNING:
            raise NotRunning
        return str(self.data["IPAddress"])

    def url(self) -> str:
        """Its Engine API."""
        address = self.address()
        return f"tcp://{f'[{address}]' if ':' in address else address}:{self._engine_port()}"

    def ssh(self) -> SshEndpoint:
        """Its sshd: its key is pinned at the first contact."""
        return self._endpoint()

    def diagnose(self) -> str:
        """The end of shoald's log there."""
        try:
            return ssh.run(self._endpoint(), ssh.as_root(self._endpoint(), _DIAGNOSE), timeout=15).text
        except MachineError:
            return ""

    def _endpoint(self) -> SshEndpoint:
        key = self.data.get("SSHKeyPath")
        return SshEndpoint(
            str(self.data["IPAddress"]), int(self.data.get("SSHPort") or SSH_PORT), str(self.data["SSHUser"]),
            Path(key) if key else None, self.context.directory / "known_hosts", self.context.name,
        )  # fmt: skip

    def _engine_port(self) -> int:
        return int(self.data.get("EnginePort") or ENGINE_PORT)

    def _import_key(self) -> None:
        source, target = Path(self.data["SSHKey"]).expanduser(), Path(self.data["SSHKeyPath"])
        try:
            write_atomic(target, source.read_bytes(), 0o600)
        except OSError as fault:
            raise MachineError(f"unable to copy ssh key: {source}: {fault.strerror}") from fault
        public = source.with_name(source.name + ".pub")
        if public.is_file():
            write_atomic(target.with_name(target.name + ".pub"), public.read_bytes(), 0o600)


def check_address(text: str, option: str) -> None:
    """Whether this can be a host's name or address; it becomes an argument of ssh. Raises MachineError."""
    allowed = all(letter.isalnum() or letter in ".-:_%" for letter in text)
    if not text or not allowed or text.startswith("-") or len(text) > 253:
        raise MachineError(f'{option}: "{text}" is neither an address nor a host name')


def _port(value: Any, option: str) -> int:
    number = int(value)
    if not 0 < number < 65536:
        raise MachineError(f"{option}: {number} is no port")
    return number


def _answers(*questions: Callable[[], bool]) -> Iterator[bool]:
    """The answers to questions about the network, as they come; one that cannot be asked has the answer no."""
    answers: SimpleQueue[bool] = SimpleQueue()

    def ask(question: Callable[[], bool]) -> None:
        answer = False
        try:
            # UnicodeError: a host name that no DNS query can hold.
            with suppress(OSError, UnicodeError):
                answer = question()
        finally:
            answers.put(answer)

    # Not a pool: Python waits for a pool's threads before it ends, and `ls` does not wait for the dead.
    for question in questions:
        threading.Thread(target=ask, args=(question,), daemon=True).start()
    for _ in questions:
        yield answers.get()


def _accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=PROBE_TIMEOUT):
            return True
    except OSError:
        return False
