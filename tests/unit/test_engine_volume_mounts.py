"""The options of the `local` volume driver: which are taken, and what mount(2) gets of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.engine import volume_mounts
from shoal.engine.volumes import Volumes
from shoal.kit.clock import SystemClock
from shoal.kit.ids import SeededIds
from shoal.model.errors import InvalidArgument, ShoalError

TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "size=64m"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"colour": "red"}, 'create vol: invalid option: "colour"'),
        ({"type": "tmpfs"}, 'create vol: missing required option: "device"'),
        ({"device": "/dev/vda"}, 'create vol: missing required option: "type"'),
        ({"o": "ro"}, 'create vol: missing required option: "device"'),
        ({"size": "10m"}, "create vol: quota size requested but no quota support"),
        ({"size": "lots"}, "create vol: invalid size: 'lots'"),
        ({"type": "cifs", "device": "//nas:445/x"}, "create vol: port not allowed in CIFS device URL"),
    ],
)
def test_wrong_options_are_refused_at_creation(tmp_path: Path, options: dict[str, str], words: str) -> None:
    """In docker's words, and nothing is made."""
    volumes = Volumes(tmp_path, SystemClock(), SeededIds())
    with pytest.raises(InvalidArgument, match=re.escape(words)):
        volumes.create("vol", options=options)
    assert list(tmp_path.iterdir()) == []


def test_options_are_kept_and_shown(tmp_path: Path) -> None:
    """A volume with options is found again with them, and one without has none."""
    volumes = Volumes(tmp_path, SystemClock(), SeededIds())
    volumes.create("vol", options=TMPFS)
    volumes.create("plain")
    again = Volumes(tmp_path, SystemClock(), SeededIds())
    assert again.find("vol").options == TMPFS
    assert [volume_mounts.needs_mount(again.find(name)) for name in ("vol", "plain")] == [True, False]


def test_words_become_flags() -> None:
    """Words of mount(8) are flags, the last of two opposites wins; propagation is apart; the rest is the file
    system's."""
    assert volume_mounts.parse("") == (0, 0, "")
    assert volume_mounts.parse("size=64m,noexec,nosuid,uid=5") == (0x8 | 0x2, 0, "size=64m,uid=5")
    assert volume_mounts.parse("ro,rw,defaults") == (0, 0, "")
    assert volume_mounts.parse("rbind,rslave,ro") == (0x1000 | 0x4000 | 0x1, 1 << 19 | 0x4000, "")


@given(st.lists(st.from_regex(r"[a-z]{3,6}=[a-z0-9]{1,4}", fullmatch=True)))
def test_what_is_no_flag_is_passed_on(words: list[str]) -> None:
    """In its order."""
    assert volume_mounts.parse(",".join(words)) == (0, 0, ",".join(words))


def test_servers_are_resolved() -> None:
    """The kernel takes addresses only: `addr=` of NFS, and the server in the device of CIFS, become one."""
    assert volume_mounts.resolved("nfs", ":/srv", "addr=localhost,rw") == (":/srv", "addr=127.0.0.1,rw")
    assert volume_mounts.resolved("nfs", ":/srv", "addr=10.0.0.9,vers=4") == (":/srv", "addr=10.0.0.9,vers=4")
    assert volume_mounts.resolved("cifs", "//LOCALHOST/x", "username=a") == ("//127.0.0.1/x", "username=a")
    with pytest.raises(ShoalError, match="error resolving passed in network volume address: lookup nas"):
        volume_mounts.resolved("nfs", ":/srv", "addr=nas.invalid")
