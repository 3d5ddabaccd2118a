"""What `shoald` is told: flags, the configuration file, and what contradicts itself."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path

import pytest

from shoal.daemon import alone, engine_id, notify
from shoal.daemon_flags import Settings, parse
from shoal.model.errors import FailedPrecondition, InvalidArgument


def test_defaults(tmp_path: Path) -> None:
    """Without flags: docker's socket, Shoal's own directories, no TLS."""
    settings = parse([])
    assert settings.hosts == ["unix:///var/run/docker.sock"]
    assert settings.data_root == Path("/var/lib/shoal")
    assert settings.exec_root == Path("/run/shoal")
    assert settings.pidfile == Path("/run/shoald.pid")
    assert not settings.tls


def test_flags() -> None:
    """The everyday flags of dockerd mean the same here."""
    settings = parse(
        [
            "-H",
            "unix:///a",
            "-H",
            "tcp://0.0.0.0:2376",
            "--tlsverify",
            "--tlscacert",
            "ca",
            "--tlscert",
            "c",
            "--tlskey",
            "k",
            "--label",
            "a=b",
            "--label",
            "c=d",
            "--insecure-registry",
            "r:5000",
            "-p",
            "/p",
            "--data-root",
            "/d",
            "--exec-root",
            "/e",
            "-D",
            "--log-opt",
            "max-size=1m",
        ]
    )
    assert settings.hosts == ["unix:///a", "tcp://0.0.0.0:2376"]
    assert (settings.tls, settings.tls_verify, settings.tls_ca) == (True, True, Path("ca"))
    assert settings.labels == ["a=b", "c=d"]
    assert settings.insecure_registries == ["r:5000"]
    assert (settings.log_level, settings.log_options) == ("debug", {"max-size": "1m"})
    assert settings.absolute().tls_ca == Path.cwd() / "ca"


def test_certificates_default_to_dockers_directory() -> None:
    """With --tls alone the certificates come from ~/.docker, as docker has them."""
    settings = parse(["--tls"])
    assert settings.tls_cert == Path("~/.docker/cert.pem").expanduser()
    assert not settings.tls_verify


def test_file(tmp_path: Path) -> None:
    """The same settings as JSON; flags and file add up."""
    file = tmp_path / "daemon.json"
    file.write_text(json.dumps({"hosts": ["unix:///x"], "debug": True, "data-root": "/d", "log-opts": {"max-file": 3}}))
    settings = parse(["--config-file", str(file), "--label", "a=b"])
    assert (settings.hosts, settings.log_level, settings.data_root) == (["unix:///x"], "debug", Path("/d"))
    assert settings.log_options == {"max-file": "3"}
    assert settings.labels == ["a=b"]


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ('{"labels": ["a=b"]}', ["--label", "c=d"], "specified both as a flag and in the configuration file: labels"),
        ('{"nonsense": 1}', [], "don't match any configuration option: nonsense"),
        ('{"hosts": "unix:///x"}', [], 'hosts must be a list, not "unix:///x"'),
        ('{"debug": "yes"}', [], 'debug must be a bool, not "yes"'),
        ('{"log-level": "loud"}', [], "invalid logging level: loud"),
        ("{", [], "invalid JSON"),
        ("[]", [], "it must hold a JSON object"),
        ("{}", ["--label", "plain"], "bad attribute format: plain"),
        ("{}", ["--log-opt", "x"], "must be KEY=VALUE"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, flags: list[str], message: str) -> None:
    """A wrong setting is refused by its name and place."""
    file = tmp_path / "daemon.json"
    file.write_text(text)
    with pytest.raises(InvalidArgument, match=message):
        parse(["--config-file", str(file), *flags])


def test_a_named_file_must_exist() -> None:
    """The default file may be absent, one that was asked for may not."""
    with pytest.raises(InvalidArgument, match="no such file"):
        parse(["--config-file", "/nowhere/daemon.json"])


def settings_in(root: Path) -> Settings:
    return Settings(data_root=root / "data", exec_root=root / "run", pidfile=root / "pid")


def test_one_daemon_per_data_root(tmp_path: Path) -> None:
    """While a daemon has the data root, another is told which process that is; afterwards it is free."""
    with alone(settings_in(tmp_path)):
        assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"
        with (
            pytest.raises(FailedPrecondition, match=f"another shoald \\(process {os.getpid()}\\)"),
            alone(Settings(data_root=tmp_path / "data", exec_root=tmp_path / "run", pidfile=tmp_path / "other")),
        ):
            pass
        assert not (tmp_path / "other").exists()
    assert not (tmp_path / "pid").exists()
    with alone(settings_in(tmp_path)):
        pass


def test_a_stale_pid_file_is_no_obstacle(tmp_path: Path) -> None:
    """A pid file of a process that is gone, or is something else, is overwritten."""
    (tmp_path / "pid").write_text("1\n")
    with alone(settings_in(tmp_path)):
        assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"


def test_the_lock_is_not_inherited(tmp_path: Path) -> None:
    """What the daemon starts does not keep its data root locked."""
    with alone(settings_in(tmp_path)):
        lock = os.open(tmp_path / "data" / "shoald.lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(lock)


def test_the_engine_keeps_its_id(tmp_path: Path) -> None:
    """The id is made once per data root."""
    first = engine_id(tmp_path)
    assert first
    assert engine_id(tmp_path) == first


def test_readiness_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd's NOTIFY_SOCKET hears READY=1; without one nothing happens."""
    notify("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert ear.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    ("mirror", "words"),
    [
        ("ftp://a", 'unsupported scheme "ftp" in "ftp://a"'), ("mirror.example", '"mirror.example" is not a valid URI'),
        ("https://", "is not a valid URI"), ("https://[", "is not a valid URI"),
        ("https://a/b", 'path, query, or fragment at end of the URI "https://a/b"'),
        ("https://me:secret@a", "username/password not allowed in URI"),
    ],
)  # fmt: skip
def test_mirrors_are_urls(mirror: str, words: str) -> None:
    """Docker's words, and never the password."""
    with pytest.raises(InvalidArgument, match="invalid mirror: ") as told:
        parse(["--registry-mirror", mirror])
    assert words in str(told.value) and "secret" not in str(told.value)
    assert parse(["--registry-mirror", "https://a/", "--registry-mirror=http://b:5000"]).registry_mirrors == [
        "https://a/", "http://b:5000",
    ]  # fmt: skip
