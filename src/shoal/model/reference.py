"""Image references: `[domain[:port]/]path[:tag][@digest]` (the grammar of distribution/reference).

`normalise` turns what people type into the full form; `familiar` turns it back.
"""

from __future__ import annotations

import re

from shoal.model.base import Struct
from shoal.model.errors import InvalidArgument

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::\d+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_ID = re.compile(r"[0-9a-f]{64}")


class Reference(Struct, frozen=True):
    """A parsed image name. `tag` and `digest` may both be empty."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """`docker.io/library/redis`."""
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str, *, default_tag: bool = False) -> Reference:
    """The reference that `text` means; with `default_tag`, `latest` where it has neither tag nor digest.

    Raises InvalidArgument in docker's words.
    """
    if _ID.fullmatch(text):
        raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    name, _, digest = text.partition("@")
    if ("@" in text and not _DIGEST.fullmatch(digest)) or not name:
        raise InvalidArgument("invalid reference format")
    head, slash, rest = name.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost" or head.lower() != head):
        domain, remainder = head, rest
    else:
        domain, remainder = "docker.io", name
    if domain == "index.docker.io":
        domain = "docker.io"
    path, colon, tag = remainder.partition(":")
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    if path.lower() != path:
        raise InvalidArgument(f"invalid reference format: repository name ({path}) must be lowercase")
    if not re.fullmatch(_DOMAIN, domain) or not _PATH.fullmatch(path) or (colon and not _TAG.fullmatch(tag)):
        raise InvalidArgument("invalid reference format")
    if default_tag and not tag and not digest:
        tag = "latest"
    return Reference(domain=domain, path=path, tag=tag, digest=digest)


def normalise(text: str) -> str:
    """`redis` -> `docker.io/library/redis:latest`."""
    return str(parse(text, default_tag=True))


def familiar(reference: Reference) -> str:
    """The short form that people read: `redis:7`."""
    path = reference.path
    if reference.domain == "docker.io":
        name = path.removeprefix("library/") if path.count("/") == 1 else path
    else:
        name = f"{reference.domain}/{path}"
    return name + (f":{reference.tag}" if reference.tag else "") + (f"@{reference.digest}" if reference.digest else "")
