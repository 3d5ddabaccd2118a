"""A synchronous client of the Engine API: for the command line, and for whoever drives a daemon from a script.

    client = Client()                                   # DOCKER_HOST and friends
    for node in client.get("/nodes"): ...
    client.post("/services/create", body={...}, headers={"X-Registry-Auth": ...})

No request is spent on negotiating the version: the newest known one is asked for, and a daemon that says it is too
new is asked again with its own. Reading order: `client_address`, `client_http`, `client_streams`, here.
It runs on every operating system and imports nothing heavy.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shoal.api.client_address import Address, AddressFault, Tls, config_dir, from_environment
from shoal.api.client_http import ProtocolFault, Reader, Response, send
from shoal.api.client_streams import Hijacked, connect_raw, frames, objects
from shoal.model.errors import ShoalError

API_VERSION = "1.50"
"""The newest version that this client speaks."""

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@")
_NAMELESS = re.compile(r"/(container|network|volume|node|service|task)s/(?:/.*)?")
"""A path in which the name of a thing is empty: `/networks/` would be the list of all."""
_TOO_NEW = re.compile(r"[Mm]aximum supported API version is (\d+\.\d+)")

Query = Mapping[str, object]
"""Query values: strings, numbers, booleans (left out when false), None (left out), lists (repeated)."""


class DaemonError(ShoalError):
    """What the daemon answered instead: `status` is HTTP's, the message is the daemon's own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class EmptyName(DaemonError):
    """A name or id that is empty: nobody need ask the daemon. The message is docker's."""

    def __init__(self, kind: str) -> None:
        super().__init__(400, f"invalid {kind} name or ID: value is empty")


class ConnectionFault(ShoalError):
    """The daemon was not reached, or hung up; the message says so in docker's words."""

    status = 503


