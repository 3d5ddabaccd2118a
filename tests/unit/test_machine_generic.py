"""generic and none: flags, and what they refuse."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from shoal.machine import generic, none, provision
from shoal.machine.driver import Context, State, driver_class, traits
from shoal.machine.errors import MachineError, PreCreateError
from shoal.machine.record import AuthOptions, Record
from shoal.machine.store import Store


def context(folder: Path) -> Context:
    return Context("m1", folder / "machines/m1", folder, lambda line: None)


def test_generic_takes_docker_machines_flags(tmp_path: Path) -> None:
    """Its flags have docker-machine's names, variables and defaults; its data docker-machine's keys."""
    flags = {flag.name: (flag.environment, flag.default) for flag in driver_class("generic").flags()}
    assert flags == {
        "generic-ip-address": ("GENERIC_IP_ADDRESS", ""), "generic-ssh-user": ("GENERIC_SSH_USER", "root"),
        "generic-ssh-key": ("GENERIC_SSH_KEY", ""), "generic-ssh-port": ("GENERIC_SSH_PORT", 22),
        "generic-engine-port": ("GENERIC_ENGINE_PORT", 2376),
    }  # fmt: skip
    driver = generic.GenericDriver(context(tmp_path), {})
    driver.configure({"generic-ip-address": "192.0.2.7", "generic-ssh-key": "/x/id_rsa", "generic-engine-port": 2399})
    assert driver.data == {
        "IPAddress": "192.0.2.7", "MachineName": "m1", "SSHUser": "root", "SSHPort": 22, "EnginePort": 2399,
        "SSHKey": "/x/id_rsa", "SSHKeyPath": str(tmp_path / "machines/m1/id_rsa"), "StorePath": str(tmp_path),
    }  # fmt: skip
    with pytest.raises(PreCreateError, match='SSH key does not exist: "/x/id_rsa"'):
        driver.check()


@pytest.mark.parametrize(
    "name",
    ["key.pem", "cert.pem", "ca.pem", "ca-key.pem", "server.pem", "server-key.pem", "config.json", "config.json.bak",
     "known_hosts", "host_key", "KEY.pem"],
)  # fmt: skip
def test_a_key_by_the_name_of_a_file_of_ours_has_another_here(tmp_path: Path, name: str) -> None:
    """A user's key may be called key.pem: its copy is not what the machine's own files are written over."""
    source = tmp_path / "mine" / name
    for folder in (source.parent, tmp_path / "certs", tmp_path / "machines/m1"):
        folder.mkdir(parents=True)
    source.write_text("SSH")
    paths = {key: tmp_path / "certs" / f"{key}.pem" for key in ("ca", "cert", "key")}
    for path in paths.values():
        path.write_text("TLS")
    driver = generic.GenericDriver(context(tmp_path), {})
    driver.configure({"generic-ip-address": "h", "generic-ssh-key": str(source)})
    driver._import_key()
    provision.copy_client_identity(
        AuthOptions(
            ca_cert_path=str(paths["ca"]), client_cert_path=str(paths["cert"]), client_key_path=str(paths["key"]),
            store_path=str(tmp_path / "machines/m1"),
        )
    )  # fmt: skip
    assert driver.ssh().key == tmp_path / "machines/m1" / f"id_{name}"
    assert driver.ssh().key.read_text() == "SSH"  # type: ignore[union-attr]
    assert (tmp_path / "machines/m1/key.pem").read_text() == "TLS"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "generic driver requires the --generic-ip-address option"),
        ({"generic-ip-address": "-oProxyCommand=x"}, "neither an address nor a host name"),
        ({"generic-ip-address": "a b"}, "neither an address nor a host name"),
        ({"generic-ip-address": "h", "generic-ssh-user": "-x"}, "no user name"),
        ({"generic-ip-address": "h", "generic-ssh-port": 70000}, "no port"),
    ],
)
def test_generic_refuses_what_is_no_host(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    """Bad flags are refused before anything is done; nothing of them can become an option of ssh."""
    with pytest.raises(MachineError, match=words):
        generic.GenericDriver(context(tmp_path), {}).configure(values)


def test_a_generic_host_is_not_ours_to_switch(tmp_path: Path) -> None:
    """start, stop and kill are refused in docker-machine's words."""
    driver = generic.GenericDriver(context(tmp_path), {})
    for word in ("stop", "kill"):
        with pytest.raises(MachineError, match=f"generic driver does not support {word}"):
            getattr(driver, word)()
    with pytest.raises(MachineError, match="generic driver does not support start"):
        driver.start(lambda address: pytest.fail("asked"))


@pytest.mark.parametrize(
    ("url", "location"),
    [("tcp://192.0.2.7:2376", "192.0.2.7:2376"), ("tcp://h", "h:2376"), ("https://h:1", "h:1"),
     ("tcp://[2001:db8::1]:2376", "[2001:db8::1]:2376")],
)  # fmt: skip
def test_none_writes_an_address_down(tmp_path: Path, url: str, location: str) -> None:
    """A machine without a driver runs, as far as anybody knows, where it was said to be; nothing can be done to it."""
    driver = none.NoneDriver(context(tmp_path), {})
    driver.configure({"url": url})
    assert (driver.url(), driver.address(), driver.state()) == (url, location, State.RUNNING)
    assert not traits(driver).managed
    with pytest.raises(MachineError, match="hosts without a driver cannot be stopped"):
        driver.stop()
    with pytest.raises(MachineError, match="no ssh"):
        driver.ssh()


@pytest.mark.parametrize("url", ["", "url5", "tcp://", "ftp://h", "tcp://h:port", "tcp://h:99999", "tcp://h/path"])
def test_none_refuses_what_no_client_could_reach(tmp_path: Path, url: str) -> None:
    """docker-machine took any text."""
    with pytest.raises(MachineError):
        none.NoneDriver(context(tmp_path), {}).configure({"url": url})


def test_a_dead_host_does_not_keep_the_command(tmp_path: Path) -> None:
    """`ls -t 1` ends, though the probe of a host whose sshd says nothing has most of its time left."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        data = {"IPAddress": "127.0.0.1", "SSHUser": "root", "SSHPort": silent.getsockname()[1],
                "EnginePort": nobody.getsockname()[1]}  # fmt: skip
        Store(tmp_path).save("m1", replace(Record(name="m1", driver_name="generic"), driver=data))
        program = (
            "import sys; from shoal.cli.machine import main; from shoal.machine import generic\n"
            f"generic.PROBE_TIMEOUT = 60; sys.exit(main(['-s', {str(tmp_path)!r}, 'ls', '-t', '1'], 'docker-machine'))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.splitlines()[1].split() == ["m1", "generic", "Timeout"]


@pytest.mark.parametrize(("greets", "accepts"), [(True, False), (False, True), (False, False)])
def test_one_answer_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, greets: bool, accepts: bool) -> None:
    """A host runs when its sshd or its engine answers, whatever the other question comes to, and else is stopped."""

    def engine(host: str, port: int) -> bool:
        if not accepts:
            raise UnicodeError("no such name")
        return True

    monkeypatch.setattr(generic.ssh, "greets", lambda endpoint, timeout: greets)
    monkeypatch.setattr(generic, "_accepts", engine)
    driver = generic.GenericDriver(context(tmp_path), {"IPAddress": "192.0.2.7", "SSHUser": "root"})
    assert driver.state() is (State.RUNNING if greets or accepts else State.STOPPED)
