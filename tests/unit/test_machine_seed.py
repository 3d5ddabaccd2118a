"""The seed of a virtual machine."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.machine import seed
from shoal.machine.driver import EngineSetup
from shoal.machine.errors import MachineError
from shoal.machine.seed import Interface, Seed

HOST_KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def a_seed(**changes: object) -> Seed:
    """One that is fine."""
    plain = Seed("myvm1", (Interface("52:54:00:00:00:01"),), ("ssh-ed25519 AAAA me",), HOST_KEY)
    return plain._replace(**changes)  # type: ignore[arg-type]


def members(data: bytes) -> dict[str, tuple[int, bytes]]:
    """What is in it, in order."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {item.name: (item.mode, archive.extractfile(item).read()) for item in archive}  # type: ignore[union-attr]


def test_layout() -> None:
    """It is a USTAR archive in whole blocks whose very first bytes say what it is; secrets are for root alone."""
    data = seed.build(a_seed(setup=EngineSetup({"/etc/docker/key.pem": (0o600, b"k")}, ["-H", "a b"], {"A": "x=y z"})))
    assert data.startswith(b"machine-seed\0") and data[257:262] == b"ustar" and len(data) % 512 == 0
    assert data.endswith(bytes(1024))
    found = members(data)
    assert list(found) == [
        "machine-seed", "hostname", "interfaces", "authorized_keys", "host_key", "files/etc/docker/key.pem",
        "files/etc/shoal/shoald.args", "files/etc/shoal/shoald.env",
    ]  # fmt: skip
    assert found["machine-seed"] == (0o600, b"shoal machine seed 1\n")
    assert found["host_key"] == (0o600, HOST_KEY)
    assert found["files/etc/docker/key.pem"] == (0o600, b"k")
    assert found["files/etc/shoal/shoald.args"] == (0o600, b"-H\na b\n")
    assert found["files/etc/shoal/shoald.env"] == (0o600, b"A=x=y z\n")


def test_interfaces() -> None:
    """A line for each card: MAC in small letters with colons, address, gateway, servers; `-` is nothing."""
    cards = (
        Interface("52-54-00-00-00-AB"),
        Interface("52:54:00:00:00:02", "192.168.99.101/24", "192.168.99.1", ("1.1.1.1", "2.2.2.2")),
        Interface("52:54:00:00:00:03", ""),
    )
    assert members(seed.build(a_seed(interfaces=cards)))["interfaces"][1].decode().splitlines() == [
        "52:54:00:00:00:ab dhcp - -",
        "52:54:00:00:00:02 192.168.99.101/24 192.168.99.1 1.1.1.1,2.2.2.2",
        "52:54:00:00:00:03 - - -",
    ]


def test_same_input_same_bytes() -> None:
    """Equal seeds are equal byte by byte: a machine applies a seed only when it changed."""
    assert seed.build(a_seed()) == seed.build(a_seed())


@pytest.mark.parametrize(
    "changes",
    [
        {"hostname": ""}, {"hostname": "a b"}, {"hostname": "-a"}, {"hostname": "a\n"}, {"hostname": "a" * 65},
        {"hostname": "$(reboot)"}, {"host_key": b"ssh-ed25519 AAAA"}, {"authorized_keys": ("",)},
        {"authorized_keys": ("a\nb",)},
        {"interfaces": (Interface("52:54"),)}, {"interfaces": (Interface("52:54:00:00:00:01\n"),)},
        {"interfaces": (Interface("52:54:00:00:00:01", "192.168.99.101"),)},
        {"interfaces": (Interface("52:54:00:00:00:01", "192.168.99.300/24"),)},
        {"interfaces": (Interface("52:54:00:00:00:01", "192.168.99.1/33"),)},
        {"interfaces": (Interface("52:54:00:00:00:01", "10.0.0.1/8", "gateway"),)},
        {"interfaces": (Interface("52:54:00:00:00:01", "10.0.0.1/8", "", ("a;b",)),)},
        {"setup": EngineSetup({"/usr/bin/x": (0o644, b"")}, (), {})},
        {"setup": EngineSetup({"/etc/shoal": (0o644, b"")}, (), {})},
        {"setup": EngineSetup({"/etc/shoal/../passwd": (0o644, b"")}, (), {})},
        {"setup": EngineSetup({"/etc/shoal//x": (0o644, b"")}, (), {})},
        {"setup": EngineSetup({"etc/shoal/x": (0o644, b"")}, (), {})},
        {"setup": EngineSetup({"/etc/shoal/" + "x" * 120: (0o644, b"")}, (), {})},
        {"setup": EngineSetup({}, ("a\nb",), {})}, {"setup": EngineSetup({}, (), {"A": "b\nc"})},
        {"setup": EngineSetup({}, (), {"A B": "c"})}, {"setup": EngineSetup({}, (), {"": "c"})},
    ],
)  # fmt: skip
def test_bad_ones_are_refused(changes: dict[str, object]) -> None:
    """What would mean something else in the machine is refused here."""
    with pytest.raises(MachineError):
        seed.build(a_seed(**changes))


def test_too_large() -> None:
    """More than the machine reads is refused with both numbers."""
    room = seed.LIMIT - len(seed.build(a_seed(setup=EngineSetup({"/etc/shoal/x": (0o644, b"")}, (), {}))))
    exact = EngineSetup({"/etc/shoal/x": (0o644, b"x" * room)}, (), {})
    assert len(seed.build(a_seed(setup=exact))) == seed.LIMIT
    with pytest.raises(MachineError, match=r"65536 bytes, this one has 66048"):
        seed.build(a_seed(setup=EngineSetup({"/etc/shoal/x": (0o644, b"x" * (room + 1))}, (), {})))


_words = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=40)


@given(
    st.lists(_words, max_size=8),
    st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True), _words, max_size=4),
    st.dictionaries(
        st.from_regex(r"/etc/(docker|shoal)/[a-z]{1,9}(/[a-z.-]{3,9})?", fullmatch=True),
        st.tuples(st.integers(0, 0o777), st.binary(max_size=600)), max_size=4,
    ),
)  # fmt: skip
def test_what_goes_in_comes_out(
    arguments: list[str], environment: dict[str, str], files: dict[str, tuple[int, bytes]]
) -> None:
    """Arguments, variables and files arrive as they were given."""
    found = members(seed.build(a_seed(setup=EngineSetup(files, arguments, environment))))
    assert found["files/etc/shoal/shoald.args"][1].decode() == "".join(f"{word}\n" for word in arguments)
    assert found["files/etc/shoal/shoald.env"][1].decode() == "".join(f"{k}={v}\n" for k, v in environment.items())
    for path, file in files.items():
        assert found[f"files{path}"] == file
