"""Libcloud called with its failures in words, and asked once for all machines of an account."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from shoal.machine.errors import MachineError
from shoal.machine.files import locked

FRESH = 2.0
"""Seconds for which an account's answer serves all its machines: `ls` asks for all of them at the same time."""

INSTALL = "cloud machines need Apache Libcloud: pip install shoal[cloud]"


class Rejected(MachineError):
    """The provider does not take the token."""


class Unreachable(MachineError):
    """The provider did not answer, or not now: what is asked again may succeed."""


_PASSING = (429, 500, 502, 503, 504)


def require() -> None:
    """Whether Libcloud is there. Raises MachineError, which says how to get it."""
    try:
        import libcloud  # noqa: F401
    except ImportError as fault:
        raise MachineError(INSTALL) from fault


@contextmanager
def explained(title: str, secrets: Mapping[str, str]) -> Iterator[None]:
    """Turn whatever Libcloud raises into a MachineError that shows no secret."""
    from libcloud.common.types import InvalidCredsError

    try:
        yield
    except MachineError:
        raise
    except InvalidCredsError as fault:
        raise Rejected(f"{title} does not accept the credentials: {scrubbed(str(fault), secrets)}") from None
    except Exception as fault:  # Libcloud's drivers raise plain Exceptions too, and requests' and ssl's pass through
        text = f"{title}: {scrubbed(str(fault) or type(fault).__name__, secrets)}"
        # Not `from fault`: a traceback would show what was scrubbed.
        raise _kind(fault)(text) from None


def _kind(fault: Exception) -> type[MachineError]:
    code = getattr(fault, "code", None)
    if code in (401, 403):
        return Rejected
    # requests' own failures are OSErrors.
    passing = isinstance(fault, OSError) or code in _PASSING or "RequestLimitExceeded" in str(fault)
    return Unreachable if passing else MachineError


def scrubbed(text: str, secrets: Mapping[str, str]) -> str:
    """`text` in one line without the secrets in it."""
    for secret in secrets.values():
        for written in (secret, quote(secret, safe=""), quote_plus(secret)):
            if len(secret) > 3:
                text = text.replace(written, "***")
    return " ".join(text.split())


class _Answer:
    """An account's machines, and when they were asked for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.at = float("-inf")
        self.nodes: Sequence[Any] = ()


_answers: dict[str, _Answer] = {}
_guard = threading.Lock()


def account_nodes(account: str, ask: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    """The machines of `account`: asked for when the last answer is older than FRESH, by one thread at a time."""
    with _guard:
        answer = _answers.setdefault(account, _Answer())
    with answer.lock:
        if time.monotonic() - answer.at > FRESH:
            answer.nodes = ask()
            answer.at = time.monotonic()
        return answer.nodes


def exclusive(store: Path, provider: str) -> AbstractContextManager[None]:
    """Hold what machines at a provider share (groups, networks): several are made at a time, in several terminals too.

    The lock is the store's. Another store or another computer may be there too: what is `already_there` is fine.
    """
    # Not one per account: a file's name that follows from an account's secrets would tell of them.
    return locked(store / "locks" / f"cloud-{provider}")


def already_there(fault: Exception) -> bool:
    """Whether `fault` only says that what was to be made is there: somebody else made it since we looked."""
    return "already exists" in str(fault)


def forget_answers() -> None:
    """Have the next question asked anew: something was changed."""
    with _guard:
        _answers.clear()


def size(cloud: Any, name: str) -> Any:
    """A size as create_node wants it, by its name at the provider; whether there is one the provider says itself."""
    from libcloud.compute.base import NodeSize

    return NodeSize(name, name, 0, 0, 0, 0, cloud)


def image(cloud: Any, name: str) -> Any:
    """An image as create_node wants it, by its name at the provider."""
    from libcloud.compute.base import NodeImage

    return NodeImage(name, name, cloud)


def location(cloud: Any, name: str) -> Any:
    """A region as create_node wants it, by its name at the provider."""
    from libcloud.compute.base import NodeLocation

    return NodeLocation(name, name, "", cloud)


def pick(things: Sequence[Any], wanted: str, what: str) -> Any:
    """The thing whose id or name is `wanted`. Raises MachineError that says what there is."""
    for thing in things:
        if wanted in (str(thing.id), thing.name):
            return thing
    for thing in things:
        if wanted.lower() == str(thing.name).lower():
            return thing
    known = ", ".join(sorted({str(thing.name) for thing in things})[:20])
    raise MachineError(f'there is no {what} "{wanted}"; there are: {known}')
