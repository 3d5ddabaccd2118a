"""The driver that all clouds share: its life with Libcloud's dummy provider, its secrets, what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import keyring.backends.fail
import pytest
from libcloud.common.exceptions import BaseHTTPError

from shoal.machine import actions
from shoal.machine.cloud import api, secrets
from shoal.machine.driver import State, register
from shoal.machine.errors import MachineError, NoSuchMachine, PreCreateError
from shoal.machine.host import open_host
from shoal.machine.store import Store
from tests.clouds import ACCOUNTS, Account, MemoryKeyring, ThreadDriver, using
from tests.machine_suite import DriverSuite, Yard

register("dummy", ThreadDriver)

TOKEN = "dop_v1_0123456789abcdef"


@pytest.fixture
def ring() -> Iterator[MemoryKeyring]:
    ring = MemoryKeyring()
    with using(ring):
        yield ring


@pytest.fixture
def account() -> Iterator[Account]:
    ACCOUNTS[TOKEN] = made = Account()
    made.off = ThreadDriver.off
    yield made
    ACCOUNTS.clear()
    for name in list(ThreadDriver.powers):
        ThreadDriver.off(name)
    api.forget_answers()


@pytest.fixture
def yard(tmp_path: Path, ring: MemoryKeyring, account: Account) -> Yard:
    values = {flag.name: flag.default for flag in ThreadDriver.flags()}
    return Yard(Store(tmp_path / "store"), "dummy", {**values, "dummy-token": TOKEN})


class TestCloudDriver(DriverSuite):
    """A cloud's machine is a machine like any other."""


def config(yard: Yard, name: str = "m1") -> str:
    """The text of a machine's record."""
    return (yard.store.directory(name) / "config.json").read_text()


def edit(yard: Yard, **changes: object) -> None:
    """Change the driver's part of m1's record, as a user does."""
    content = json.loads(config(yard))
    content["Driver"].update(changes)
    (yard.store.directory("m1") / "config.json").write_text(json.dumps(content))


def test_the_token_is_in_the_keyring_and_nowhere_else(yard: Yard, ring: MemoryKeyring) -> None:
    """The record holds a reference; the secret is in no file of the store, and leaves the keyring with the machine."""
    yard.create()
    assert list(ring.kept.values()) == [TOKEN]
    assert "keyring:" in config(yard)
    for path in yard.store.root.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
    actions.remove(yard.store, "m1", yard.said.append)
    assert ring.kept == {}


