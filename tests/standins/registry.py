"""A registry in this process that does what a real one does only by chance: it keeps several requests waiting until
all are there, breaks off in the middle, forgets its tokens. It remembers what it was asked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web

SERVICE = "stand-in"


class Asked(NamedTuple):
    """A request for a blob, and the bytes of it that were wanted."""

    digest: str
    range: str


class Registry:
    """Manifests and blobs in memory; `accounts` (name -> password) makes it ask for a token."""

    def __init__(self, accounts: dict[str, str] | None = None) -> None:
        self.host = ""
        self.accounts = accounts or {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.scopes: list[str] = []
        """What tokens were given for."""
        self.gather: set[str] = set()
        """None of these blobs is answered before all of them have been asked for."""
        self.break_after = 0
        """A blob that is bigger breaks off after so many bytes, the first time it is asked for, and once `arrived` is set."""
        self.arrived = asyncio.Event()
        self._manifests: dict[str, tuple[str, bytes]] = {}
        self._tokens: dict[str, str] = {}
        self._all_there = asyncio.Event()

    def forget_tokens(self) -> None:
        """As if so much time had passed that they are no longer valid."""
        self._tokens.clear()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Registry]:
        """Answer on a loopback port of its own: `host`."""
        app = web.Application(middlewares=[self._allow], client_max_size=1 << 30)
        app.router.add_get("/v2/", self._base)
        app.router.add_get("/token", self._token)
        app.router.add_get("/v2/{name:.+}/manifests/{what}", self._manifest)
        app.router.add_put("/v2/{name:.+}/manifests/{what}", self._put_manifest)
        app.router.add_get("/v2/{name:.+}/blobs/{digest}", self._blob)
        app.router.add_post("/v2/{name:.+}/blobs/uploads/", self._begin)
        app.router.add_put("/v2/{name:.+}/blobs/uploads/{id}", self._upload)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.host = "{}:{}".format(*runner.addresses[0][:2])
            yield self
        finally:
            await runner.cleanup()

    @web.middleware
    async def _allow(self, request: web.Request, handler: object) -> web.StreamResponse:
        name = request.match_info.get("name", "")
        if self.accounts and request.path != "/token":
            granted = self._tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
            action = "pull" if request.method in ("GET", "HEAD") else "push"
            if granted is None or (name and not _covers(granted, name, action)):
                scope = f',scope="repository:{name}:{action}"' if name else ""
                challenge = f'Bearer realm="http://{self.host}/token",service="{SERVICE}"{scope}'
                body = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
                return web.json_response(body, status=401, headers={"WWW-Authenticate": challenge})
        return await handler(request)  # type: ignore[operator, no-any-return]

    async def _token(self, request: web.Request) -> web.Response:
        header = request.headers.get("Authorization", "").removeprefix("Basic ")
        user, _, password = base64.b64decode(header).decode().partition(":")
        if self.accounts.get(user) != password or request.query["service"] != SERVICE:
            return web.json_response({"details": "incorrect username or password"}, status=401)
        token, scope = secrets.token_hex(8), request.query.get("scope", "")
        self._tokens[token] = scope
        self.scopes.append(scope)
        return web.json_response({"token": token, "expires_in": 60})

    async def _base(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _manifest(self, request: web.Request) -> web.Response:
        found = self._manifests.get(f"{request.match_info['name']}@{request.match_info['what']}")
        if found is None:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        return web.Response(body=found[1], content_type=found[0])

    async def _put_manifest(self, request: web.Request) -> web.Response:
        name, data = request.match_info["name"], await request.read()
        for what in (request.match_info["what"], _digest(data)):
            self._manifests[f"{name}@{what}"] = (request.content_type, data)
        return web.Response(status=201)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        digest, wanted = request.match_info["digest"], request.headers.get("Range", "")
        if digest not in self.blobs:
            return web.json_response({"errors": [{"code": "BLOB_UNKNOWN"}]}, status=404)
        data = self.blobs[digest]
        if request.method == "HEAD":
            return web.Response(headers={"Content-Length": str(len(data))})
        first = all(asked.digest != digest for asked in self.asked)
        self.asked.append(Asked(digest, wanted))
        if digest in self.gather:
            await self._gathered()
        start = int(wanted.removeprefix("bytes=").removesuffix("-") or 0)
        response = web.StreamResponse(status=206 if wanted else 200)
        response.content_length = len(data) - start
        await response.prepare(request)
        if 0 < self.break_after < len(data) and first:
            await response.write(data[start : start + self.break_after])
            await self.arrived.wait()
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(data[start:])
        return response

    async def _gathered(self) -> None:
        if self.gather <= {asked.digest for asked in self.asked}:
            self._all_there.set()
        async with asyncio.timeout(10):  # a client that asks for one after the other gets nothing
            await self._all_there.wait()

    async def _begin(self, request: web.Request) -> web.Response:
        return web.Response(status=202, headers={"Location": f"{request.path}{secrets.token_hex(4)}"})

    async def _upload(self, request: web.Request) -> web.Response:
        data = await request.read()
        if _digest(data) != request.query["digest"]:
            return web.json_response({"errors": [{"code": "DIGEST_INVALID"}]}, status=400)
        self.blobs[_digest(data)] = data
        return web.Response(status=201)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _covers(scope: str, name: str, action: str) -> bool:
    """Whether `repository:<name>:<actions>` allows `action`."""
    _, granted, actions = scope.split(":") if scope else ("", "", "")
    return granted == name and action in actions.split(",")
