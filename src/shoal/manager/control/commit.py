"""How commands write: against the version that the user saw, or against the newest, tried again when it moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from shoal.model.errors import OutOfSequence, ShoalError, rpc
from shoal.model.objects import Object
from shoal.store.base import Store, Write

ATTEMPTS = 50
"""How often a command that names no version is tried against an object that others keep changing."""
PAUSE = 0.02
"""Seconds between two attempts: the view may need them to see what was in the way."""


@contextmanager
def across_the_wire() -> Iterator[None]:
    """Failures in here show the prefix that docker's have when a manager found them (Docker's gRPC errors)."""
    try:
        yield
    except OutOfSequence:
        raise
    except ShoalError as error:
        if error.message.startswith("rpc error:"):
            raise
        raise rpc(error) from error


def check_version(thing: Object, version: int) -> None:
    """Raises OutOfSequence unless `thing` is still as it was when the user read `version`."""
    if thing.version.index != version:
        raise OutOfSequence


async def commit_newest(store: Store, decide: Callable[[], Sequence[Write]]) -> None:
    """Commit what `decide` says of the view, deciding again while others were faster."""
    for attempt in range(ATTEMPTS):
        try:
            await store.commit(decide())
            return
        except OutOfSequence:
            if attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(PAUSE)