class Client:
    """One daemon. Not for use by several threads at once; connections are kept and used again."""

    def __init__(self, address: Address | None = None, *, version: str = "", timeout: float | None = None) -> None:
        """`address` defaults to the environment's, `version` to DOCKER_API_VERSION; `timeout` (seconds) is per read.

        Raises AddressFault when the environment names no usable address.
        """
        self.address = address or from_environment(os.environ)
        pinned = version or os.environ.get("DOCKER_API_VERSION", "")
        self._version = pinned or API_VERSION
        self._pinned = bool(pinned)
        self._timeout = timeout
        self._idle: Reader | None = None

    @property
    def api_version(self) -> str:
        """The version that requests are made with: so far, until a daemon says it is too new."""
        return self._version

    # --- JSON ---------------------------------------------------------------------------------------------------------

    def get(self, path: str, query: Query | None = None) -> Any:
        """The JSON at `path`. Raises DaemonError, ConnectionFault."""
        return self._json("GET", path, query)

    def post(
        self, path: str, query: Query | None = None, *, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """POST `body` as JSON; the answer's JSON, None when it has no body. Raises DaemonError, ConnectionFault."""
        return self._json("POST", path, query, body, headers)

    def delete(self, path: str, query: Query | None = None) -> Any:
        """DELETE; the answer's JSON or None. Raises DaemonError, ConnectionFault."""
        return self._json("DELETE", path, query)

    def ping(self) -> dict[str, str]:
        """The headers of `/_ping`, lower-case. Raises ConnectionFault, DaemonError."""
        with self._checked("HEAD", "/_ping", None, None, {}, versioned=False) as response:
            return response.headers

    # --- streams ------------------------------------------------------------------------------------------------------

    def stream(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The answer with its body unread; use as a context. Bytes and iterables of bytes are sent as they are.

        Raises DaemonError, ConnectionFault.
        """
        if body is not None and not isinstance(body, dict | list | bytes):
            self._negotiate()  # such a body can be sent only once
        return self._checked(method, path, query, body, headers or {})

    def objects(self, method: str, path: str, query: Query | None = None, **options: Any) -> Iterator[Any]:
        """The JSON values of a stream such as pull progress or events."""
        with self.stream(method, path, query, **options) as response:
            try:
                yield from objects(response.chunks())
            except ProtocolFault as fault:
                raise ConnectionFault(str(fault)) from fault

    def frames(self, path: str, query: Query | None = None) -> Iterator[tuple[int, bytes]]:
        """The frames of a log stream: stream number (1, 2) and payload; a TTY's raw output counts as 1."""
        with self.stream("GET", path, query) as response:
            try:
                if "raw-stream" in response.headers.get("content-type", ""):
                    yield from ((1, chunk) for chunk in response.chunks())
                else:
                    yield from frames(response.chunks())
            except ProtocolFault as fault:
                raise ConnectionFault(str(fault)) from fault

    def hijack(self, path: str, query: Query | None = None, *, body: object = None) -> Hijacked:
        """POST that turns the connection into a raw one (attach, exec). Raises DaemonError, ConnectionFault."""
        response = self._checked("POST", path, query, body, {"Connection": "Upgrade", "Upgrade": "tcp"}, fresh=True)
        if response.status != 101:
            response.close()
            raise ConnectionFault(f"unable to upgrade to tcp, received {response.status}")
        return Hijacked(response.reader, "multiplexed" in response.headers.get("content-type", ""))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _json(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        with self._checked(method, path, query, body, headers or {}) as response:
            data = self._body(response)
        try:
            return json.loads(data) if data.strip() else None
        except ValueError as fault:
            raise DaemonError(response.status, f"invalid JSON in the answer to {method} {path}") from fault

    def _body(self, response: Response) -> bytes:
        try:
            return response.read()
        except OSError as fault:
            raise ConnectionFault(f"error during connect: {fault}") from fault

    def _negotiate(self) -> None:
        if not self._pinned:
            theirs = self.ping().get("api-version", "")
            if theirs and _number(theirs) < _number(self._version):
                self._version = theirs
            self._pinned = True

    def _checked(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: object,
        headers: Mapping[str, str],
        *,
        versioned: bool = True,
        fresh: bool = False,
    ) -> Response:
        """A successful response. One that says the version is too new is tried again with the daemon's."""
        if nameless := _NAMELESS.fullmatch(path):
            raise EmptyName(nameless[1])
        prefix = f"/v{self._version}" if versioned else ""
        response = self._exchange(method, prefix + path + encode(query or {}), body, headers, fresh)
        if response.status < 400 and response.status != 304:
            return response
        error = self._error(response)
        too_new = _TOO_NEW.search(error.message) if response.status == 400 else None
        if too_new and versioned and not self._pinned:
            self._version, self._pinned = too_new.group(1), True
            return self._checked(method, path, query, body, headers, fresh=fresh)
        raise error

    def _error(self, response: Response) -> DaemonError:
        with response:
            data = self._body(response)
        text = data.decode(errors="replace").strip()
        try:
            message = json.loads(text)["message"]
        except (ValueError, KeyError, TypeError):
            message = text or f"request returned {response.status}"
        return DaemonError(response.status, str(message))

    def _exchange(self, method: str, target: str, body: object, extra: Mapping[str, str], fresh: bool) -> Response:
        headers = {"Host": self.address.host or "docker", "User-Agent": f"Docker-Client/28.2.2 ({_platform()}) shoal"}
        headers.update(extra)
        payload: bytes | Iterable[bytes] | None
        if isinstance(body, dict | list):
            payload = json.dumps(body, separators=(",", ":")).encode()
            headers.setdefault("Content-Type", "application/json")
        else:
            payload = body  # type: ignore[assignment]
        reader, self._idle = self._idle, None
        if reader and not fresh and (isinstance(payload, bytes) or payload is None) and method == "GET":
            try:
                return self._send(reader, method, target, headers, payload)
            except OSError:
                reader.close()  # kept too long: the daemon has closed it
        elif reader:
            reader.close()
        try:
            reader = Reader(connect_raw(self.address) if fresh else self.address.connect())
            reader.socket.settimeout(self._timeout)
            return self._send(reader, method, target, headers, payload)
        except OSError as fault:
            raise self._fault(fault, method, target) from fault

    def _send(
        self,
        reader: Reader,
        method: str,
        target: str,
        headers: Mapping[str, str],
        payload: bytes | Iterable[bytes] | None,
    ) -> Response:
        send(reader.socket, method, target, headers, payload)
        return Response(reader, method, self._keep)

    def _keep(self, reader: Reader) -> None:
        if self._idle:
            self._idle.close()
        self._idle = reader

    def _fault(self, fault: OSError, method: str, target: str) -> ConnectionFault:
        url = self.address.url
        if isinstance(fault, PermissionError) and self.address.path:
            return ConnectionFault(
                f"permission denied while trying to connect to the Docker daemon socket at {url}: "
                f"dial unix {self.address.path}: connect: permission denied"
            )
        if isinstance(fault, ConnectionRefusedError | FileNotFoundError) or type(fault).__name__ == "gaierror":
            return ConnectionFault(f"Cannot connect to the Docker daemon at {url}. Is the docker daemon running?")
        reason = getattr(fault, "reason", None) or fault.strerror or str(fault)
        scheme = "https" if self.address.tls else "http"
        where = f"{scheme}://{self.address.host or 'docker'}{':' + str(self.address.port) if self.address.port else ''}"
        return ConnectionFault(f'error during connect: {method.title()} "{where}{target}": {reason}')


def quote(text: str) -> str:
    """`text` for use in a path or a query, percent-encoded where needed."""
    return "".join(chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in text.encode())


def encode(query: Query) -> str:
    """`?a=1&b=x`, or nothing. False and None are left out, True is 1."""
    pairs: list[str] = []
    for name, value in query.items():
        if value is None or value is False:
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            pairs.append(f"{name}={quote('1' if one is True else str(one))}")
    return "?" + "&".join(pairs) if pairs else ""


def filters(wanted: Mapping[str, Iterable[str]]) -> str | None:
    """The `filters` query: `{"name":{"web":true}}`; None when there is none."""
    chosen = {key: dict.fromkeys(values, True) for key, values in wanted.items()}
    return json.dumps(chosen, separators=(",", ":")) if chosen else None


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _platform() -> str:
    return {"win32": "windows"}.get(sys.platform, sys.platform)


__all__ = [
    "API_VERSION", "Address", "AddressFault", "Client", "ConnectionFault", "DaemonError", "Hijacked", "Response", "Tls",
    "config_dir", "encode", "filters", "from_environment", "quote",
]  # fmt: skip
