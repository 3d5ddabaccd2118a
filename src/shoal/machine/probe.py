"""Asking a machine's engine whether it is there: TLS checked by the machine's name or by its address."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from shoal.machine.errors import MachineError

RENEW_BEFORE = timedelta(days=60)
"""A certificate with less than this left is replaced at the next occasion, and `ls` says so."""


class Cause(StrEnum):
    """Why an engine could not be asked."""

    OTHER = ""
    REFUSED = "refused"
    TIMEOUT = "timeout"
    EXPIRED = "expired"
    WRONG_HOST = "wrong host"
    UNKNOWN_CA = "unknown authority"
    NOT_ACCEPTED = "not accepted"


_CONTAINERS = "Containers keep running, unless it is a Docker that docker-machine set up."
_ADVICE = {
    Cause.REFUSED: "The machine is reached, but no engine listens there. `provision {name}` starts it, "
    "and its log says why it ended.",
    Cause.TIMEOUT: "Nothing came back. Is the machine running (`status {name}`), and does a VPN or a firewall stand "
    "between?",
    Cause.EXPIRED: f"`regenerate-certs {{name}}` renews it. {_CONTAINERS}",
    Cause.WRONG_HOST: "Either another machine answers there, or this one's certificate is too old to name it: "
    f"`regenerate-certs {{name}}` renews it. {_CONTAINERS}",
    Cause.UNKNOWN_CA: f"The engine has other certificates: `regenerate-certs {{name}}` gives it ours. {_CONTAINERS}",
    Cause.NOT_ACCEPTED: "The engine does not know this store's authority: `regenerate-certs {name}` gives it ours. "
    f"{_CONTAINERS}",
}


class ProbeError(MachineError):
    """The engine could not be asked; the message says why."""

    def __init__(self, message: str, cause: Cause = Cause.OTHER) -> None:
        super().__init__(message)
        self.cause = cause

    def advice(self, name: str) -> str:
        """What the user of machine `name` can do about it; empty where nothing is known."""
        return _ADVICE.get(self.cause, "").format(name=name)


class Engine(NamedTuple):
    """What an engine tells of itself."""

    version: str
    ends: datetime
    """Until when the certificate that it shows is valid."""


def engine(url: str, name: str, directory: Path, timeout: float = 10.0) -> Engine:
    """Ask the engine at `url` (tcp://address:port) of machine `name`. Raises ProbeError."""
    answer = _get(url, name, directory, "/version", timeout)
    if answer.status != http.client.OK:
        raise ProbeError(f"Unable to query docker version: {answer.status} {answer.reason}")
    with _explained(url):
        said: Mapping[str, Any] = json.loads(answer.body)
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(answer.certificate["notAfter"]), UTC)
    return Engine(str(said.get("Version", "")), ends)


def version(url: str, name: str, directory: Path, timeout: float = 10.0) -> str:
    """The version of the engine at `url` (tcp://address:port) of machine `name`. Raises ProbeError."""
    return engine(url, name, directory, timeout).version


def check(url: str, name: str, directory: Path, timeout: float = 20.0) -> None:
    """Whether the engine takes our certificate and we its. Raises ProbeError."""
    _get(url, name, directory, "/_ping", timeout)


def certificate(url: str, name: str, directory: Path, timeout: float = 10.0) -> bytes:
    """The certificate that the engine shows (DER), after it took ours and we it. Raises ProbeError."""
    return _get(url, name, directory, "/_ping", timeout).der


