"""Every place inside a tree of plain values, and the tree with something else there: for tests that try odd values."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Place = tuple[str | int, ...]


def places(tree: Any, at: Place = ()) -> Iterator[Place]:
    """Every place inside `tree` where something else could stand."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from places(item, (*at, key))


def changed(tree: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    """A copy of `tree` with `value` at `place`."""
    result = copy.deepcopy(tree)
    *path, last = place
    owner: Any = result
    for key in path:
        owner = owner[key]
    owner[last] = value
    return result
