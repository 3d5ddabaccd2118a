"""The filters of `docker images` and `docker image prune`."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from datetime import datetime

from shoal.api.context import Context
from shoal.api.times import parse_time
from shoal.model import reference
from shoal.model.engine import Image
from shoal.model.errors import InvalidArgument
from shoal.model.filters import Filters, match_labels, truth

LIST_FILTERS = ("before", "dangling", "label", "reference", "since", "until")
PRUNE_FILTERS = ("dangling", "label", "label!", "until")


def chosen(images: Sequence[Image], asked: Filters, context: Context) -> list[Image]:
    """Those of `images` that `asked` wants. Raises NotFound for a `before` or `since` that is no image."""
    now = context.clock.now()
    before = [context.engine.images.find(name).created for name in asked.get("before", [])]
    since = [context.engine.images.find(name).created for name in asked.get("since", [])]
    until = [moment for text in asked.get("until", []) if (moment := parse_time(text, now))]
    return [
        image
        for image in images
        if all(image.created < moment for moment in [*before, *until])
        and all(image.created > moment for moment in since)
        and match_labels(asked, image.config.labels)
        and ("dangling" not in asked or truth(asked["dangling"][0]) == (not image.repo_tags))
        and ("reference" not in asked or any(_named(image, pattern) for pattern in asked["reference"]))
    ]


def _named(image: Image, pattern: str) -> bool:
    for tag in image.repo_tags:
        try:
            full = reference.parse(tag)
        except InvalidArgument:
            continue
        short = reference.familiar(full)
        names = (short, short.rpartition(":")[0], str(full), full.repository)
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            return True
    return False


def kept_by(asked: Filters, now: datetime) -> Callable[[Image], bool]:
    """Which images a prune with `asked` spares."""
    until = [moment for text in asked.get("until", []) if (moment := parse_time(text, now))]

    def keep(image: Image) -> bool:
        labels = image.config.labels
        if not match_labels(asked, labels) or any(image.created > moment for moment in until):
            return True
        return "label!" in asked and match_labels(asked, labels, "label!")

    return keep
