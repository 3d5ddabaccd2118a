"""Kinds of values: small objects that check a value and name the place where it does not fit.

A text that stands where a number or a switch should, such as `"${REPLICAS}"` after interpolation, is read as one.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shoal.kit.units import parse_bytes, parse_duration
from shoal.stack.yaml_places import Place


class SchemaFault(ValueError):
    """A value does not fit; `place` says which."""

    def __init__(self, place: Place, message: str, key: str = "") -> None:
        """`key` is the offending key below `place`, where it is a key that offends."""
        super().__init__(f"{'.'.join(map(str, place)) or '(root)'} {message}")
        self.place = (*place, key) if key else place


class Kind(ABC):
    """What a value may be. `words` complete the sentence "must be a ..."."""

    words: tuple[str, ...] = ()

    @abstractmethod
    def fits(self, value: object) -> bool:
        """Whether `value` is of this kind at first sight."""

    def read(self, value: Any, place: Place) -> Any:
        """`value`, checked all the way down and converted. Raises SchemaFault."""
        if not self.fits(value):
            raise SchemaFault(place, f"must be a {_joined(self.words)}")
        return value


def _joined(words: Sequence[str]) -> str:
    unique = list(dict.fromkeys(words))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} or {unique[-1]}"


class Text(Kind):
    """A string; of `choices`, or of a named `form`."""

    words = ("string",)

    def __init__(self, *, choices: Sequence[str] = (), form: str = "") -> None:
        self._choices, self._form = choices, form

    def fits(self, value: object) -> bool:
        return isinstance(value, str)

    def read(self, value: Any, place: Place) -> Any:
        super().read(value, place)
        if self._choices and value not in self._choices:
            dotted = ".".join(map(str, place))
            allowed = ", ".join(f'"{choice}"' for choice in self._choices)
            raise SchemaFault(place, f"{dotted} must be one of the following: {allowed}")
        if self._form and not _FORMS[self._form](value):
            raise SchemaFault(place, f"Does not match format '{self._form}'")
        return value


class Size(Text):
    """A number of bytes such as `50M`."""

    def read(self, value: Any, place: Place) -> Any:
        super().read(value, place)
        try:
            parse_bytes(value)
        except ValueError as fault:
            raise SchemaFault(place, str(fault)) from fault
        return value


class Integer(Kind):
    """A whole number, not below `least`."""

    words = ("integer",)

    def __init__(self, least: int | None = None) -> None:
        self._least = least

    def fits(self, value: object) -> bool:
        if isinstance(value, float):
            return value.is_integer()
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, str) and bool(re.fullmatch(r"[-+]?\d+", value))
        )

    def read(self, value: Any, place: Place) -> Any:
        number = int(super().read(value, place))
        if self._least is not None and number < self._least:
            raise SchemaFault(place, f"must be greater than or equal to {self._least}")
        return number


class Number(Kind):
    """A number; texts are left as they are where `loose`."""

    words = ("number",)

    def __init__(self, *, loose: bool = False) -> None:
        self._loose = loose

    def fits(self, value: object) -> bool:
        if isinstance(value, str):
            return not self._loose and bool(re.fullmatch(r"-?\d*\.?\d+", value)) and math.isfinite(float(value))
        if isinstance(value, float):
            return math.isfinite(value)
        return isinstance(value, int) and not isinstance(value, bool)

    def read(self, value: Any, place: Place) -> Any:
        super().read(value, place)
        return float(value) if isinstance(value, str) else value


class Switch(Kind):
    """True or false."""

    words = ("boolean",)
    _TRUE, _FALSE = ("true", "y", "yes", "on"), ("false", "n", "no", "off")

    def fits(self, value: object) -> bool:
        return isinstance(value, bool) or (isinstance(value, str) and value.lower() in (*self._TRUE, *self._FALSE))

    def read(self, value: Any, place: Place) -> Any:
        super().read(value, place)
        return value if isinstance(value, bool) else value.lower() in self._TRUE


class Nothing(Kind):
    """Null."""

    words = ("null",)

    def fits(self, value: object) -> bool:
        return value is None


class Anything(Kind):
    """Whatever it is."""

    def fits(self, value: object) -> bool:
        return True


class Items(Kind):
    """A list of one kind; `unique` ones may not repeat."""

    words = ("list",)

    def __init__(self, item: Kind, *, unique: bool = True) -> None:
        self._item, self._unique = item, unique

    def fits(self, value: object) -> bool:
        return isinstance(value, list)

    def read(self, value: Any, place: Place) -> Any:
        super().read(value, place)
        items = [self._item.read(item, (*place, number)) for number, item in enumerate(value)]
        for number, item in enumerate(items) if self._unique else []:
            if item in items[:number]:
                raise SchemaFault(place, f"array items[{items.index(item)},{number}] must be unique")
        return items


class Fields(Kind):
    """A mapping with known keys, or with any key that matches `keys` and values of the kind `others`; `x-` keys may
    stand anywhere where `extensible`."""

    words = ("mapping",)

    def __init__(
        self,
        known: Mapping[str, Kind] | None = None,
        *,
        others: Kind | None = None,
        keys: str = ".+",
        required: Sequence[str] = (),
        extensible: bool = False,
    ) -> None:
        self._known, self._others, self._required = known or {}, others, required
        self._keys, self._extensible = re.compile(keys), extensible

    def fits(self, value: object) -> bool:
        return isinstance(value, dict)

    def read(self, value: Any, place: Place) -> Any:
        super().read(value, place)
        for key in self._required:
            if key not in value:
                raise SchemaFault(place, f"{key} is required")
        return {key: self._kind(key, place).read(item, (*place, key)) for key, item in value.items()}

    def _kind(self, key: str, place: Place) -> Kind:
        if key in self._known:
            return self._known[key]
        if self._extensible and key.startswith("x-"):
            return Anything()
        if self._others and self._keys.fullmatch(key):
            return self._others
        raise SchemaFault(place, f"Additional property {key} is not allowed", key)


class Either(Kind):
    """One of several kinds: the first that fits at first sight decides."""

    def __init__(self, *kinds: Kind) -> None:
        self._kinds = kinds
        self.words = tuple(word for kind in kinds for word in kind.words)

    def fits(self, value: object) -> bool:
        return any(kind.fits(value) for kind in self._kinds)

    def read(self, value: Any, place: Place) -> Any:
        for kind in self._kinds:
            if kind.fits(value):
                return kind.read(value, place)
        raise SchemaFault(place, f"must be a {_joined(self.words)}")


def _is_duration(text: str) -> bool:
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


_RANGE = r"\d+(-\d+)?"
_PORT = re.compile(
    rf"(?:(?:\[[0-9a-fA-F:.]+\]|\d+(?:\.\d+){{3}}|[0-9a-fA-F:]*::[0-9a-fA-F:]*):)?(?:(?:{_RANGE})?:)?{_RANGE}(?:/(?:tcp|udp|sctp))?"
)
_EXPOSE = re.compile(rf"{_RANGE}(/[a-zA-Z]+)?")

_FORMS: dict[str, Callable[[str], bool]] = {
    "duration": _is_duration,
    "ports": lambda text: bool(_PORT.fullmatch(text)),
    "expose": lambda text: bool(_EXPOSE.fullmatch(text)),
}
