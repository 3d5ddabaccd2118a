"""What Go templates do with values: fields, truth, printing, and the functions."""

from __future__ import annotations

import html
import json as _json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Fault(ValueError):
    """Evaluation cannot go on; the renderer adds the place."""


class _Missing:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


MISSING = _Missing("missing")
"""No value was piped."""

NO_VALUE = _Missing("<no value>")
"""What an absent key is, where absence is allowed."""


def field(value: object, name: str, missing: str, kind: str) -> Any:
    """`value.name`, as Go reads it. Raises Fault for what has no such field."""
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        if kind and missing == "error":
            raise Fault(f"can't evaluate field {name} in type {kind}")
        if missing == "error":
            raise Fault(f'map has no entry for key "{name}"')
        return NO_VALUE
    encoded = getattr(type(value), "__struct_encode_fields__", None)
    if encoded is not None:
        if name in encoded:
            return getattr(value, type(value).__struct_fields__[encoded.index(name)])  # type: ignore[attr-defined]
        raise Fault(f"can't evaluate field {name} in type {kind or type(value).__name__}")
    if value is None or value is NO_VALUE:
        if missing == "error":
            raise Fault(f'nil data; no entry for key "{name}"')
        return NO_VALUE
    raise Fault(f"can't evaluate field {name} in type {_go_type(value)}")


