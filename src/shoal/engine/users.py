"""Whom a container's process runs as: `user[:group]`, names looked up in the image's own passwd and group. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shoal.model.errors import InvalidArgument

_MAX_ID = 2**31 - 1


class Identity(NamedTuple):
    """Numeric ids, supplementary groups and the home directory."""

    uid: int
    gid: int
    groups: list[int]
    home: str


def resolve(user: str, passwd: str, group: str, extra: Sequence[str] = ()) -> Identity:
    """What `user` means, given the texts of /etc/passwd and /etc/group; `extra` are HostConfig's GroupAdd.

    Raises InvalidArgument in docker's words for a name that nobody has.
    """
    wanted, colon, wanted_group = user.partition(":")
    name, uid, gid, home = "", 0, 0, "/"
    for entry in _entries(passwd, 6):
        if (entry[0] == wanted) if wanted and not _number(wanted) else entry[2] == (wanted or "0"):
            name, uid, gid, home = entry[0], int(entry[2]), int(entry[3]), entry[5]
            break
    else:
        if wanted and not _number(wanted):
            raise InvalidArgument(f"unable to find user {wanted}: no matching entries in passwd file")
        uid = int(wanted or 0)
        if uid > _MAX_ID:
            raise InvalidArgument("uids and gids must be in range 0-2147483647")
    groups: list[int] = []
    if colon and wanted_group:
        gid = _group(wanted_group, group)
    elif name:
        groups = [int(entry[2]) for entry in _entries(group, 4) if name in entry[3].split(",")]
    for item in extra:
        groups.append(_group(item, group))
    # the own group is among them, so that setgroups cannot drop a restriction (CVE-2022-36109)
    return Identity(uid, gid, sorted({gid, *groups}), home or "/")


def _group(wanted: str, group: str) -> int:
    for entry in _entries(group, 3):
        if entry[0] == wanted:
            return int(entry[2])
    if not _number(wanted):
        raise InvalidArgument(f"unable to find group {wanted}: no matching entries in group file")
    if int(wanted) > _MAX_ID:
        raise InvalidArgument("uids and gids must be in range 0-2147483647")
    return int(wanted)


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _entries(text: str, least: int) -> Iterator[list[str]]:
    """The lines of such a file with at least `least` fields and a numeric id."""
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= least and not line.startswith("#") and _number(fields[2]):
            if least == 6 and not _number(fields[3]):
                continue
            yield fields
