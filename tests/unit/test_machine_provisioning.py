"""Certificates that machines of a store share: read as a whole, and not replaced for machines that cannot have them."""

from __future__ import annotations

import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shoal.machine import actions, certs, probe, provision, provisioning, ssh
from shoal.machine.driver import EngineSetup, Prepare, SshEndpoint, register
from shoal.machine.errors import MachineError
from shoal.machine.host import open_host
from shoal.machine.install import renew
from shoal.machine.record import EngineOptions
from shoal.machine.store import Store
from tests.clouds import is_locked
from tests.machine_fake import FakeDriver
from tests.machine_fake import _Power as Power
from tests.machine_suite import Yard

NOW = datetime.now(UTC)
NAMES = ("ca.pem", "server.pem", "server-key.pem")
ENDPOINT = SshEndpoint("10.0.0.1", 22, "root", None, None, "m1")


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard(Store(tmp_path / "store"), "fake", {})
    yield made
    for directory in list(FakeDriver.running):
        if directory.is_relative_to(tmp_path):
            FakeDriver.running.pop(directory).off()


def shared(store: Store) -> dict[str, bytes]:
    """The authority and the client's identity."""
    return {path.name: path.read_bytes() for path in store.certs.iterdir()}


def watched(act: Callable[..., Any], lock: Path, seen: list[bool]) -> Callable[..., Any]:
    """`act`, which notes each time whether the lock is held."""

    def wrapped(*arguments: Any, **more: Any) -> Any:
        seen.append(is_locked(lock))
        return act(*arguments, **more)

    return wrapped


