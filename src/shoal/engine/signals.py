"""Signals as people write them: `TERM`, `SIGTERM`, `15`, `RTMIN+3`. Pure."""

from __future__ import annotations

import signal

from shoal.model.errors import InvalidArgument

_HIGHEST = 64


def parse(text: str) -> int:
    """The number of a signal. Raises InvalidArgument in docker's words."""
    name = text.upper().removeprefix("SIG")
    number = -1
    base, plus, offset = name.partition("+")
    if name.isdigit():
        number = int(name)
    elif plus and offset.isdigit() and base == "RTMIN":
        number = int(signal.SIGRTMIN) + int(offset)
    elif name.startswith("RTMAX-") and name[6:].isdigit():
        number = int(signal.SIGRTMAX) - int(name[6:])
    elif f"SIG{name}" in signal.Signals.__members__:
        number = signal.Signals[f"SIG{name}"]
    if not 0 < number <= _HIGHEST:
        raise InvalidArgument(f"invalid signal: {text}")
    return number
