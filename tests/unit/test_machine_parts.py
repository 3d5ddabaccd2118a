"""Small decisions of machines: addresses, cgroups, locations, engine flags, the command line."""

from __future__ import annotations

import ipaddress
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cli.flags import declare
from shoal.cli.machine import main
from shoal.cli.machine_command import double_dashed
from shoal.machine import ssh
from shoal.machine.addresses import Register, check_address, choose_address, parse_subnet
from shoal.machine.driver import SshEndpoint, driver_class
from shoal.machine.errors import MachineError
from shoal.machine.local.cgroups import Hierarchy, hierarchies, visible
from shoal.machine.provision import engine_arguments, engine_environment, ensure_identities, preparation
from shoal.machine.record import AuthOptions, EngineOptions, HostOptions, Record

NETWORK = parse_subnet("192.168.99.1/24")


def test_addresses_begin_at_101() -> None:
    """The lowest free address from .101 is given; what a machine had it keeps while nobody else has it."""
    assert choose_address(NETWORK, None, []) == "192.168.99.101"
    assert choose_address(NETWORK, None, ["192.168.99.101", "192.168.99.103"]) == "192.168.99.102"
    assert choose_address(NETWORK, "192.168.99.100", []) == "192.168.99.100"
    assert choose_address(NETWORK, "192.168.99.102", ["192.168.99.102"]) == "192.168.99.101"
    assert choose_address(NETWORK, None, [], avoid="192.168.99.101") == "192.168.99.102"
    assert choose_address(parse_subnet("10.0.0.0/29"), None, []) == "10.0.0.2"


def test_what_a_killed_command_left_is_no_member(tmp_path: Path) -> None:
    """A file that was not renamed any more counts for nothing, and goes with the last machine's."""
    register = Register("192.168.99.0/24", tmp_path / "run")
    machine = tmp_path / "m1"
    machine.mkdir()
    assert register.enrol(machine, None, []) == "192.168.99.101"
    (entry,) = (tmp_path / "run").rglob("*.json")
    entry.with_name(f".{entry.name}.0a1b2c3d").write_bytes(entry.read_bytes())
    assert [member.address for member in register.members()] == ["192.168.99.101"]
    register.dismiss(machine)
    assert not (tmp_path / "run").exists()


@given(st.sets(st.integers(0, 300)), st.integers(16, 29))
def test_an_address_is_free_and_inside(taken: set[int], prefix: int) -> None:
    """Whatever is taken, an address is inside, not taken and nobody's special one; or there is none."""
    network = ipaddress.IPv4Network(("10.0.0.0", prefix))
    used = {str(network.network_address + offset) for offset in taken}
    try:
        address = choose_address(network, None, used)
    except MachineError:
        return
    assert address not in used
    check_address(network, address)


@pytest.mark.parametrize("text", ["", "x", "10.0.0.0/33", "10.0.0.0/8", "10.0.0.0/30", "::/64"])
def test_subnets_that_cannot_be(text: str) -> None:
    """A subnet is IPv4 with room for a host and machines."""
    with pytest.raises(MachineError, match="invalid subnet"):
        parse_subnet(text)


@pytest.mark.parametrize("address", ["192.168.99.0", "192.168.99.1", "192.168.99.255", "192.168.98.7", "x"])
def test_addresses_that_cannot_be(address: str) -> None:
    """The network's, the host's and the broadcast address are no machine's."""
    with pytest.raises(MachineError):
        check_address(NETWORK, address)


_V1 = "1 0 0:1 / /sys/fs/cgroup/{0} rw - cgroup {1} rw,{2}\n"


def test_hierarchies_of_each_kind_of_host() -> None:
    """Version 1 as it is mounted, joint controllers and named ones too; hybrid without its version 2; version 2 alone."""
    unified = "1 0 0:1 / /sys/fs/cgroup/unified rw shared:1 - cgroup2 cgroup2 rw,nsdelegate\n"
    old = _V1.format("cpu,cpuacct", "cgroup", "cpu,cpuacct,release_agent=/x") + _V1.format(
        "systemd", "x", "xattr,name=systemd"
    )
    expected = [
        Hierarchy(Path("/sys/fs/cgroup/cpu,cpuacct"), "cpu,cpuacct"),
        Hierarchy(Path("/sys/fs/cgroup/systemd"), "none,name=systemd"),
    ]
    assert hierarchies(old) == visible(hierarchies(unified + old)) == expected
    assert hierarchies(unified + old) == [*expected, Hierarchy(Path("/sys/fs/cgroup/unified"), "")]
    alone = hierarchies("1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n1 0 0:2 / / rw - ext4 /dev/vda rw\n")
    assert alone == [Hierarchy(Path("/sys/fs/cgroup"), "")]
    assert visible(alone) == alone
    assert alone[0].unified


