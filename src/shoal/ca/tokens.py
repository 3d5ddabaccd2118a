"""Join tokens, `SWMTKN-1-<digest>-<secret>`: which swarm it is, and which role its holder may take.

The digest is the root's SHA-256 and the secret 128 random bits, both in base 36 padded with zeros (to 50 and 25).
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field

from shoal.ca.root import digest
from shoal.kit.ids import base36
from shoal.model.errors import ShoalError
from shoal.model.objects import JoinTokens

_TOKEN = re.compile(r"SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})")


@dataclass(frozen=True)
class JoinToken:
    """A parsed token: the SHA-256 of the root's PEM, and the secret half as it was written."""

    digest: bytes
    secret: str = field(repr=False)


def make_token(bundle: bytes, secret: str) -> str:
    """The token for the swarm whose root is `bundle` (PEM) with this secret half."""
    return f"SWMTKN-1-{base36(int.from_bytes(digest(bundle), 'big'), 50)}-{secret}"


def new_secret() -> str:
    """128 random bits in base 36."""
    return base36(secrets.randbits(128), 25)


def new_tokens(bundle: bytes) -> JoinTokens:
    """Fresh tokens of both roles."""
    return JoinTokens(worker=make_token(bundle, new_secret()), manager=make_token(bundle, new_secret()))


def parse_token(text: str) -> JoinToken:
    """What a token says. Raises ShoalError `invalid join token`."""
    match = _TOKEN.fullmatch(text.strip())
    number = int(match[1], 36) if match else 0
    if not match or number.bit_length() > 256:
        raise ShoalError("invalid join token")
    return JoinToken(number.to_bytes(32, "big"), match[2])


def role_of(token: str, tokens: JoinTokens) -> str | None:
    """The role (`worker`, `manager`) that `token` grants, None when it grants none; takes the same time always."""
    manager = hmac.compare_digest(token.encode(), tokens.manager.encode())
    worker = hmac.compare_digest(token.encode(), tokens.worker.encode())
    return "manager" if manager and tokens.manager else "worker" if worker and tokens.worker else None
