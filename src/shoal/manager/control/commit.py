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
    """Raises OutOfSequence unless `thing` has the spec that the user saw who read it at `version`.

    What the swarm itself notes of an object in between (a node's state, a service's progress) is no reason to refuse,
    although it raises the version: the user's new spec takes nothing of it back.
    """
    if version <= thing.spec_since:
        raise _Outdated
    if version > thing.version.index:
        raise OutOfSequence


class _Outdated(OutOfSequence):
    """The version is too old: no further attempt can change that."""


async def commit_newest(store: Store, decide: Callable[[], Sequence[Write]]) -> None:
    """Commit what `decide` says of the view, deciding again while others were faster or the view is behind."""
    for attempt in range(ATTEMPTS):
        try:
            await store.commit(decide())
            return
        except OutOfSequence as fault:
            if isinstance(fault, _Outdated) or attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(PAUSE)
