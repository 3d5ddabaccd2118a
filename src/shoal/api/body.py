"""JSON in: as Go reads it, field names match whatever their case, `null` is absent, unknown fields are ignored."""

from __future__ import annotations

import types
import typing
from functools import cache
from typing import Any, TypeVar

import msgspec

from shoal.model.base import convert
from shoal.model.errors import InvalidArgument

T = TypeVar("T")


def decode_body(data: bytes, kind: type[T]) -> T:
    """`data` as a `kind`. Raises InvalidArgument for text that is not one JSON value of that shape."""
    return convert(canonical(decode_json(data), kind), kind)


def decode_json(data: bytes) -> Any:
    """`data` as plain values. Raises InvalidArgument."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise InvalidArgument(f"invalid JSON: {fault}") from fault
    except RecursionError as fault:
        raise InvalidArgument("invalid JSON: nested too deeply") from fault


def canonical(value: Any, kind: Any) -> Any:
    """`value` with every field of a struct spelled as `kind` spells it; the exact spelling wins over another.

    Raises InvalidArgument for a text with a NUL, which no path, name, argument or variable can have.
    """
    if isinstance(value, dict):
        struct = _struct_in(kind)
        if struct is None:
            item = _argument(kind, dict, 1)
            return {key: canonical(entry, item) for key, entry in value.items()}
        fields, spellings = _fields(struct)
        result: dict[str, Any] = {}
        for key, entry in value.items():
            name = str(key) if key in fields else spellings.get(key.lower(), str(key))
            if name != key and name in value:
                continue
            result[name] = canonical(entry, fields.get(name))
        return result
    if isinstance(value, list):
        item = _argument(kind, list, 0)
        return [canonical(entry, item) for entry in value]
    if isinstance(value, str) and "\0" in value:
        raise InvalidArgument(f"invalid JSON: {value!r} has a NUL character")
    return value


@cache
def _fields(struct: type[msgspec.Struct]) -> tuple[dict[str, Any], dict[str, str]]:
    """Each field's type by its JSON name, and its JSON name by the lower-cased one."""
    hints = typing.get_type_hints(struct)
    fields = {field.encode_name: hints[field.name] for field in msgspec.structs.fields(struct)}
    return fields, {name.lower(): name for name in fields}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return typing.get_args(kind)
    return (kind,)


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    for option in _alternatives(kind):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None


def _argument(kind: Any, origin: type, index: int) -> Any:
    for option in _alternatives(kind):
        if typing.get_origin(option) is origin:
            return typing.get_args(option)[index]
    return None
