"""The registries: where each is, whether it may be talked to without TLS, which mirrors stand before it."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from shoal import __version__
from shoal.engine.registry import RegistrySession
from shoal.model.engine import AuthConfig

DOCKER_HUB = "docker.io"

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)


class Registries:
    """Which registries may be talked to without TLS, and how each is reached.

    `mirrors` are URLs of what has copies of Docker Hub's images. `insecure` has hosts (`host[:port]`) and networks
    (CIDR); loopback always belongs to them, as in docker. Certificates of a registry's own CA are read from
    `<certs>/<host>/*.crt`.
    """

    def __init__(
        self, insecure: tuple[str, ...] = (), mirrors: tuple[str, ...] = (), certs: Path = Path("/etc/docker/certs.d")
    ) -> None:
        self._hosts = {entry for entry in insecure if "/" not in entry}
        networks = [entry for entry in insecure if "/" in entry]
        self._networks = [ipaddress.ip_network(entry) for entry in ("127.0.0.0/8", "::1/128", *networks)]
        self._mirrors, self._certs = mirrors, certs

    def mirrors_of(self, domain: str) -> tuple[str, ...]:
        """Where to ask first for images of `domain`."""
        return self._mirrors if domain == DOCKER_HUB else ()

    def insecure(self, host: str) -> bool:
        """Whether `host` may answer over plain HTTP or with a certificate that nobody vouches for."""
        name = re.sub(r":\d+$", "", host)
        if host in self._hosts or name in self._hosts or name == "localhost":
            return True
        try:
            return any(ipaddress.ip_address(name.strip("[]")) in network for network in self._networks)
        except ValueError:
            return False

    @asynccontextmanager
    async def session(
        self, domain: str, auth: AuthConfig | None, scope: str = "", *, mirror: str = ""
    ) -> AsyncIterator[RegistrySession]:
        """A logged-in session with the registry of `domain`, for `scope` (`repository:a/b:pull`), or with a `mirror` of
        it, which is not told any credentials.

        Raises Unavailable when it cannot be reached, Unauthenticated when it refuses the credentials.
        """
        host = "registry-1.docker.io" if domain == DOCKER_HUB else domain
        schemes: tuple[str, ...] = ("https", "http") if self.insecure(host) else ("https",)
        if mirror:
            scheme, _, host = mirror.rstrip("/").partition("://")
            schemes, auth = (scheme,), None
        context = self._tls(host)
        connector = aiohttp.TCPConnector(ssl=context, limit=16)
        async with aiohttp.ClientSession(
            connector=connector, timeout=_TIMEOUT, headers={"User-Agent": f"shoal/{__version__}"}, auto_decompress=False
        ) as http:
            session = RegistrySession(http, host, auth, scope)
            await session.open(schemes)
            yield session

    def _tls(self, host: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        folder = self._certs / host
        for certificate in sorted(folder.glob("*.crt")) if folder.is_dir() else ():
            context.load_verify_locations(certificate)
        if self.insecure(host):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
