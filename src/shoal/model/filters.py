"""The `filters` query of the Engine API: `{"label":{"a=b":true}}` or `{"label":["a=b"]}`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from shoal.model.errors import InvalidArgument

Filters = Mapping[str, list[str]]
"""Key to values. Values of a key are alternatives, except of `label`, all of which must match; keys are all needed."""


def parse(text: str | None, allowed: Iterable[str]) -> Filters:
    """The filters in `text`. Raises InvalidArgument for anything that is not one, or a key that is not `allowed`."""
    if not text:
        return {}
    try:
        raw = json.loads(text)
        parsed = {key: [v for v, on in value.items() if on] if isinstance(value, dict) else list(value)
                  for key, value in raw.items()}  # fmt: skip
    except (ValueError, AttributeError, TypeError) as fault:
        raise InvalidArgument("invalid filter") from fault
    known = set(allowed)
    for key in parsed:
        if key not in known:
            raise InvalidArgument(f"invalid filter '{key}'")
    return {key: [str(v) for v in values] for key, values in parsed.items()}


def match_labels(filters: Filters, labels: Mapping[str, str], key: str = "label") -> bool:
    """Whether `labels` has every wanted label (`name` or `name=value`)."""
    for wanted in filters.get(key, []):
        name, equals, value = wanted.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    return True


def match_any(filters: Filters, key: str, value: str) -> bool:
    """Whether `value` is one of the wanted ones, or none is wanted."""
    return key not in filters or value in filters[key]


def match_prefix(filters: Filters, key: str, value: str) -> bool:
    """Whether `value` begins with one of the wanted ones, or none is wanted."""
    return key not in filters or any(value.startswith(wanted) for wanted in filters[key])


def truth(text: str | None) -> bool:
    """A boolean query value as docker reads it: empty, 0, no, false and none are false."""
    return (text or "").strip().lower() not in ("", "0", "no", "false", "none")
