"""Why an engine cannot be asked: every reason has its own words, and its own advice."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shoal.machine import certs, probe
from shoal.machine.probe import Cause

NOW = datetime.now(UTC)


def identities(folder: Path) -> certs.Pair:
    """A machine's directory: authority and client; the authority."""
    folder.mkdir()
    authority = certs.Pair(folder / "ca.pem", folder / "ca-key.pem")
    certs.ensure_authority(authority, NOW)
    certs.ensure_client(certs.Pair(folder / "cert.pem", folder / "key.pem"), authority, NOW)
    return authority


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@contextmanager
def engine(trusts: Path, server: certs.Pair, version: ssl.TLSVersion, status: str = "200 OK") -> Iterator[str]:
    """Something that takes one connection, and answers whom it trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server)
    context.load_verify_locations(trusts)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def shake() -> None:
            connection, _ = listener.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as link:
                    link.recv(4096)
                    link.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nOK".encode())
            except (ssl.SSLError, OSError):
                connection.close()

        thread = threading.Thread(target=shake)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


@pytest.mark.parametrize(
    ("names", "issued", "authority", "cause", "words"),
    [
        (["other"], NOW, "ours", Cause.WRONG_HOST, "certificate is valid for other, not m1 or 127.0.0.1"),
        (["m1"], NOW - timedelta(days=2000), "ours", Cause.EXPIRED, "certificate has expired or is not yet valid"),
        (["m1"], NOW, "theirs", Cause.UNKNOWN_CA, "certificate signed by unknown authority"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_certificates_fail_in_different_ways(
    tmp_path: Path,
    version: ssl.TLSVersion,
    names: list[str],
    issued: datetime,
    authority: str,
    cause: Cause,
    words: str,
) -> None:
    """Another host, an expired certificate and an unknown authority are told apart, and each has its own advice."""
    signers = {"ours": identities(tmp_path / "ours"), "theirs": identities(tmp_path / "theirs")}
    server = certs.Pair(tmp_path / "server.pem", tmp_path / "server-key.pem")
    certs.issue_server(server, signers[authority], "m1", names, issued)
    with engine(tmp_path / "ours/ca.pem", server, version) as url, pytest.raises(probe.ProbeError) as failure:
        probe.check(url, "m1", tmp_path / "ours", 60)
    assert (failure.value.cause, words in str(failure.value)) == (cause, True), failure.value
    assert "m1" in failure.value.advice("m1")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("ask", [probe.check, probe.certificate, probe.version])
def test_an_engine_that_does_not_take_ours_is_told_apart(
    tmp_path: Path, version: ssl.TLSVersion, ask: Callable[..., object]
) -> None:
    """The machine trusts another store: the advice is to provision it."""
    ours, theirs = identities(tmp_path / "ours"), identities(tmp_path / "theirs")
    server = certs.Pair(tmp_path / "server.pem", tmp_path / "server-key.pem")
    certs.issue_server(server, ours, "m1", ["m1"], NOW)
    for _ in range(10):
        with engine(theirs.certificate, server, version) as url, pytest.raises(probe.ProbeError) as failure:
            ask(url, "m1", tmp_path / "ours", 60)
        assert failure.value.cause is Cause.NOT_ACCEPTED, failure.value


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_that_takes_ours_shows_its_own(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Both sides agree: the certificate is the engine's."""
    ours = identities(tmp_path / "ours")
    server = certs.Pair(tmp_path / "server.pem", tmp_path / "server-key.pem")
    certs.issue_server(server, ours, "m1", ["m1"], NOW)
    with engine(ours.certificate, server, version) as url:
        shown = probe.certificate(url, "m1", tmp_path / "ours", 60)
    assert shown == ssl.PEM_cert_to_DER_cert(server.certificate.read_text())


def test_a_status_of_ones_own_is_told(tmp_path: Path) -> None:
    """What stands between may answer with a status that no list has."""
    ours = identities(tmp_path / "ours")
    server = certs.Pair(tmp_path / "server.pem", tmp_path / "server-key.pem")
    certs.issue_server(server, ours, "m1", ["m1"], NOW)
    with (
        engine(ours.certificate, server, VERSIONS[1], "520 Web Server Is Down") as url,
        pytest.raises(probe.ProbeError, match="520 Web Server Is Down"),
    ):
        probe.version(url, "m1", tmp_path / "ours", 60)


def test_nobody_there_and_nothing_back_are_told_apart(tmp_path: Path) -> None:
    """A refused connection is not a timeout, and neither is blamed on certificates."""
    identities(tmp_path / "ours")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(probe.ProbeError, match="i/o timeout") as failure:
            probe.check(f"tcp://127.0.0.1:{silent.getsockname()[1]}", "m1", tmp_path / "ours", 0.2)
        assert failure.value.cause is Cause.TIMEOUT
        port = silent.getsockname()[1]
    with pytest.raises(probe.ProbeError, match="connection refused") as failure:
        probe.check(f"tcp://127.0.0.1:{port}", "m1", tmp_path / "ours", 60)
    assert failure.value.cause is Cause.REFUSED