@pytest.mark.parametrize(
    ("text", "location"),
    [("file", ("", "file", "")), ("m1:~", ("m1", "~", "")), ("sam@m1:/a:b", ("m1", "/a:b", "sam")),
     ("./a:b", ("", "./a:b", "")), ("localhost:x", ("", "x", "")), ("C:\\x", ("", "C:\\x", "")), ("m1:", ("m1", "", ""))],
)  # fmt: skip
def test_locations(text: str, location: tuple[str, str, str]) -> None:
    """`machine:path` is on a machine; a drive letter, or a path with a slash before the colon, is here."""
    assert tuple(ssh.parse_location(text, lambda name: False)) == location


def test_one_letter_can_be_a_machine() -> None:
    """`a:x` is on machine `a` when there is one."""
    assert ssh.parse_location("a:x", lambda name: name == "a").machine == "a"


def test_ssh_checks_the_machines_key_by_its_name(tmp_path: Path) -> None:
    """ssh is told to accept only the key that was pinned, by name; nobody's own configuration interferes."""
    known = tmp_path / "known hosts"
    known.write_text("m1 ssh-ed25519 AAAA\n")
    words = ssh.command(SshEndpoint("10.0.0.1", 22, "root", tmp_path / "id", known, "m1"), ["-L", "1:2:3", "ls"])
    assert words[1:3] == ["-F", "none"]
    assert words[-4:] == ["m1", "-L", "1:2:3", "ls"]
    for option in ("StrictHostKeyChecking=yes", "HostKeyAlias=m1", f'UserKnownHostsFile="{known}"', "HostName=10.0.0.1",
                   "IdentitiesOnly=yes"):  # fmt: skip
        assert option in words


def test_an_address_may_have_a_zone(tmp_path: Path) -> None:
    """ssh itself, asked what it makes of our options, comes to the address as it was given, of the command and of files."""
    endpoint = SshEndpoint("fe80::1%eth0", 22, "root", None, None, "m1")
    with ssh.config({"m1": endpoint}) as path:
        for command in (ssh.command(endpoint, []), ["ssh", "-F", str(path), "m1"]):
            told = subprocess.run([command[0], "-G", *command[1:]], capture_output=True, text=True, check=False)
            assert "hostname fe80::1%eth0\n" in told.stdout, told.stderr


