"""Network settings under /proc/sys/net: of the namespace in which the calling thread is."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/proc/sys/net")


def write(key: str, value: int | str) -> bool:
    """Set `key` (`ipv4/ip_forward`); False when this kernel does not have it. An equal value is not written again."""
    path = _ROOT / key
    try:
        if path.read_text().strip() != str(value):
            path.write_text(str(value))
    except FileNotFoundError:
        return False
    return True
