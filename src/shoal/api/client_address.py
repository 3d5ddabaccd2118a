"""Where the daemon is: `-H`, DOCKER_HOST, and the TLS settings that go with them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

DEFAULT_UNIX = "unix:///var/run/docker.sock"


class AddressFault(ValueError):
    """Not an address of a daemon."""


class Tls:
    """Client certificates: PEM files; without `verify` the server may be anybody (docker's `--tls`)."""

    def __init__(self, ca: str, cert: str, key: str, *, verify: bool) -> None:
        self.ca, self.cert, self.key, self.verify = ca, cert, key, verify

    def context(self) -> ssl.SSLContext:
        """The certificates and checks, for any number of connections. Raises OSError (ssl.SSLError is one)."""
        import ssl

        context = ssl.create_default_context(cafile=self.ca if self.verify and os.path.exists(self.ca) else None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if os.path.exists(self.cert) or os.path.exists(self.key):
            context.load_cert_chain(self.cert, self.key)
        return context

    def wrap(self, sock: socket.socket, host: str) -> socket.socket:
        """The socket with TLS around it. Raises OSError."""
        return self.context().wrap_socket(sock, server_hostname=host)


class Address:
    """A daemon's address: `url` as the user gave it, and how to connect to it."""

    def __init__(self, url: str, tls: Tls | None = None) -> None:
        """Raises AddressFault for what is not `unix://path` or `tcp://host:port`."""
        scheme, separator, rest = url.partition("://")
        if not separator:
            scheme, rest = "tcp", url
        if scheme not in ("unix", "tcp", "http", "https") or not rest:
            raise AddressFault(f"unable to parse docker host `{url}`" if not rest else _unsupported(scheme))
        self.url = f"{scheme}://{rest}"
        self.tls = tls
        self.path = rest if scheme == "unix" else ""
        self.host, self.port = ("", 0) if self.path else _host_port(rest, 2376 if tls else 2375)

    def connect(self) -> socket.socket:
        """A connected socket. Raises OSError."""
        if self.path:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(self.path)
            except BaseException:
                sock.close()
                raise
            return sock
        sock = socket.create_connection((self.host, self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.tls:
            return sock
        try:
            return self.tls.wrap(sock, self.host)
        except BaseException:
            sock.close()
            raise


def _unsupported(scheme: str) -> str:
    if scheme == "npipe":
        return "named pipes are not supported: set DOCKER_HOST to a tcp:// address"
    return f"unsupported protocol scheme {scheme}: use unix:// or tcp://"


def _host_port(text: str, default: int) -> tuple[str, int]:
    text = text.partition("/")[0]
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default)
    if not port.isdigit():
        raise AddressFault(f"invalid port in docker host: {text}")
    return host.strip("[]") or "127.0.0.1", int(port)


def config_dir(environ: Mapping[str, str]) -> str:
    """Where docker's client keeps its files: DOCKER_CONFIG, else `~/.docker`."""
    return environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")


def from_environment(
    environ: Mapping[str, str],
    host: str = "",
    *,
    tls: bool = False,
    verify: bool | None = None,
    files: Mapping[str, str] | None = None,
) -> Address:
    """The address that DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say, unless the arguments say otherwise.

    `files` overrides `ca`, `cert` and `key`. Raises AddressFault.
    """
    if verify is None:
        verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    directory = environ.get("DOCKER_CERT_PATH") or config_dir(environ)
    settings = None
    if tls or verify:
        paths = {
            name: (files or {}).get(name) or os.path.join(directory, f"{name}.pem") for name in ("ca", "cert", "key")
        }
        settings = Tls(paths["ca"], paths["cert"], paths["key"], verify=verify)
    url = host or environ.get("DOCKER_HOST") or ""
    if not url and sys.platform == "win32":
        raise AddressFault("no daemon to talk to: set DOCKER_HOST, for example with `shoal machine env`")
    return Address(url or DEFAULT_UNIX, settings)
