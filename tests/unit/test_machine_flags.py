"""docker-machine's options that every driver has: from the command line or a variable to the record and the engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography import x509

from shoal import daemon_flags
from shoal.cli.flags import declare, integer, parse
from shoal.cli.machine_create import declared, value
from shoal.machine import certs
from shoal.machine.driver import EngineSetup, Flag, Prepare, driver_class, register
from shoal.machine.store import Store
from tests.machine_cli import alone, say
from tests.machine_fake import FakeDriver


class Telling(FakeDriver):
    """Tells what its machines' engines are set up with. `--local-engine` is as it is with local machines."""

    setups: ClassVar[list[EngineSetup]] = []

    @staticmethod
    def flags() -> Sequence[Flag]:
        return (*FakeDriver.flags(), Flag("local-engine", "x", ""))

    def configure(self, values: Mapping[str, Any]) -> None:
        super().configure(values)
        self.data["Engine"] = values["local-engine"]

    def create(self, prepare: Prepare) -> None:
        self.setups.append(prepare("127.0.0.1"))
        super().create(prepare)


register("telling", Telling)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of its own, and an environment that says nothing else about machines."""
    with alone(tmp_path, monkeypatch) as store:
        yield store


def config(store: Store) -> dict[str, Any]:
    """The HostOptions of m1's config.json."""
    options: dict[str, Any] = json.loads((store.directory("m1") / "config.json").read_text())["HostOptions"]
    return options


# --- certificates ------------------------------------------------------------------------------------------------------

TLS = {
    "--tls-ca-cert": "ca.pem",
    "--tls-ca-key": "ca-key.pem",
    "--tls-client-cert": "cert.pem",
    "--tls-client-key": "key.pem",
}


def authority(folder: Path) -> certs.Pair:
    """Another authority than the store's, with a client identity."""
    now, pair = datetime.now(UTC), certs.Pair(folder / "ca.pem", folder / "ca-key.pem")
    certs.ensure_authority(pair, now)
    certs.ensure_client(certs.Pair(folder / "cert.pem", folder / "key.pem"), pair, now)
    return pair


