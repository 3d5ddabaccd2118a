"""One request: what a handler gets, and the plain answers that it gives."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from shoal.api.auth import decode_auth
from shoal.api.body import decode_body, decode_json
from shoal.api.context import Context
from shoal.api.times import parse_time
from shoal.api.versions import ApiVersion
from shoal.model import filters
from shoal.model.engine import AuthConfig
from shoal.model.errors import InvalidArgument

T = TypeVar("T")


class Call:
    """A request that was matched to a route: its parameters, query, body and the daemon's parts."""

    def __init__(self, request: web.BaseRequest, version: ApiVersion, params: dict[str, str], context: Context):
        self.request = request
        self.version = version
        self.params = params
        self.context = context

    # --- query

    def query(self, name: str, default: str = "") -> str:
        """The first value of a query parameter. Raises InvalidArgument for one with a NUL."""
        text = self.request.query.get(name, default)
        if "\0" in text:
            raise InvalidArgument(f"invalid value {text!r} for {name}: it has a NUL character")
        return text

    def flag(self, name: str) -> bool:
        """A query parameter as docker reads a boolean."""
        return filters.truth(self.request.query.get(name))

    def number(self, name: str) -> int | None:
        """A query parameter as an integer; None when absent. Raises InvalidArgument."""
        text = self.query(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise InvalidArgument(f'invalid value "{text}" for {name}: must be an integer') from None

    def moment(self, name: str) -> datetime | None:
        """A query parameter as a time (see `times.parse_time`)."""
        return parse_time(self.query(name), self.context.clock.now())

    def filters(self, allowed: Iterable[str]) -> filters.Filters:
        """The `filters` query. Raises InvalidArgument for a key that is not `allowed`."""
        return filters.parse(self.query("filters"), allowed)

    def index(self) -> int:
        """The `version` query of swarm updates: the version of the object that the client read."""
        text = self.query("version")
        try:
            return int(text)
        except ValueError:
            raise InvalidArgument(f"invalid {'swarm ' if 'id' not in self.params else ''}version '{text}'") from None

    # --- headers and body

    def registry_auth(self) -> AuthConfig | None:
        """The credentials in X-Registry-Auth."""
        return decode_auth(self.request.headers.get("X-Registry-Auth"))

    async def body(self, kind: type[T]) -> T:
        """The JSON body as a `kind`. Raises InvalidArgument when it is absent, mistyped or not JSON."""
        data = await self._json_bytes()
        if not data:
            raise InvalidArgument("invalid JSON: got EOF while reading request body")
        return decode_body(data, kind)

    async def optional_body(self, kind: type[T]) -> T | None:
        """`body`, or None when there is none."""
        data = await self._json_bytes()
        return decode_body(data, kind) if data else None

    async def plain_body(self) -> dict[str, Any]:
        """The JSON body as a plain object, empty when absent."""
        data = await self._json_bytes()
        value = decode_json(data) if data else {}
        if not isinstance(value, dict):
            raise InvalidArgument("invalid JSON: expected an object")
        return value

    async def _json_bytes(self) -> bytes:
        data = await self.request.read()
        given = self.request.headers.get("Content-Type", "")
        if data and given.partition(";")[0].strip().lower() != "application/json":
            raise InvalidArgument(f"unsupported Content-Type header ({given}): must be 'application/json'")
        return data


def answer(value: object, status: int = 200) -> web.Response:
    """`value` as JSON."""
    return web.Response(body=msgspec.json.encode(value) + b"\n", status=status, content_type="application/json")


def nothing(status: int = 204) -> web.Response:
    """An answer without a body."""
    return web.Response(status=status)


def failure(message: str, status: int) -> web.Response:
    """An error as every client of the API reads it."""
    return answer({"message": message}, status)
