"""Where the API listens: `unix:///path`, `tcp://host:port`, `fd://`, with or without TLS."""

from __future__ import annotations

import grp
import os
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from shoal.model.errors import InvalidArgument

DEFAULT_HOST = "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class TlsOptions:
    """Certificate and key of this daemon (PEM files); with `verify`, clients need a certificate that `ca` signed."""

    cert: Path
    key: Path
    ca: Path | None = None
    verify: bool = False

    def context(self) -> ssl.SSLContext:
        """The server's TLS settings. Raises InvalidArgument, naming the file, when one cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as fault:
            raise InvalidArgument(
                f"could not load X509 key pair (cert: {self.cert}, key: {self.key}): {fault}"
            ) from None
        if self.verify:
            if self.ca is None:
                raise InvalidArgument("--tlsverify needs --tlscacert: the CA that signs the clients' certificates")
            try:
                context.load_verify_locations(self.ca)
            except (OSError, ssl.SSLError) as fault:
                raise InvalidArgument(f"could not read CA certificate {self.ca}: {fault}") from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@contextmanager
def listening(hosts: Iterable[str], *, tls: bool) -> Iterator[list[socket.socket]]:
    """A scope in which there is a listening socket for each of `hosts`; clients queue there until they are answered.

    Raises what `open_socket` raises; then none stays open. Unix sockets are removed at the end.
    """
    with ExitStack() as undo:
        opened = []
        for host in hosts:
            listener = open_socket(host, tls=tls)
            undo.callback(_shut, listener)
            opened.append(listener)
        yield opened


def _shut(listener: socket.socket) -> None:
    if listener.family == socket.AF_UNIX:
        Path(listener.getsockname()).unlink(missing_ok=True)
    listener.close()


def address(listener: socket.socket) -> str:
    """Where `listener` listens, as `-H` has it."""
    name = listener.getsockname()
    return f"unix://{name}" if listener.family == socket.AF_UNIX else f"tcp://{name[0]}:{name[1]}"


def open_socket(host: str, *, tls: bool) -> socket.socket:
    """A listening socket for `host` (docker's `-H` grammar). Raises InvalidArgument; OSError when it is taken."""
    scheme, found, rest = host.partition("://")
    if not found:
        scheme, rest = "tcp", host
    if scheme == "unix":
        return _unix(Path(rest or "/var/run/docker.sock"))
    if scheme == "tcp":
        return _tcp(rest, 2376 if tls else 2375)
    if scheme == "fd":
        return _activated()
    raise InvalidArgument(f"invalid bind address ({host}): unsupported proto '{scheme}'")


def _unix(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_socket():
        _refuse_if_served(path)
        path.unlink()
    elif path.is_dir():
        raise InvalidArgument(f"can't create unix socket {path}: is a directory")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(old)
    try:
        os.chown(path, -1, grp.getgrnam("docker").gr_gid)
    except KeyError:
        pass
    listener.listen(1024)
    return listener


def _refuse_if_served(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise InvalidArgument(f"can't create unix socket {path}: another daemon is listening on it")


def _tcp(rest: str, default_port: int) -> socket.socket:
    name, _, port = rest.rstrip("/").rpartition(":") if ":" in rest.rpartition("]")[2] else (rest, "", "")
    try:
        number = int(port) if port else default_port
    except ValueError:
        raise InvalidArgument(f"invalid bind address (tcp://{rest}): invalid port {port}") from None
    name = name.strip("[]") or "127.0.0.1"
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((name, number))
    except OSError as fault:
        listener.close()
        raise InvalidArgument(f"cannot listen on tcp://{name}:{number}: {fault.strerror}") from None
    listener.listen(1024)
    return listener


def _activated() -> socket.socket:
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS", "0") == "0":
        raise InvalidArgument("no sockets found via socket activation: make sure the service was started by systemd")
    return socket.socket(fileno=3)