def loaded(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.mark.parametrize("by", ["flags", "variables"])
def test_another_authority(
    by: str, here: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--tls-* and MACHINE_TLS_* name another authority and client; the record keeps them as absolute paths; all works without them later."""
    pair = authority(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    words = [word for flag, file in TLS.items() for word in (flag, f"other/{file}")]
    if by == "variables":
        for flag, file in TLS.items():
            monkeypatch.setenv(f"MACHINE_{flag[2:].upper().replace('-', '_')}", f"other/{file}")
        words = []
    assert "Creating CA" not in say(capsys, *words, "create", "-d", "fake", "m1")
    for flag in TLS:
        monkeypatch.delenv(f"MACHINE_{flag[2:].upper().replace('-', '_')}", raising=False)
    auth = config(here)["AuthOptions"]
    keys = ("CaCertPath", "CaPrivateKeyPath", "ClientCertPath", "ClientKeyPath")
    assert [auth[key] for key in keys] == [str(tmp_path / "other" / file) for file in TLS.values()]
    loaded(here.directory("m1") / "server.pem").verify_directly_issued_by(loaded(pair.certificate))
    for file in ("ca.pem", "cert.pem", "key.pem"):
        assert (here.directory("m1") / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
    assert not here.certs.exists(), "the store's own authority was not needed"
    monkeypatch.chdir("/")
    say(capsys, "stop", "m1")
    say(capsys, "start", "m1")
    assert "DOCKER_HOST" in say(capsys, "env", "--shell", "sh", "m1")
    assert say(capsys, "version", "m1") == "9.9.9\n"


def test_a_tls_flag_wins_over_its_variable(
    here: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is named by neither is the store's; what is not there yet is made where it was named."""
    monkeypatch.setenv("MACHINE_TLS_CA_CERT", str(tmp_path / "no.pem"))
    monkeypatch.setenv("MACHINE_TLS_CA_KEY", str(tmp_path / "mine-key.pem"))
    text = say(capsys, "--tls-ca-cert", str(tmp_path / "mine.pem"), "create", "-d", "fake", "m1")
    assert f"Creating CA: {tmp_path / 'mine.pem'}" in text
    auth = config(here)["AuthOptions"]
    assert (auth["CaCertPath"], auth["CaPrivateKeyPath"]) == (
        str(tmp_path / "mine.pem"),
        str(tmp_path / "mine-key.pem"),
    )
    assert auth["ClientCertPath"] == str(here.certs / "cert.pem")
    assert sorted(path.name for path in here.certs.iterdir()) == ["cert.pem", "key.pem"]


def test_further_names_are_in_the_certificate(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """--tls-san puts addresses and names into the machine's certificate, beside its own, and into the record."""
    say(capsys, "create", "-d", "fake", "--tls-san", "x.test", "--tls-san", "192.0.2.9", "m1")
    names = (
        loaded(here.directory("m1") / "server.pem")
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert {"x.test", "m1", "localhost"} <= set(names.get_values_for_type(x509.DNSName))
    assert {"192.0.2.9", "127.0.0.1"} <= {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert config(here)["AuthOptions"]["ServerCertSANs"] == ["x.test", "192.0.2.9"]


# --- the engine --------------------------------------------------------------------------------------------------------

OPTIONS: list[tuple[list[str], dict[str, str], dict[str, Any], list[str]]] = [
    ([], {}, {"RegistryMirror": [], "StorageDriver": "", "InstallURL": ""}, []),
    (["--engine-registry-mirror=http://a", "--engine-registry-mirror=http://b"], {"ENGINE_REGISTRY_MIRROR": "http://c"},
     {"RegistryMirror": ["http://a", "http://b"]}, []),
    ([], {"ENGINE_REGISTRY_MIRROR": "http://c, http://d"}, {"RegistryMirror": ["http://c", "http://d"]}, []),
    (["--engine-storage-driver=overlay2"], {}, {"StorageDriver": "overlay2"}, []),
    (["--engine-storage-driver=btrfs"], {}, {"StorageDriver": "btrfs"}, ["--engine-storage-driver btrfs: shoald's is overlay2"]),
    (["--engine-storage-driver=overlay"], {}, {"StorageDriver": "overlay"},
     ["--engine-storage-driver overlay: no engine has it any more"]),
    (["--engine-install-url=none"], {"MACHINE_DOCKER_INSTALL_URL": "http://x"}, {"InstallURL": "none"}, []),
    ([], {"MACHINE_DOCKER_INSTALL_URL": "none"}, {"InstallURL": "none"}, []),
    ([], {"MACHINE_DOCKER_INSTALL_URL": "http://x"}, {"InstallURL": "http://x"}, ["--engine-install-url: machines get Shoal"]),
    (["--engine-install-url=http://x"], {}, {"InstallURL": "http://x"}, ["--engine-install-url: machines get Shoal"]),
    (["--engine-opt", "log-level=debug", "--engine-opt=debug", "--engine-env", "A=b c", "--engine-env=D=,e"], {},
     {"ArbitraryFlags": ["log-level=debug", "debug"], "Env": ["A=b c", "D=,e"]}, []),
    (["--engine-label=a=b", "--engine-insecure-registry=r:5000"], {}, {"Labels": ["a=b"], "InsecureRegistry": ["r:5000"]}, []),
]  # fmt: skip


@pytest.mark.parametrize(("words", "variables", "kept", "warnings"), OPTIONS)
def test_engine_options(
    words: list[str], variables: dict[str, str], kept: dict[str, Any], warnings: list[str], here: Store, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Each --engine-* is kept in the record as docker-machine did; what has no effect is warned of; shoald takes what it is given."""
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    said = say(capsys, "create", "-d", "telling", *words, "m1")
    found = config(here)["EngineOptions"]
    assert {key: found[key] for key in kept} == kept
    warned = [line.removeprefix("Warning: ") for line in said.splitlines() if line.startswith("Warning: ")]
    assert len(warned) == len(warnings)
    assert all(line.startswith(start) for line, start in zip(warned, warnings, strict=True))
    setup = Telling.setups.pop()
    assert setup.install_url == found["InstallURL"]
    assert setup.environment == dict(entry.split("=", 1) for entry in found["Env"])
    (tmp_path / "daemon.json").write_text("{}")
    settings = daemon_flags.parse([*setup.arguments, "--config-file", str(tmp_path / "daemon.json")])
    assert settings.log_level == ("debug" if found["ArbitraryFlags"] else "info")
    assert settings.labels == [*found["Labels"], "provider=telling"]
    assert settings.insecure_registries == found["InsecureRegistry"]
    assert settings.registry_mirrors == found["RegistryMirror"]


def test_another_engine_gets_dockerds_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """An engine of the user's own knows storage drivers: it gets them, without a warning."""
    words = ["--engine-registry-mirror=http://a", "--engine-storage-driver=btrfs"]
    assert "Warning" not in say(capsys, "create", "-d", "telling", "--local-engine=/x", *words, "m1")
    arguments = Telling.setups.pop().arguments
    assert arguments[-4:] == ["--registry-mirror", "http://a", "--storage-driver", "btrfs"]


@pytest.mark.parametrize("entry", ["A", "=b", ""])
def test_a_bad_variable_of_the_engine_is_refused(entry: str, here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is made."""
    assert "want NAME=VALUE" in say(capsys, "create", "-d", "fake", f"--engine-env={entry}", "m1", code=1)
    assert here.names() == []


# --- tokens, numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["flags", "variables"])
def test_tokens_that_are_not_needed(
    by: str, here: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tokens for GitHub and Bugsnag are taken from flags and variables, without a word, and kept nowhere."""
    words = ["--github-api-token", "s3cret", "--bugsnag-api-token=s3cret"]
    if by == "variables":
        monkeypatch.setenv("MACHINE_GITHUB_API_TOKEN", "s3cret")
        monkeypatch.setenv("MACHINE_BUGSNAG_API_TOKEN", "s3cret")
        words = []
    text = say(capsys, *words, "create", "-d", "fake", "m1")
    assert "GitHub" not in text and "Bugsnag" not in text and "s3cret" not in text
    files = [path for path in here.root.rglob("*") if path.is_file()]
    assert files and all(b"s3cret" not in path.read_bytes() for path in files)


NUMBERS = {"22": 22, "010": 8, "0x16": 22, "0X16": 22, "0o26": 22, "0b11": 3, "-010": -8, "0": 0, "00": 0, "0_26": 22}


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_are_gos(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers, in variables and on the command line, are read as Go reads them: a zero before them means octal."""
    assert integer(text) == NUMBERS[text]
    flags = driver_class("generic").flags()
    port = next(flag for flag in flags if flag.name == "generic-ssh-port")
    lines = declare(declared(flags))
    assert value(parse(lines, []), port, {"GENERIC_SSH_PORT": text}) == NUMBERS[text]
    assert value(parse(lines, [f"--generic-ssh-port={text}"]), port, {}) == NUMBERS[text]


@pytest.mark.parametrize("text", ["08", "x", "0x", "1.5", "", "0o8", "--1"])
def test_what_is_no_number(text: str) -> None:
    """An octal number has no 8 and no 9."""
    with pytest.raises(ValueError):
        integer(text)