def _go_type(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    names: dict[type, str] = {str: "string", int: "int", float: "float64", list: "[]interface {}"}
    return next((go for kind, go in names.items() if isinstance(value, kind)), "interface {}")


def true(value: object) -> bool:
    """Go's truth: not zero, not empty, not nil."""
    if getattr(type(value), "__struct_fields__", None) is not None:
        return True
    return value is not NO_VALUE and value is not MISSING and bool(value)


def printed(value: object) -> str:
    """`value` as `{{.}}` prints it: `map[a:1 b:2]`, `[x y]`, `true`, `<nil>` inside, `<no value>` at the top."""
    if value is None or value is NO_VALUE or value is MISSING:
        return "<no value>"
    return _go(value)


def _go(value: object) -> str:
    if value is None or value is NO_VALUE:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _go_float(value)
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{_go(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(_go(item) for item in value) + "]"
    fields = getattr(type(value), "__struct_fields__", None)
    if fields is not None:
        return "{" + " ".join(_go(getattr(value, name)) for name in fields) + "}"
    return str(value)


def _go_float(value: float) -> str:
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    return re.sub(r"e([+-])(\d)$", r"e\g<1>0\2", text)


def _plain(value: object) -> Any:
    """For `json`: structs as dicts, absence as null."""
    if value is NO_VALUE or value is MISSING:
        return None
    encoded = getattr(type(value), "__struct_encode_fields__", None)
    if encoded is not None:
        names = type(value).__struct_fields__  # type: ignore[attr-defined]
        return {go: _plain(getattr(value, name)) for go, name in zip(encoded, names, strict=True)}
    if isinstance(value, Mapping):
        return {key: _plain(item() if callable(item) else item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def json(value: object) -> str:
    """`value` as compact JSON, as docker's `json` function writes it."""
    return _json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False, default=str)


def index(value: Any, *keys: Any) -> Any:
    """Go's `index`: a key of a map (absent: no value), or a place in a list."""
    for key in keys:
        if value is None or value is NO_VALUE:
            raise ValueError("index of untyped nil")
        if isinstance(value, Mapping):
            value = value.get(key, NO_VALUE if not _strings(value) else "")
        elif isinstance(value, Sequence):
            if not isinstance(key, int):
                raise ValueError(f"cannot index slice/array with type {_go_type(key)}")
            if not 0 <= key < len(value):
                raise ValueError(f"index out of range: {key}")
            value = value[key]
        else:
            raise ValueError(f"can't index item of type {_go_type(value)}")
    return value


def _strings(value: Mapping[Any, Any]) -> bool:
    return bool(value) and all(isinstance(item, str) for item in value.values())


def _slice(value: Any, *bounds: int) -> Any:
    for bound in bounds:
        if not 0 <= bound <= len(value):
            raise ValueError(f"index out of range: {bound}")
    return value[slice(bounds[0] if bounds else 0, bounds[1] if len(bounds) > 1 else None)]


def _length(value: Any) -> int:
    if value is None or value is NO_VALUE:
        raise ValueError("len of nil pointer")
    if not hasattr(value, "__len__"):
        raise ValueError(f"len of type {_go_type(value)}")
    return len(value)


def _compare(name: str, holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        if isinstance(left, str) != isinstance(right, str):
            raise ValueError("incompatible types for comparison")
        return holds(left, right)

    compare.__name__ = name
    return compare


def _equal(left: Any, *others: Any) -> bool:
    if not others:
        raise ValueError("missing argument for comparison")
    left = None if left is NO_VALUE else left
    for other in others:
        if None not in (left, other) and isinstance(left, str) != isinstance(other, str):
            raise ValueError("incompatible types for comparison")
    return left in others


def _join(values: Any, separator: str = " ") -> str:
    return separator.join(_go(value) for value in values or [])


def _title(text: str) -> str:
    return re.sub(r"(?<!\w)\w", lambda match: match.group().upper(), text)


def _truncate(text: str, length: int) -> str:
    return text[: max(length, 0)]


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else ""


def _print(*values: Any) -> str:
    """Go's Sprint: a space between operands when neither is a string."""
    text = ""
    for position, value in enumerate(values):
        if position and not isinstance(value, str) and not isinstance(values[position - 1], str):
            text += " "
        text += _go(value)
    return text


_VERB = re.compile(r"%([-+# 0]*)(\d+|\*)?(?:\.(\d+))?([a-zA-Z%])")


def printf(form: str, *values: Any) -> str:
    """Go's Sprintf for the verbs that command lines use."""
    left = list(values)

    def one(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if width == "*":
            width = str(left.pop(0))
        if not left:
            return f"%!{verb}(MISSING)"
        text = _verb(verb, left.pop(0), precision, flags)
        fill = "0" if "0" in flags and "-" not in flags and verb in "dxXofeg" else " "
        size = int(width or 0)
        return text.ljust(size) if "-" in flags else text.zfill(size) if fill == "0" else text.rjust(size)

    text = _VERB.sub(one, form)
    if left:
        extra = ", ".join(f"{_go_type(value)}={_go(value)}" for value in left)
        text += f"%!(EXTRA {extra})"
    return text


def _verb(verb: str, value: Any, precision: str | None, flags: str) -> str:
    if verb in "vs":
        text = _go(value)
        return text[: int(precision)] if precision and verb == "s" else text
    if verb == "q":
        return _json.dumps(_go(value), ensure_ascii=False)
    if verb == "t" and isinstance(value, bool):
        return _go(value)
    if verb == "T":
        return _go_type(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if verb in "dxXobc" and isinstance(value, int) and number:
        if verb == "c":
            return chr(value)
        return ("+" if "+" in flags and value >= 0 else "") + format(value, verb)
    if verb in "xX" and isinstance(value, str):
        return value.encode().hex() if verb == "x" else value.encode().hex().upper()
    if verb in "feg" and number:
        return format(float(value), f".{precision or 6}{verb}" if verb != "g" or precision else "g")
    return f"%!{verb}({_go_type(value)}={_go(value)})"


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": lambda *values: values[-1],  # `and` and `or` are evaluated by the renderer, which stops early
    "or": lambda *values: values[-1],
    "not": lambda value: not true(value),
    "eq": _equal,
    "ne": lambda left, right: not _equal(left, right),
    "lt": _compare("lt", lambda a, b: a < b),
    "le": _compare("le", lambda a, b: a <= b),
    "gt": _compare("gt", lambda a, b: a > b),
    "ge": _compare("ge", lambda a, b: a >= b),
    "len": _length,
    "index": index,
    "slice": _slice,
    "print": _print,
    "println": lambda *values: " ".join(_go(value) for value in values) + "\n",
    "printf": printf,
    "html": lambda value: html.escape(_go(value)),
    "json": json,
    "join": _join,
    "split": lambda text, separator: text.split(separator) if separator else list(text),
    "title": _title,
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "pad": _pad,
    "truncate": _truncate,
}
