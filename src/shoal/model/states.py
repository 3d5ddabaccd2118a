"""Task states: a lattice with SwarmKit's wire numbers. Observed and desired state only ever move up."""

from __future__ import annotations

from enum import IntEnum


class TaskState(IntEnum):
    """Where a task is, or should be. The gaps are reserved by the protocol; names are lower-case in JSON."""

    NEW = 0
    PENDING = 64
    ASSIGNED = 192
    ACCEPTED = 256
    PREPARING = 320
    READY = 384
    STARTING = 448
    RUNNING = 512
    COMPLETE = 576
    SHUTDOWN = 640
    FAILED = 704
    REJECTED = 768
    REMOVE = 800
    """Only ever desired: stop it, then forget it."""
    ORPHANED = 832

    @property
    def word(self) -> str:
        """The name in the Engine API: `running`."""
        return self.name.lower()

    @property
    def terminal(self) -> bool:
        """True above RUNNING: the container has ended, or will never start."""
        return self > TaskState.RUNNING

    @classmethod
    def parse(cls, word: str) -> TaskState:
        """The state called `word`. Raises ValueError. `allocated` (docker's vocabulary) is read as PENDING."""
        if word == "allocated":
            return cls.PENDING
        try:
            return cls[word.upper()]
        except KeyError:
            raise ValueError(f"invalid task state: {word}") from None


def advance(old: TaskState, new: TaskState) -> TaskState:
    """The later of the two: a report that would lower a state is an old report."""
    return max(old, new)