def wait_for_engine(url: str, name: str, directory: Path, timeout: float) -> str:
    """Wait until the engine answers; its version. Raises the last ProbeError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return version(url, name, directory, timeout=5.0)
        except ProbeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.03)


class _Answer(NamedTuple):
    """What came of a request, and the certificate that was shown: as `getpeercert` gives it, and as it is (DER)."""

    status: int
    reason: str
    body: bytes
    certificate: Mapping[str, Any]
    der: bytes


def _get(url: str, name: str, directory: Path, path: str, timeout: float) -> _Answer:
    """Ask the engine. A handshake alone would not do: TLS 1.3 ends it before the engine has judged our certificate."""
    target = urlsplit(url)
    with _explained(url):
        connection = http.client.HTTPConnection(target.hostname or "", target.port or 2376, timeout=timeout)
        connection.sock = secure = _connect(target.hostname or "", target.port or 2376, name, directory, timeout)
        shown, der = secure.getpeercert() or {}, secure.getpeercert(binary_form=True) or b""
        try:
            try:
                connection.request("GET", path, headers={"Host": name})
            except (ssl.SSLEOFError, ConnectionError):
                secure.recv(1)  # an engine that has hung up may have said why: then this raises it
                raise
            response = connection.getresponse()
            return _Answer(response.status, response.reason, response.read(), shown, der)
        finally:
            connection.close()


def _connect(host: str, port: int, name: str, directory: Path, timeout: float) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate is checked against the authority by TLS, against the name below: the machine's, or the address.
    context.check_hostname = False
    context.load_verify_locations(directory / "ca.pem")
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    plain = socket.create_connection((host, port), timeout=timeout)
    try:
        secure = context.wrap_socket(plain)
    except BaseException:
        plain.close()
        raise
    certificate = secure.getpeercert() or {}
    if not names_match(certificate, name, host):
        secure.close()
        raise ProbeError(
            f'There was an error validating certificates for host "{host}:{port}": '
            f"certificate is valid for {_names(certificate)}, not {name} or {host}",
            Cause.WRONG_HOST,
        )
    return secure


def names_match(certificate: Mapping[str, Any], name: str, address: str) -> bool:
    """Whether the certificate (as `getpeercert` gives it) names the machine, or its address."""
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "DNS" and value.lower() in (name.lower(), address.lower()):
            return True
        if kind == "IP Address":
            with contextlib.suppress(ValueError):
                if ipaddress.ip_address(value) == ipaddress.ip_address(address):
                    return True
    return False


@contextlib.contextmanager
def _explained(url: str) -> Any:
    where = urlsplit(url).netloc
    try:
        yield
    except MachineError:
        raise
    except ssl.SSLCertVerificationError as fault:
        cause = _CAUSES.get(fault.verify_code, Cause.OTHER)
        reason = _WORDS.get(cause, fault.verify_message)
        raise ProbeError(f'There was an error validating certificates for host "{where}": {reason}', cause) from fault
    except ssl.SSLError as fault:
        refused = "ALERT" in (fault.reason or "")
        raise ProbeError(
            f'There was an error validating certificates for host "{where}": {fault.reason or fault}',
            Cause.NOT_ACCEPTED if refused else Cause.OTHER,
        ) from fault
    except FileNotFoundError as fault:
        raise ProbeError("a certificate is missing in the machine's directory (ca.pem, cert.pem, key.pem)") from fault
    except TimeoutError as fault:
        raise ProbeError(f"Cannot connect to the docker engine endpoint {where}: i/o timeout", Cause.TIMEOUT) from fault
    except (OSError, http.client.HTTPException, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
        cause = Cause.REFUSED if isinstance(fault, ConnectionRefusedError) else Cause.OTHER
        raise ProbeError(f"Cannot connect to the docker engine endpoint {where}: {reason.lower()}", cause) from fault


# X509_V_ERR_*: openssl/x509_vfy.h
_CAUSES = {9: Cause.EXPIRED, 10: Cause.EXPIRED,
           **dict.fromkeys((2, 7, 18, 19, 20, 21), Cause.UNKNOWN_CA)}  # fmt: skip
_WORDS = {
    Cause.EXPIRED: "certificate has expired or is not yet valid",
    Cause.UNKNOWN_CA: "certificate signed by unknown authority",
}


def _names(certificate: Mapping[str, Any]) -> str:
    return ", ".join(value for _, value in certificate.get("subjectAltName", ())) or "nothing"
