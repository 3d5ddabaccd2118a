"""The Python packages that Shoal needs, as they are installed here: they go into images and into bundles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import metadata


def needed() -> Mapping[str, metadata.Distribution]:
    """The distributions that Shoal needs, and those that they need, by name and in its order.

    What only extras need is left out, and what is not installed: it is for another Python or operating system. Raises
    PackageNotFoundError for a copy of Shoal that was not installed itself.
    """
    found: dict[str, metadata.Distribution] = {}
    waiting = list(required(metadata.distribution("shoal")))
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        waiting += required(found[name])
    return dict(sorted(found.items()))


def required(distribution: metadata.Distribution) -> Iterator[str]:
    """The names of what `distribution` itself asks for, without its extras."""
    for requirement in distribution.requires or ():
        name, _, marker = requirement.partition(";")
        match = re.match(r"[A-Za-z0-9._-]+", name)
        if match and "extra" not in marker:
            yield re.sub(r"[-_.]+", "-", match[0]).lower()