def test_a_copy_between_machines_has_each_ones_settings(tmp_path: Path) -> None:
    """scp gets a configuration file with a block per machine, so that ports and keys may differ."""
    sides = {
        name: SshEndpoint("10.0.0.1", port, "root", tmp_path / name, None, name)
        for name, port in (("a", 22), ("b", 2222))
    }
    with ssh.config(sides) as path:
        text = path.read_text()
        command = ssh.copy_command(
            path, ssh.Location("a", "x"), ssh.Location("b", "y"), recursive=True, delta=False, quiet=False
        )
        assert command[1:] == ["-F", str(path), "-3", "-r", "a:x", "b:y"]
    assert "Host a\n" in text
    assert "    Port 2222\n" in text
    assert not path.exists()


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The mode is named, as docker-machine does."""
    key = tmp_path / "id"
    key.touch()
    key.chmod(0o644)
    with pytest.raises(MachineError, match=r"permissions 0644 for .* are too open"):
        ssh.check_key(SshEndpoint("", 22, "root", key, None, "m1"))


def test_engine_flags() -> None:
    """Labels, registries and any other flag reach the engine; a storage driver only when one was asked for."""
    options = EngineOptions(
        labels=["a=b"], insecure_registry=["r:5000"], arbitrary_flags=["log-level=debug", "--debug"], env=["A=b=c"]
    )
    arguments = engine_arguments(options, "local")
    assert arguments[:5] == ["-H", "unix:///var/run/docker.sock", "-H", "tcp://0.0.0.0:2376", "--tlsverify"]
    assert arguments[-8:] == ["--label", "a=b", "--label", "provider=local", "--insecure-registry", "r:5000",
                              "--log-level=debug", "--debug"]  # fmt: skip
    assert engine_environment(options) == {"A": "b=c"}
    with pytest.raises(MachineError, match="NAME=VALUE"):
        engine_environment(EngineOptions(env=["A"]))


def test_preparation_renews_only_what_must_be(tmp_path: Path) -> None:
    """At the same address the server's certificate stays; at another one it is issued anew; the key is 0600 there."""
    auth = AuthOptions(
        ca_cert_path=f"{tmp_path}/ca.pem", ca_private_key_path=f"{tmp_path}/ca-key.pem",
        client_cert_path=f"{tmp_path}/cert.pem", client_key_path=f"{tmp_path}/key.pem",
        server_cert_path=f"{tmp_path}/machines/m/server.pem", server_key_path=f"{tmp_path}/machines/m/server-key.pem",
        store_path=f"{tmp_path}/machines/m",
    )  # fmt: skip
    now = datetime(2026, 11, 1, tzinfo=UTC)
    (tmp_path / "machines/m").mkdir(parents=True)
    assert list(ensure_identities(auth, now)) == ["CA", "client certificate"]
    prepare = preparation(Record(name="m", driver_name="local", host_options=HostOptions(auth_options=auth)), now)
    first, same, moved = prepare("10.0.0.1"), prepare("10.0.0.1"), prepare("10.0.0.2")
    assert first.files == same.files != moved.files
    assert first.files["/etc/shoal/tls/server-key.pem"][0] == 0o600
    assert (tmp_path / "machines/m/key.pem").stat().st_mode & 0o777 == 0o600


def test_unknown_drivers_are_named() -> None:
    """A driver that is not installed is an error in docker-machine's words, and with what is different here."""
    with pytest.raises(
        MachineError, match=r'Driver "nosuch" not found\. Do you have the plugin binary .*Python packages'
    ):
        driver_class("nosuch")


def test_single_dashes_are_taken() -> None:
    """`-driver local` is `--driver local`; values and what follows `--` are left alone."""
    flags = declare("  -d, --driver string   x\n      --swarm   x")
    assert double_dashed(["-driver", "-swarm", "-swarm", "-d", "x", "--", "-driver"], flags) == [
        "--driver", "-swarm", "--swarm", "-d", "x", "--", "-driver",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [(["version"], 0, "docker-machine version "), (["--version"], 0, "docker-machine version "),
     (["help", "ls"], 0, "Usage: docker-machine ls [OPTIONS]"), ([], 0, "Usage: docker-machine [OPTIONS] COMMAND"),
     (["nosuch"], 1, "'nosuch' is not a docker-machine command"), (["ls", "--nosuch"], 2, "unknown flag: --nosuch"),
     (["rm"], 2, "Expected to get one or more machine names"), (["active", "x"], 2, "Too many arguments given"),
     (["create"], 2, "No machine name specified"), (["create", "a_b", "c_d"], 1, "Invalid hostname specified"),
     (["env", "-u", "x"], 1, "Expected no machine name"), (["env", "a", "b"], 1, "Expected one machine name"),
     (["ls", "--filter", "x"], 1, "Unsupported filter syntax"), (["create", "-d", "nosuch", "a"], 1, "not found"),
     (["status"], 1, 'no "default" machine exists'), (["active"], 1, "No active host found"),
     (["env", "-u", "--shell", "fish"], 0, "set -e DOCKER_HOST;"), (["scp", "a"], 2, "Improper number of arguments")],
)  # fmt: skip
def test_the_command_line(
    words: list[str], code: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Exit status 0 for what works, 1 for what fails, 2 for wrong use, with docker-machine's messages."""
    monkeypatch.setenv("MACHINE_STORAGE_PATH", str(tmp_path))
    assert main(words, "docker-machine") == code
    said = capsys.readouterr()
    assert text in said.out + said.err
