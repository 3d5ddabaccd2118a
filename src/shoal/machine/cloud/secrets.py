"""Tokens and passwords: in the keyring or in the environment, in a record only as a reference.

A reference is `keyring:<entry>` (an entry of the service `shoal-machine`, one per machine and flag) or
`environment:<VARIABLE>`. An entry of the keyring is a machine's own, so it goes with the machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoal.machine.errors import MachineError

SERVICE = "shoal-machine"


def keep(entry: str, secret: str) -> bool:
    """Put `secret` into the keyring; False where there is none that works, or only one that stores in clear."""
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        keyring.set_password(SERVICE, entry, secret)
        return bool(keyring.get_password(SERVICE, entry) == secret)
    except Exception:  # whatever a desktop's service raises, it is no keyring that works
        return False


def recall(entry: str) -> str:
    """The secret of `entry`; empty when it cannot be had."""
    keyring = _keyring()
    if keyring is None:
        return ""
    try:
        return keyring.get_password(SERVICE, entry) or ""
    except Exception:  # as above
        return ""


def forget(entry: str) -> None:
    """Take the secret of `entry` away, if it is there."""
    keyring = _keyring()
    try:
        if keyring is not None and keyring.get_password(SERVICE, entry) is not None:
            keyring.delete_password(SERVICE, entry)
    except Exception:  # as above: there is nothing we could take away then
        return


def entry_name(flag: str, machine: Path) -> str:
    """What a machine's secret is called in the keyring."""
    return f"{flag}@{machine}"


def fingerprint(secret: str, salt: str) -> str:
    """Eight hexadecimal digits by which an account's token is recognised, and from which it cannot be found."""
    return hashlib.scrypt(secret.encode(), salt=salt.encode(), n=2**14, r=8, p=1, dklen=4).hex()


def resolve(reference: str, variable: str, environment: Mapping[str, str]) -> str:
    """The secret behind a reference of a record: the keyring's, else the environment's; empty when neither has it."""
    if reference.startswith("keyring:") and (found := recall(reference.removeprefix("keyring:"))):
        return found
    return environment.get(variable, "") if variable else ""


def missing(title: str, variable: str, flag: str) -> MachineError:
    """What is said when a secret is needed and cannot be found."""
    where = f"set {variable} in the environment" if variable else f"--{flag} is needed"
    return MachineError(f"{title} cannot be asked: {where} (for --{flag})")


def _keyring() -> Any:
    """The keyring library when it has a backend that keeps secrets, else None."""
    try:
        import keyring
        from keyring.core import recommended
    except ImportError:
        return None
    backend = keyring.get_keyring()
    # Backends below the recommended priority keep nothing, or keep it in a plain file.
    return keyring if recommended(backend) else None
