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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shoal.machine.errors import MachineError


class ProbeError(MachineError):
    """The engine could not be asked; the message says why."""


def version(url: str, name: str, directory: Path, timeout: float = 10.0) -> str:
    """The version of the engine at `url` (tcp://address:port) of machine `name`. Raises ProbeError."""
    answer = _get(url, name, directory, "/version", timeout)
    return str(answer.get("Version", ""))


def check(url: str, name: str, directory: Path, timeout: float = 20.0) -> None:
    """Whether the engine takes our certificate and we its. Raises ProbeError."""
    target = urlsplit(url)
    with _explained(url), _connect(target.hostname or "", target.port or 2376, name, directory, timeout):
        pass


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
    if not names_match(secure.getpeercert() or {}, name, host):
        secure.close()
        raise ProbeError(f"the certificate of {host}:{port} is valid neither for {name} nor for {host}")
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
        raise ProbeError(f'There was an error validating certificates for host "{where}": {_verify(fault)}') from fault
    except ssl.SSLError as fault:
        raise ProbeError(f'There was an error validating certificates for host "{where}": {fault.reason}') from fault
    except FileNotFoundError as fault:
        raise ProbeError("a certificate is missing in the machine's directory (ca.pem, cert.pem, key.pem)") from fault
    except TimeoutError as fault:
        raise ProbeError(f"Cannot connect to the docker engine endpoint {where}: i/o timeout") from fault
    except (OSError, http.client.HTTPException, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
        raise ProbeError(f"Cannot connect to the docker engine endpoint {where}: {reason.lower()}") from fault


def _verify(fault: ssl.SSLCertVerificationError) -> str:
    known = {10: "certificate has expired or is not yet valid", 9: "certificate has expired or is not yet valid",
             18: "certificate signed by unknown authority", 19: "certificate signed by unknown authority",
             20: "certificate signed by unknown authority", 7: "certificate signed by unknown authority"}  # fmt: skip
    return known.get(fault.verify_code, fault.verify_message)