def test_what_machines_share_is_read_under_the_lock_of_those_who_write_it(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a machine's copy nor its certificate is made while another command replaces the authority."""
    host = yard.create()
    auth = host.record.host_options.auth_options
    assert auth is not None
    seen: list[bool] = []
    lock = yard.store.root / "locks" / "store"
    assert not is_locked(lock)
    monkeypatch.setattr(provision, "write_atomic", watched(provision.write_atomic, lock, seen))
    monkeypatch.setattr(certs, "issue_server", watched(certs.issue_server, lock, seen))
    provision.preparation(host.current, NOW, fresh=True)("10.0.0.9")
    provision.copy_client_identity(auth)
    assert seen == [True] * 7
    assert not is_locked(lock)


def test_whoever_prepares_waits_for_whoever_replaces(yard: Yard) -> None:
    """A certificate that is asked for while the authority is replaced comes from the new one."""
    host = yard.create()
    auth = host.record.host_options.auth_options
    assert auth is not None
    said, answers = threading.Event(), []
    prepare = provision.preparation(host.current, NOW, lambda line: said.set())
    thread = threading.Thread(target=lambda: answers.append(prepare("127.0.0.1")))
    with yard.store.lock():
        thread.start()
        assert said.wait(10)
        certs.replace_authority(provision.authority_pair(auth), NOW)
        certs.ensure_client(
            certs.Pair(Path(auth.client_cert_path), Path(auth.client_key_path)), provision.authority_pair(auth), NOW
        )
    thread.join(10)
    assert answers[0].files["/etc/shoal/tls/ca.pem"][1] == Path(auth.ca_cert_path).read_bytes()
    assert certs.is_fit(provision.server_pair(auth), provision.authority_pair(auth), ["127.0.0.1"], NOW)
    assert provision.is_current(auth)


@pytest.mark.parametrize(
    ("names", "reason"),
    [(["m1", "there"], "there: .* is only an address"), (["m1", "off"], "off: Host is not running"),
     (["m1", "unreachable"], "unreachable: no route")],
)  # fmt: skip
def test_nothing_is_replaced_for_a_machine_that_cannot_have_it(
    yard: Yard, names: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--client-certs: one machine that is only an address, stopped or not reached, and the store stays as it is."""

    def check(endpoint: Any, folder: str) -> None:
        if endpoint.alias == "unreachable":
            raise MachineError("no route")

    monkeypatch.setattr("shoal.machine.install.renew.check", check)
    for name in ("m1", "off", "unreachable"):
        yard.create(name)
    actions.create(
        yard.store, actions.Request("there", "none", EngineOptions(), {"url": "tcp://h:1"}), yard.said.append, NOW
    )
    actions.stop(yard.store, "off", yard.said.append)
    before = shared(yard.store)
    with pytest.raises(MachineError, match=f"Nothing was replaced, because of {reason}"):
        provisioning.replace_identities(yard.store, names, yard.said.append, NOW)
    assert shared(yard.store) == before
    provisioning.replace_identities(yard.store, ["m1"], yard.said.append, NOW)
    after = shared(yard.store)
    assert all(after[name] != before[name] for name in before)


def test_an_authority_that_was_half_replaced_is_replaced_on_request(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between key and certificate: every command names the way out, and that way works."""
    yard.create()
    auth = open_host(yard.store, "m1").record.host_options.auth_options
    assert auth is not None
    other = certs.Pair(tmp_path / "other.pem", tmp_path / "other-key.pem")
    certs.ensure_authority(other, NOW)
    Path(auth.ca_private_key_path).write_bytes(other.key.read_bytes())
    with pytest.raises(MachineError, match="regenerate-certs --client-certs"):
        yard.create("m2")
    monkeypatch.setattr("shoal.machine.install.renew.check", lambda endpoint, folder: None)
    provisioning.replace_identities(yard.store, ["m1"], yard.said.append, NOW)
    assert provision.ensure_identities(auth, NOW) == {}
    yard.create("m2")
    assert yard.answers("m2")


# --- machines that docker-machine made: Docker, with its certificates in a place of its own -----------------------------


class Old(FakeDriver):
    """Starts with the certificates that it has: nothing of ours is set up there."""

    def start(self, prepare: Prepare) -> None:
        directory = self.context.directory
        files = {f"/etc/shoal/tls/{name}": (0o600, (directory / name).read_bytes()) for name in NAMES}
        self.running[directory] = Power(EngineSetup(files, [], {}))


register("old", Old)


class OldMachine:
    """m1, whose Docker reads `folder` when it starts, and whose shell is this computer's."""

    def __init__(self, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.folder, self.said, self.restarts = store, folder, list[str](), 0
        actions.create(store, actions.Request("m1", "old", EngineOptions(), {}), self.said.append, NOW)
        self.directory = store.directory("m1")
        self.authority = certs.Pair(store.certs / "ca.pem", store.certs / "ca-key.pem")
        self.pair = certs.Pair(self.directory / "server.pem", self.directory / "server-key.pem")
        folder.mkdir()
        for name in NAMES:
            (folder / name).write_text("old")
        self.restarter = f"echo restart >>'{folder.parent}/log'"
        monkeypatch.setattr(renew, "_DOCKERS", (renew.Place(str(folder), self.restarter),))
        monkeypatch.setattr(provision, "REMOTE", str(folder / "of ours"))
        monkeypatch.setattr(ssh, "run", self.run)
        self.said.clear()

    def run(self, endpoint: SshEndpoint, command: str, *, input: bytes = b"", timeout: float = 0) -> ssh.Result:
        """As sshd does it."""
        done = subprocess.run(["sh", "-c", command], input=input, capture_output=True, check=False)
        if shlex.split(command)[-1] == self.restarter:
            self.restarts += 1
            FakeDriver.running[self.directory].show(self.folder / "server.pem", self.folder / "server-key.pem")
        return ssh.Result(done.returncode, done.stdout, done.stderr)

    def shows(self, names: list[str], left: timedelta = timedelta(days=900)) -> None:
        """Have it show a certificate of these names that is valid so long."""
        certs.issue_server(self.pair, self.authority, "m1", names, NOW + left - certs.VALIDITY)
        FakeDriver.running[self.directory].show(*self.pair)

    def check(self) -> None:
        """Docker has what we have, the key for root alone, and nothing else is there."""
        sources = dict(zip(NAMES, (self.authority.certificate, *self.pair), strict=True))
        found = {path.name: (path.read_bytes(), path.stat().st_mode & 0o777) for path in self.folder.iterdir()}
        assert found == {name: (path.read_bytes(), 0o600 if "key" in name else 0o644) for name, path in sources.items()}
        shown = probe.certificate(open_host(self.store, "m1").driver.url(), "m1", self.directory)
        assert certs.is_same(self.pair, shown)
        assert certs.serves(shown, "127.0.0.1", NOW)


@pytest.fixture
def old(yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OldMachine:
    return OldMachine(yard.store, tmp_path / "a docker", monkeypatch)


def keep_valid(old: OldMachine) -> None:
    """What `env` does."""
    host = open_host(old.store, "m1")
    provisioning.keep_valid(host, host.driver.url(), old.said.append, NOW)


def test_certificates_of_docker_machines_machines_are_renewed(old: OldMachine) -> None:
    """regenerate-certs puts them where Docker has its own, and restarts it, which is said."""
    old.shows(["10.0.0.9"])
    provisioning.regenerate(old.store, "m1", old.said.append, NOW)
    old.check()
    assert old.restarts == 1
    assert old.said[-1] == "Restarting Docker there, which reads its certificate only when it starts..."


@pytest.mark.parametrize(
    ("names", "left", "why"),
    [(["10.0.0.9"], timedelta(days=900), "does not name its address"),
     (["127.0.0.1"], timedelta(days=-1), "has expired"),
     # As Shoal renewed it: it names the machine, so only docker's own client would refuse it.
     (["m1", "10.0.0.9"], timedelta(days=900), "is about to expire, or does not name its address")],
)  # fmt: skip
def test_env_makes_a_machine_of_docker_machines_usable(
    old: OldMachine, names: list[str], left: timedelta, why: str
) -> None:
    """One with another address than its certificate names, or whose certificate has expired, gets a new one."""
    old.shows(names, left)
    keep_valid(old)
    old.check()
    assert old.said == [f'The certificate of "m1" {why}: it is renewed; Docker is restarted for that.']
    keep_valid(old)
    assert (old.restarts, len(old.said)) == (1, 1)


def test_env_ends_no_containers_before_it_must(old: OldMachine) -> None:
    """A certificate that is about to expire is good still: what would restart Docker is said, and not done."""
    old.shows(["127.0.0.1"], timedelta(days=20))
    keep_valid(old)
    assert "`regenerate-certs m1` renews it, and restarts Docker there." in old.said[0]
    assert (old.restarts, (old.folder / "server.pem").read_text()) == (0, "old")


def test_a_machine_of_docker_machines_starts_with_another_address(old: OldMachine) -> None:
    """What DHCP gave it is no trouble; with the address that it had Docker starts once."""
    actions.stop(old.store, "m1", old.said.append)
    certs.issue_server(old.pair, old.authority, "m1", ["10.0.0.9"], NOW)
    assert actions.start(old.store, "m1", old.said.append, NOW)
    old.check()
    actions.stop(old.store, "m1", old.said.append)
    assert actions.start(old.store, "m1", old.said.append, NOW)
    assert old.restarts == 1


def test_docker_that_reads_other_certificates_is_no_success(old: OldMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its settings name other files it is told that nothing came of it."""
    old.shows(["127.0.0.1"])
    old.restarter = "never"
    with pytest.raises(MachineError, match="Docker was restarted there, but does not have its certificate from"):
        provisioning.regenerate(old.store, "m1", old.said.append, NOW)
    monkeypatch.setattr(renew, "_DOCKERS", (renew.Place(str(old.folder), "echo no unit >&2; exit 5"),))
    with pytest.raises(MachineError, match="Docker could not be restarted there: no unit"):
        provisioning.regenerate(old.store, "m1", old.said.append, NOW)


def test_half_of_the_certificates_replaces_nothing(old: OldMachine) -> None:
    """A transfer that was cut off leaves Docker's files as they were."""
    files = {f"/etc/shoal/tls/{name}": (0o600, b"new" * 4000) for name in NAMES}
    command = ssh.as_root(open_host(old.store, "m1").driver.ssh(), renew._exchange(str(old.folder)))
    assert old.run(ENDPOINT, command, input=renew._packed(files)[:20000]).status
    assert {(old.folder / name).read_text() for name in NAMES} == {"old"}


def test_where_certificates_are(old: OldMachine, tmp_path: Path) -> None:
    """Our place counts first, then one of docker-machine's that has all three; a machine without is not renewed."""
    assert renew.check(ENDPOINT, str(tmp_path)) == renew.Place(str(tmp_path))
    assert renew.check(ENDPOINT, provision.REMOTE) == renew.Place(str(old.folder), old.restarter)
    (old.folder / "ca.pem").unlink()
    with pytest.raises(MachineError, match="was not set up by shoal machine"):
        renew.check(ENDPOINT, provision.REMOTE)


def test_docker_machines_places() -> None:
    """boot2docker's and the distributions', with what restarts Docker there, which a shell can read."""
    scripts = {place.folder: place.restart for place in renew._DOCKERS}
    assert scripts["/var/lib/boot2docker"] == "/etc/init.d/docker restart"
    assert "systemctl restart docker" in scripts["/etc/docker"]
    for script in (*scripts.values(), renew._exchange("/a b")):
        assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0
