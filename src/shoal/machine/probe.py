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
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shoal.machine.errors import MachineError


class Cause(StrEnum):
    """Why an engine could not be asked."""

    OTHER = ""
    REFUSED = "refused"
    TIMEOUT = "timeout"
    EXPIRED = "expired"
    WRONG_HOST = "wrong host"
    UNKNOWN_CA = "unknown authority"
    NOT_ACCEPTED = "not accepted"


_ADVICE = {
    Cause.REFUSED: "The machine is reached, but no engine listens there. `provision {name}` starts it, "
    "and its log says why it ended.",
    Cause.TIMEOUT: "Nothing came back. Is the machine running (`status {name}`), and does a VPN or a firewall stand "
    "between?",
    Cause.EXPIRED: "`regenerate-certs {name}` renews it. Containers keep running.",
    Cause.WRONG_HOST: "Either another machine answers there, or this one's certificate is too old to name it: "
    "`regenerate-certs {name}` renews it. Containers keep running.",
    Cause.UNKNOWN_CA: "The engine has another store's certificates: `provision {name}` gives it this one's.",
    Cause.NOT_ACCEPTED: "The engine does not know this store's authority: `provision {name}` gives it ours.",
}


class ProbeError(MachineError):
    """The engine could not be asked; the message says why."""

    def __init__(self, message: str, cause: Cause = Cause.OTHER) -> None:
        super().__init__(message)
        self.cause = cause

    def advice(self, name: str) -> str:
        """What the user of machine `name` can do about it; empty where nothing is known."""
        return _ADVICE.get(self.cause, "").format(name=name)


def version(url: str, name: str, directory: Path, timeout: float = 10.0) -> str:
    """The version of the engine at `url` (tcp://address:port) of machine `name`. Raises ProbeError."""
    answer = _get(url, name, directory, "/version", timeout)
    return str(answer.get("Version", ""))


def check(url: str, name: str, directory: Path, timeout: float = 20.0) -> None:
    """Whether the engine takes our certificate and we its. Raises ProbeError."""
    target = urlsplit(url)
    with _explained(url), _connect(target.hostname or "", target.port or 2376, name, directory, timeout):
        pass


def certificate(url: str, name: str, directory: Path, timeout: float = 10.0) -> bytes:
    """The certificate that the engine shows (DER), after it took ours and we it. Raises ProbeError."""
    target = urlsplit(url)
    with (
        _explained(url),
        _connect(target.hostname or "", target.port or 2376, name, directory, timeout) as connection,
    ):
        return connection.getpeercert(binary_form=True) or b""


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


def wait_for_ssh(host: str, port: int, timeout: float) -> None:
    """Wait until sshd says hello. Raises MachineError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1) as connection:
            if connection.recv(4) == b"SSH-":
                connection.sendall(b"SSH-2.0-shoal\r\n")
                return
        time.sleep(0.02)
    raise MachineError(f"Too many retries waiting for SSH to be available.  Nothing answers at {host}:{port}")


def _get(url: str, name: str, directory: Path, path: str, timeout: float) -> Mapping[str, Any]:
    target = urlsplit(url)
    with _explained(url):
        connection = http.client.HTTPConnection(target.hostname or "", target.port or 2376, timeout=timeout)
        connection.sock = _connect(target.hostname or "", target.port or 2376, name, directory, timeout)
        try:
            connection.request("GET", path, headers={"Host": name})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise ProbeError(f"Unable to query docker version: {response.status} {response.reason}")
        answer: Mapping[str, Any] = json.loads(body)
        return answer


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
            f'There was an error validating certificates for host "{where}": {fault.reason}',
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
