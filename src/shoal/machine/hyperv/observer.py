"""All of Hyper-V's machines in one question.

PowerShell takes a second or two to start. `ls` asks about every machine at the same time, and about its state and its
address: all of that is one process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from shoal.machine.hyperv import parse, scripts
from shoal.machine.hyperv.parse import Machine
from shoal.machine.hyperv.powershell import PowerShell, find

FRESH = 1.0
"""Seconds for which an answer counts as of now."""


class Observer:
    """Asks for all machines, for all who want to know at the same time."""

    def __init__(self, shell: Callable[[], PowerShell] = find, clock: Callable[[], float] = time.monotonic) -> None:
        self._shell, self._clock = shell, clock
        self._lock = threading.Lock()
        self._known: Sequence[Machine] | None = None
        self._at = 0.0

    def machines(self) -> Sequence[Machine]:
        """All machines, as they are now or were a moment ago. Raises MachineError."""
        with self._lock:
            if self._known is None or self._clock() - self._at > FRESH:
                rows, cards = parse.answers(self._shell()(*scripts.everything()))
                self._known, self._at = parse.machines(rows, cards), self._clock()
            return self._known

    def forget(self) -> None:
        """Something was changed: what is known is of the past."""
        with self._lock:
            self._known = None


shared = Observer()
"""The one of this process."""
