"""A registry's HTTP API (OCI distribution specification): how to log in, manifests and blobs."""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import urljoin

import aiohttp

from shoal.engine import manifest as manifests
from shoal.engine.blobs import CHUNK
from shoal.model.base import Struct, decode
from shoal.model.engine import AuthConfig
from shoal.model.errors import NotFound, PermissionDenied, ShoalError, Unauthenticated, Unavailable
from shoal.model.reference import Reference, familiar

_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class _Token(Struct, frozen=True, rename=None):
    token: str = ""
    access_token: str = ""


class _Error(Struct, frozen=True, rename="lower"):
    code: str = ""
    message: str = ""


class _Errors(Struct, frozen=True, rename="lower"):
    errors: list[_Error] = []


class RegistrySession:
    """One registry, for one scope. Made by `registries.Registries.session`."""

    def __init__(self, http: aiohttp.ClientSession, host: str, auth: AuthConfig | None, scope: str) -> None:
        self._http, self._host, self._auth, self._scope = http, host, auth, scope
        self.base = ""
        self._headers: dict[str, str] = {}

    async def open(self, schemes: tuple[str, ...]) -> None:
        """Find the registry's scheme and answer its challenge."""
        failure: Exception | None = None
        for scheme in schemes:
            url = f"{scheme}://{self._host}/v2/"
            try:
                async with self._http.get(url) as response:
                    self.base = url
                    if response.status == 401:
                        await self._answer(response.headers.get("WWW-Authenticate", ""))
                    return
            except (aiohttp.ClientError, OSError, TimeoutError) as fault:
                failure = fault
        raise Unavailable(f'Get "https://{self._host}/v2/": {_words(failure)}') from failure

    async def _answer(self, challenge: str) -> None:
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic":
            if basic := _basic(self._auth):
                self._headers["Authorization"] = basic
                async with self._http.get(self.base, headers=self._headers) as response:
                    if response.status == 401:
                        raise Unauthenticated(f"login attempt to {self.base} failed with status: 401 Unauthorized")
        elif kind.lower() == "bearer":
            self._headers["Authorization"] = f"Bearer {await self._token(dict(_CHALLENGE.findall(rest)))}"

    async def _token(self, challenge: Mapping[str, str]) -> str:
        """A token from the registry's own authority; with an identity token through its OAuth2 form."""
        if self._auth and self._auth.registrytoken:
            return self._auth.registrytoken
        wanted = {"service": challenge.get("service", "")}
        if scope := self._scope or challenge.get("scope", ""):
            wanted["scope"] = scope
        realm = challenge.get("realm", "")
        if self._auth and self._auth.identitytoken:
            form = {
                **wanted,
                "grant_type": "refresh_token",
                "refresh_token": self._auth.identitytoken,
                "client_id": "shoal",
            }
            request = self._http.post(realm, data=form)
        else:
            basic = _basic(self._auth)
            request = self._http.get(realm, params=wanted, headers={"Authorization": basic} if basic else {})
        async with request as response:
            body = await response.read()
            if response.status in (401, 403):
                raise Unauthenticated(f'Get "{self.base}": unauthorized: incorrect username or password')
            if response.status != 200:
                raise Unavailable(f'Get "{realm}": received unexpected HTTP status: {response.status}')
            token = decode(body, _Token)
            return token.token or token.access_token

    async def check(self) -> None:
        """Prove that the credentials are good. Raises Unauthenticated."""
        async with self._http.get(self.base, headers=self._headers) as response:
            if response.status == 401:
                raise Unauthenticated(f"login attempt to {self.base} failed with status: 401 Unauthorized")
            if response.status >= 400:
                raise Unavailable(f"login attempt to {self.base} failed with status: {response.status}")

    async def manifest(self, reference: Reference, name: str) -> tuple[str, str, bytes]:
        """Digest, media type and bytes of the manifest called `name` (a tag or a digest)."""
        url = f"{self.base}{reference.path}/manifests/{name}"
        headers = {"Accept": ", ".join(manifests.ACCEPT)}
        async with self._request("GET", url, headers=headers) as response:
            if response.status == 404:
                raise NotFound(f"manifest for {familiar(reference)} not found: manifest unknown: manifest unknown")
            await self._refuse(response, reference)
            data = await response.read()
            return response.headers.get("Docker-Content-Digest", ""), response.content_type, data

    async def fetch(self, reference: Reference, digest: str, target: Path, seen: Callable[[int], None]) -> None:
        """Download a blob to `target`, continuing what is there; `seen` hears how many bytes are there.

        A connection that breaks is tried again from where it stopped, five times.
        """
        url = f"{self.base}{reference.path}/blobs/{digest}"
        for attempt in range(5):
            try:
                await self._fetch_once(reference, url, target, seen)
                return
            except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, TimeoutError) as fault:
                if attempt == 4:
                    raise Unavailable(f'Get "{url}": {fault or "timeout"}') from fault
                await asyncio.sleep(0.2 * 2**attempt)

    async def _fetch_once(self, reference: Reference, url: str, target: Path, seen: Callable[[int], None]) -> None:
        have = target.stat().st_size if target.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        async with self._request("GET", url, headers=headers) as response:
            if response.status == 416:
                return
            await self._refuse(response, reference)
            with target.open("ab" if response.status == 206 else "wb") as file:
                have = file.tell()
                async for chunk in response.content.iter_chunked(CHUNK):
                    await asyncio.to_thread(file.write, chunk)
                    have += len(chunk)
                    seen(have)

    async def has_blob(self, reference: Reference, digest: str) -> bool:
        """Whether the repository has the blob."""
        url = f"{self.base}{reference.path}/blobs/{digest}"
        async with self._request("HEAD", url) as response:
            return response.status == 200

    async def upload(self, reference: Reference, digest: str, source: Path, sent: Callable[[int], None]) -> None:
        """Upload a blob in one piece; `sent` hears how many bytes have gone."""
        async with self._request("POST", f"{self.base}{reference.path}/blobs/uploads/") as start:
            await self._refuse(start, reference)
            location = urljoin(self.base, start.headers["Location"])
        url = f"{location}{'&' if '?' in location else '?'}digest={digest}"
        size = source.stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        async with self._request("PUT", url, headers=headers, data=lambda: _chunks(source, sent)) as done:
            await self._refuse(done, reference)

    async def put_manifest(self, reference: Reference, name: str, media_type: str, data: bytes) -> None:
        """Publish a manifest under `name` (a tag or its digest)."""
        url = f"{self.base}{reference.path}/manifests/{name}"
        async with self._request("PUT", url, headers={"Content-Type": media_type}, data=lambda: data) as response:
            await self._refuse(response, reference)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Callable[[], object] = lambda: None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        def send() -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
            return self._http.request(method, url, headers={**self._headers, **(headers or {})}, data=data())

        try:
            async with send() as response:
                challenge = response.headers.get("WWW-Authenticate", "")
                renew = response.status == 401 and challenge.lower().startswith("bearer ")
                if not renew:
                    yield response
            if renew:  # a token lasts for minutes, a big image may take longer
                await self._answer(challenge)
                async with send() as response:
                    yield response
        except aiohttp.ClientConnectorError as fault:
            raise Unavailable(f'{method.capitalize()} "{url}": {fault}') from fault

    async def _refuse(self, response: aiohttp.ClientResponse, reference: Reference) -> None:
        """Raise what the registry's error status means, in docker's words."""
        if response.status < 400:
            return
        try:
            errors = decode(await response.read(), _Errors).errors
        except ShoalError:
            errors = []
        unknown = _Error(code="UNKNOWN", message=f"received unexpected HTTP status: {response.status}")
        first = errors[0] if errors else unknown
        code = first.code.lower().replace("_", " ")
        detail = f"{code}: {first.message}" if first.message else code
        writing = response.method not in ("GET", "HEAD")
        if response.status in (401, 403):
            if writing:
                raise PermissionDenied(detail)
            name = familiar(Reference(domain=reference.domain, path=reference.path))
            raise NotFound(
                f"pull access denied for {name}, repository does not exist or may require 'docker login': {detail}"
            )
        if response.status == 404:
            raise NotFound(f"{familiar(reference)}: {detail}")
        raise Unavailable(detail)


def _words(fault: Exception | None) -> str:
    """Why nobody can be reached, as Go says it."""
    if isinstance(fault, TimeoutError):
        return "context deadline exceeded"
    if isinstance(fault, aiohttp.ClientConnectorError) and not isinstance(fault, aiohttp.ClientSSLError):
        reason = os.strerror(fault.os_error.errno).lower() if fault.os_error.errno else str(fault.os_error)
        return f"dial tcp {fault.host}:{fault.port}: connect: {reason}"
    return str(fault)


def _basic(auth: AuthConfig | None) -> str:
    if auth is None:
        return ""
    if auth.username:
        return "Basic " + base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
    return f"Basic {auth.auth}" if auth.auth else ""


async def _chunks(source: Path, sent: Callable[[int], None]) -> AsyncIterator[bytes]:
    total = 0
    with source.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
            total += len(chunk)
            sent(total)
