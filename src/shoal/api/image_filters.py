"""The filters of `docker images` and `docker image prune`."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec.structs import replace

from shoal.api.context import Context
from shoal.api.times import parse_time
from shoal.model import reference
from shoal.model.engine import Image
from shoal.model.errors import InvalidArgument
from shoal.model.filters import Filters, match_labels, truth

LIST_FILTERS = ("before", "dangling", "label", "reference", "since", "until")
PRUNE_FILTERS = ("dangling", "label", "label!", "until")


def chosen(images: Sequence[Image], asked: Filters, context: Context) -> list[Image]:
    """Those of `images` that `asked` wants; of one wanted by `reference`, only the names that match.

    Raises NotFound for a `before` or `since` that is no image.
    """
    now = context.clock.now()
    before = [context.engine.images.find(name).created for name in asked.get("before", [])]
    since = [context.engine.images.find(name).created for name in asked.get("since", [])]
    until = [moment for text in asked.get("until", []) if (moment := parse_time(text, now))]
    rows = [
        image
        for image in images
        if all(image.created < moment for moment in [*before, *until])
        and all(image.created > moment for moment in since)
        and match_labels(asked, image.config.labels)
        and ("dangling" not in asked or truth(asked["dangling"][0]) == (not image.repo_tags))
    ]
    if "reference" not in asked:
        return rows
    named = [(image, [tag for tag in image.repo_tags if _matches(tag, asked["reference"])]) for image in rows]
    return [replace(image, repo_tags=tags) for image, tags in named if tags]


def _matches(tag: str, patterns: Sequence[str]) -> bool:
    try:
        full = reference.parse(tag)
    except InvalidArgument:
        return False
    short = reference.familiar(full)
    names = (short, short.rpartition(":")[0], str(full), full.repository)
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)


def kept_by(asked: Filters, now: datetime) -> Callable[[Image], bool]:
    """Which images a prune with `asked` spares."""
    until = [moment for text in asked.get("until", []) if (moment := parse_time(text, now))]

    def keep(image: Image) -> bool:
        labels = image.config.labels
        if not match_labels(asked, labels) or any(image.created > moment for moment in until):
            return True
        return "label!" in asked and match_labels(asked, labels, "label!")

    return keep