def test_without_a_keyring_the_variable_is_named(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """No keyring: create says which variable is needed from now on; without it the failure names it; with it all works."""
    with using(keyring.backends.fail.Keyring()):
        yard.create()
        assert any("DUMMY_TOKEN" in line for line in yard.said)
        assert TOKEN not in config(yard)
        api.forget_answers()
        actions_needed = open_host(yard.store, "m1").driver
        with pytest.raises(MachineError, match="set DUMMY_TOKEN in the environment"):
            actions_needed.stop()
        monkeypatch.setenv("DUMMY_TOKEN", TOKEN)
        actions.remove(yard.store, "m1", yard.said.append)


def test_what_needs_no_cloud_does_not_ask_it(yard: Yard, account: Account, ring: MemoryKeyring) -> None:
    """ssh, url and ip of a machine whose address is known work without a token, and ask nobody."""
    yard.create()
    ring.kept.clear()
    asked = account.questions
    driver = open_host(yard.store, "m1").driver
    assert driver.address() == "127.0.0.1"
    assert driver.url().startswith("tcp://127.0.0.1:")
    assert driver.ssh().host == "127.0.0.1"
    assert account.questions == asked
    # Its sshd answers, so it runs, whatever happened to the token.
    assert driver.state() is State.RUNNING


def test_a_machine_that_moved_by_itself_is_noticed(yard: Yard, account: Account) -> None:
    """Stopped and started at the provider's console: nothing answers at the old address, so the provider is asked."""

    class Asks(ThreadDriver):
        def _answers(self) -> bool:
            return False

    yard.create()
    next(iter(account.nodes.values())).public_ips = ["127.0.0.7"]
    host = open_host(yard.store, "m1")
    assert host.driver.address() == "127.0.0.1"
    api.forget_answers()
    driver = Asks(host.driver.context, dict(host.driver.data))  # type: ignore[attr-defined]
    assert driver.address() == "127.0.0.7"
    # Nobody can be asked: the known address has to do.
    ACCOUNTS.clear()
    api.forget_answers()
    assert Asks(host.driver.context, dict(host.driver.data)).address() == "127.0.0.1"  # type: ignore[attr-defined]


def test_an_account_is_asked_once_for_all_its_machines(yard: Yard, account: Account) -> None:
    """`ls` costs one request per account, not one per machine."""
    yard.create("m1")
    yard.create("m2")
    api.forget_answers()
    asked = account.questions
    assert [yard.state(name) for name in ("m1", "m2")] == [State.RUNNING, State.RUNNING]
    assert account.questions == asked + 1


def test_a_rotated_token_is_taken_from_the_environment(
    yard: Yard, account: Account, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that is refused is replaced by the environment's, in the keyring too."""
    yard.create()
    ACCOUNTS["new-token"] = ACCOUNTS.pop(TOKEN)
    monkeypatch.setenv("DUMMY_TOKEN", "new-token")
    assert yard.state() is State.RUNNING
    assert list(ring.kept.values()) == ["new-token"]


def test_a_refused_token_is_not_shown(yard: Yard) -> None:
    """A failure says that the credentials are not accepted, without them."""
    ACCOUNTS.clear()
    with pytest.raises(PreCreateError, match="does not accept the credentials") as caught:
        yard.create()
    assert TOKEN not in str(caught.value)
    assert yard.store.names() == []


def test_docker_machines_clear_token_works_and_is_warned_of(
    yard: Yard, ring: MemoryKeyring, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of docker-machine's, with its token in clear, is usable; the warning says what to do.

    Its own token counts, not the environment's, which may be another account's.
    """
    yard.create()
    ACCOUNTS["another"] = Account()
    monkeypatch.setenv("DUMMY_TOKEN", "another")
    ring.kept.clear()
    content = json.loads(config(yard))
    old = {key: content["Driver"][key] for key in ("MachineName", "NodeID", "SSHUser", "IPAddress", "StorePath")}
    content["Driver"] = {**old, "AccessToken": TOKEN}
    (yard.store.directory("m1") / "config.json").write_text(json.dumps(content))
    actions.stop(yard.store, "m1", yard.said.append)
    assert any("AccessToken in clear" in line and "DUMMY_TOKEN" in line for line in yard.said)
    actions.remove(yard.store, "m1", yard.said.append)
    assert account.nodes == {}


def test_the_id_is_saved_before_anything_is_waited_for(yard: Yard, account: Account) -> None:
    """Whatever ends create, the record names what was made until then: first the key, then the machine."""
    seen = []

    def look() -> None:
        driver = json.loads(config(yard))["Driver"]
        seen.append((driver["Creating"], driver["KeyName"] in account.keys))

    account.interrupt = look
    yard.create()
    assert seen == [(True, True)]
    assert json.loads(config(yard))["Driver"]["NodeID"] == "node-1"


@pytest.mark.parametrize("ending", [KeyboardInterrupt, OSError])
def test_interrupted_before_its_id_was_known(
    yard: Yard, account: Account, ending: type[BaseException], ring: MemoryKeyring
) -> None:
    """A create that ends in the very request leaves nothing: the machine is found by its key."""

    def end() -> None:
        account.interrupt = lambda: None
        raise ending("lost")

    account.interrupt = end
    with pytest.raises((MachineError, KeyboardInterrupt)):
        yard.create()
    assert (account.nodes, account.keys, yard.store.names(), ring.kept) == ({}, {}, [], {})


def test_anothers_machine_of_the_same_name_is_left_alone(yard: Yard, account: Account) -> None:
    """Interrupted, and there is a machine of that name which is not ours: it stays, and the user is told."""

    def end() -> None:
        account.interrupt = lambda: None
        next(iter(account.nodes.values())).extra["key_name"] = "somebody's"
        raise OSError("lost")

    account.interrupt = end
    with pytest.raises(MachineError):
        yard.create()
    assert len(account.nodes) == 1
    assert any("cannot be told whether that is this one" in line for line in yard.said)
    assert yard.store.names() == ["m1"]


def test_a_name_that_is_taken_is_refused(yard: Yard, account: Account) -> None:
    """There is a machine of that name at the provider: nothing is made."""
    yard.create()
    yard.store.delete("m1")
    with pytest.raises(PreCreateError, match="called m1 at the dummy provider already"):
        yard.create()


def test_gone_at_the_provider(yard: Yard, account: Account) -> None:
    """Removed elsewhere: status says so, rm succeeds and takes the key."""
    yard.create()
    account.nodes.clear()
    api.forget_answers()
    with pytest.raises(MachineError, match="has no machine node-1 any more"):
        yard.state()
    actions.remove(yard.store, "m1", yard.said.append)
    assert (account.keys, yard.store.names()) == ({}, [])


def test_not_found_in_another_account_is_not_gone(
    yard: Yard, account: Account, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another account's token a machine is not found, which does not mean that it is gone."""
    yard.create()
    ring.kept.clear()
    ACCOUNTS["another"] = Account()
    monkeypatch.setenv("DUMMY_TOKEN", "another")
    with pytest.raises(MachineError, match="made with another --dummy-token"):
        actions.remove(yard.store, "m1", yard.said.append)
    assert (len(account.nodes), yard.store.names()) == (1, ["m1"])


def test_rm_without_a_token_says_what_may_be_left(yard: Yard, ring: MemoryKeyring) -> None:
    """`rm -f` without a token removes the directory, fails, and names the machine that may still be paid for."""
    yard.create()
    ring.kept.clear()
    with pytest.raises(MachineError, match=r"DUMMY_TOKEN.*look there for node-1"):
        actions.remove(yard.store, "m1", yard.said.append, force=True)
    with pytest.raises(NoSuchMachine):
        actions.remove(yard.store, "m1", yard.said.append)


def test_another_address_after_a_start(yard: Yard, account: Account) -> None:
    """A machine that comes back elsewhere is used there, with a certificate for it, and the user is told."""
    yard.create()
    actions.stop(yard.store, "m1", yard.said.append)
    account.on = lambda name: "127.0.0.2"
    driver = open_host(yard.store, "m1", yard.said.append).driver
    asked: list[str] = []
    driver._bring_up = lambda prepare, first_key="": asked.append(driver.address())  # type: ignore[attr-defined]
    driver.start(lambda address: pytest.fail("not asked here"))
    assert asked == ["127.0.0.2"]
    assert any("127.0.0.2 (was 127.0.0.1)" in line for line in yard.said)
    assert json.loads(config(yard))["Driver"]["IPAddress"] == "127.0.0.2"


def test_failures_that_pass_are_waited_out(yard: Yard, account: Account) -> None:
    """A provider that does not answer for a moment, while a machine is waited for, does not end create."""
    failures = [ConnectionError("reset"), BaseHTTPError(503, "later"), BaseHTTPError(429, "slower")]  # type: ignore[no-untyped-call]

    def fail() -> None:
        if failures:
            raise failures.pop()

    account.interrupt = lambda: setattr(account, "trouble", fail)
    yard.create()
    assert failures == []


def test_keys_are_private_and_pinned(yard: Yard, account: Account) -> None:
    """The private key is ours alone; the machine's host key is known before there is a machine, and in its user-data."""
    yard.create()
    directory = yard.store.directory("m1")
    assert (directory / "id_ed25519").stat().st_mode & 0o777 == 0o600
    pinned = (directory / "known_hosts").read_text().split()[2]
    settings = json.loads(account.user_data["m1"].removeprefix("#cloud-config\n"))
    assert pinned in settings["ssh_keys"]["ed25519_public"]
    assert list(account.keys.values()) == [(directory / "id_ed25519.pub").read_text().strip()]


def test_keyrings_that_keep_nothing_are_no_keyrings() -> None:
    """A backend that forgets, or stores in clear, is as none."""

    class Forgets(MemoryKeyring):
        def set_password(self, service: str, username: str, password: str) -> None:
            pass

    class Plain(MemoryKeyring):
        priority = 0.5  # type: ignore[assignment]

    for backend in (Forgets(), Plain(), keyring.backends.fail.Keyring()):
        with using(backend):
            assert not secrets.keep("entry", "secret")
            secrets.forget("entry")


def test_a_missing_library_is_named() -> None:
    """Without Libcloud the message says how to get it, and nothing else of the package needs it."""
    import subprocess
    import sys

    program = (
        "import sys; sys.modules['libcloud'] = None; sys.modules['keyring'] = None\n"
        "from shoal.machine.driver import built_in_drivers, driver_class, Context\n"
        "from pathlib import Path\n"
        "[driver.flags() for driver in built_in_drivers()]\n"
        "try: driver_class('amazonec2')(Context('m', Path('.'), Path('.'), print), {}).configure({})\n"
        "except Exception as fault: print(fault)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == api.INSTALL
