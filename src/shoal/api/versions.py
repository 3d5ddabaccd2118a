"""API versions: the range that is served, and every difference between versions in one place."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from shoal.model.errors import InvalidArgument


class ApiVersion(NamedTuple):
    """`1.44`; compares as numbers."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


MAXIMUM = ApiVersion(1, 50)
MINIMUM = ApiVersion(1, 24)

_PREFIX = re.compile(r"/v([0-9]+)\.([0-9]+)(?=/)")


def split(path: str) -> tuple[ApiVersion, str]:
    """The version that `path` asks for (`/v1.44/info`; the newest without a prefix) and the rest of the path.

    Raises InvalidArgument, in docker's words, outside the range that is served.
    """
    match = _PREFIX.match(path)
    if match is None:
        return MAXIMUM, path
    version = ApiVersion(int(match[1]), int(match[2]))
    if version > MAXIMUM:
        raise InvalidArgument(
            f"client version {version} is too new. Maximum supported API version is {MAXIMUM}",
        )
    if version < MINIMUM:
        raise InvalidArgument(
            f"client version {version} is too old. Minimum supported API version is {MINIMUM}, "
            "please upgrade your client to a newer version",
        )
    return version, path[match.end() :]


def raw_stream_type(version: ApiVersion, tty: bool) -> str:
    """The content type of attach, exec and logs: multiplexed has a name of its own since 1.42."""
    if tty or version < (1, 42):
        return "application/vnd.docker.raw-stream"
    return "application/vnd.docker.multiplexed-stream"


def image_summary(version: ApiVersion, summary: dict[str, Any]) -> dict[str, Any]:
    """An entry of GET /images/json as `version` has it."""
    if version < (1, 43):
        summary = summary | {
            "RepoTags": summary["RepoTags"] or ["<none>:<none>"],
            "RepoDigests": summary["RepoDigests"] or ["<none>@<none>"],
        }
    return image_size(version, summary)


def image_size(version: ApiVersion, image: dict[str, Any]) -> dict[str, Any]:
    """`VirtualSize`, a copy of `Size`, was dropped in 1.44."""
    return image | {"VirtualSize": image["Size"]} if version < (1, 44) else image


def endpoint(version: ApiVersion, settings: dict[str, Any], container_id: str) -> dict[str, Any]:
    """A container's endpoint: before 1.45 the short id stood among the aliases and there were no `DNSNames`."""
    if version >= (1, 45):
        return settings
    names = [name for name in settings.get("DNSNames") or [] if name == container_id[:12]]
    older = {key: value for key, value in settings.items() if key != "DNSNames"}
    return older | {"Aliases": [*(settings.get("Aliases") or []), *names] or None}


def event(version: ApiVersion, printed: dict[str, Any]) -> dict[str, Any]:
    """An event with the fields of old (`status`, `id`, `from`), which containers and images keep below 1.52."""
    if version >= (1, 52) or printed["Type"] not in ("container", "image"):
        return printed
    actor = printed["Actor"]
    old = {"status": printed["Action"], "id": actor["ID"]}
    if "image" in actor["Attributes"]:
        old["from"] = actor["Attributes"]["image"]
    return old | printed


def networks_in_service_spec(version: ApiVersion) -> bool:
    """Whether the deprecated `Networks` beside `TaskTemplate` still counts."""
    return version < (1, 44)
