"""The base of every struct: Go's JSON names, frozen, and encoding to and from JSON."""

from __future__ import annotations

import threading
from typing import Annotated, Any, TypeVar

import msgspec

from shoal.kit.clock import ZERO_TIME
from shoal.model.errors import InvalidArgument

T = TypeVar("T")

Natural = Annotated[int, msgspec.Meta(ge=0)]
"""Go's uint64, as far as anybody needs it: 0 to 2**63 - 1."""
UInt32 = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]

_known: set[object] = set()
_learning = threading.Lock()

_ACRONYMS = {
    "id": "ID", "ids": "IDs", "ip": "IP", "ipv4": "IPv4", "ipv6": "IPv6", "tls": "TLS", "ca": "CA", "dns": "DNS",
    "ipam": "IPAM", "url": "URL", "uid": "UID", "gid": "GID", "os": "OS", "cpus": "CPUs", "tty": "TTY",
    "ips": "IPs", "pid": "PID", "cas": "CAs",
}  # fmt: skip


def go_name(name: str) -> str:
    """The Go field name of a Python one: `nano_cpus` -> `NanoCPUs`. Exceptions name themselves with `field(name=)`."""
    return "".join(_ACRONYMS.get(word, word.capitalize()) for word in name.split("_"))


class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=go_name):
    """A frozen value whose JSON leaves out what is at its default, as Go's `omitempty` does."""


class Full(msgspec.Struct, frozen=True, kw_only=True, rename=go_name):
    """A frozen value whose JSON always has every field: what the API prints even when it is empty."""


def encode(value: object) -> bytes:
    """`value` as JSON, times in RFC 3339, bytes in base 64."""
    return msgspec.json.encode(value)


def decode(data: bytes | str, kind: type[T]) -> T:
    """JSON as a `kind`. As Go does, `null` counts as absent and unknown fields are ignored.

    Raises InvalidArgument, with the place of the fault, when the text is not JSON or has the wrong shape.
    """
    try:
        return convert(msgspec.json.decode(data), kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise InvalidArgument(f"invalid JSON: {fault}") from fault


def known(kind: type[T]) -> type[T]:
    """`kind`, once msgspec has looked at it, in one thread at a time: two that meet a struct at once crash (0.22)."""
    if kind not in _known:
        with _learning:
            msgspec.json.Decoder(kind)
            _known.add(kind)
    return kind


def convert(value: object, kind: type[T]) -> T:
    """Plain JSON values as a `kind`, with `decode`'s rules."""
    try:
        return msgspec.convert(_without_nulls(value), known(kind), strict=False)
    except msgspec.ValidationError as fault:
        raise InvalidArgument(str(fault)) from fault


def to_builtins(value: object) -> Any:
    """`value` as plain dicts, lists, strings and numbers: exactly its JSON."""
    return msgspec.to_builtins(value)


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidArgument(f"invalid JSON: {value} does not fit into 64 bits")
    return value


__all__ = [
    "ZERO_TIME",
    "Full",
    "Int32",
    "Natural",
    "Struct",
    "UInt32",
    "convert",
    "decode",
    "encode",
    "go_name",
    "known",
    "to_builtins",
]
