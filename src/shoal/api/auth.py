"""X-Registry-Auth: registry credentials as base64url of JSON."""

from __future__ import annotations

import base64
import binascii

import msgspec

from shoal.api.body import decode_body
from shoal.model.engine import AuthConfig
from shoal.model.errors import InvalidArgument


def decode_auth(header: str | None) -> AuthConfig | None:
    """The credentials in an X-Registry-Auth header; None when there are none (absent, empty, or `{}`).

    Padding may be missing and the standard alphabet is understood too. Raises InvalidArgument.
    """
    if not header:
        return None
    text = header.strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        auth = decode_body(data or b"{}", AuthConfig)
    except (binascii.Error, InvalidArgument, ValueError):
        raise InvalidArgument("invalid X-Registry-Auth header") from None
    return auth if auth != AuthConfig() else None


def encode_auth(auth: AuthConfig) -> str:
    """`auth` as an X-Registry-Auth header."""
    return base64.urlsafe_b64encode(msgspec.json.encode(auth)).decode()
