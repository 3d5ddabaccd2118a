"""The image in the store: what is used, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.machine.errors import MachineError
from shoal.machine.image import cache, cached, ensure

SECTOR = 2048
FILES = {"KERNEL": b"k" * 5000, "INITRD": b"i" * 100, "ROOT": b"hsqs" + b"r" * 9000}


def manifest(**changes: object) -> bytes:
    """What the image says of itself."""
    described = {
        name.lower(): {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in FILES.items()
    }
    value = {"form": 1, "version": "0.1.0+abc", "created": "2026-11-23T05:00:00Z", "files": described}
    return json.dumps(value | changes).encode()


def make_iso(label: str = "SHOAL-0.1.0+abc", about: bytes | None = None, without: str = "") -> bytes:
    """An ISO 9660 image, as small as they come."""
    files = {"MANIFEST": manifest() if about is None else about, **FILES}
    files.pop(without, None)
    sector, records, body = 20, [], b""
    for name, data in files.items():
        records.append(_record(name.encode() + b".;1", sector, len(data), 0))
        padded = data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")
        body += padded
        sector += len(padded) // SECTOR
    directory = b"".join([_record(b"\0", 19, SECTOR, 2), _record(b"\1", 19, SECTOR, 2), *records]).ljust(SECTOR, b"\0")
    descriptor = bytearray(SECTOR)
    descriptor[:7] = b"\x01CD001\x01"
    descriptor[40:72] = label.encode().ljust(32)
    struct.pack_into("<I", descriptor, 80, sector)
    root = _record(b"\0", 19, SECTOR, 2)
    descriptor[156 : 156 + len(root)] = root
    return bytes(16 * SECTOR) + bytes(descriptor) + bytes(2 * SECTOR) + directory + body


def _record(name: bytes, sector: int, size: int, flags: int) -> bytes:
    length = 33 + len(name) + (1 - len(name) % 2)
    record = bytearray(length)
    record[0], record[25], record[32] = length, flags, len(name)
    struct.pack_into("<I", record, 2, sector)
    struct.pack_into("<I", record, 10, size)
    record[33 : 33 + len(name)] = name
    return bytes(record)


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes], Path]:
    """Put a file where the image belongs; the store's root."""

    def write(data: bytes) -> Path:
        path = cache.location(tmp_path)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return tmp_path

    return write


def test_an_image_put_there_by_hand_is_used(put: Callable[[bytes], Path]) -> None:
    """A whole image is used, whoever put it there; its parts lie beside it, whole."""
    image = cached(put(make_iso()))
    assert image.version == "0.1.0+abc"
    assert (image.kernel.read_bytes(), image.initrd.read_bytes(), image.root.read_bytes()) == tuple(FILES.values())


def test_it_is_checked_once(put: Callable[[bytes], Path]) -> None:
    """An image that did not change is not read again; parts that were lost are extracted again."""
    store = put(make_iso())
    first = cached(store)
    inode = first.root.stat().st_ino
    assert cached(store) == first and first.root.stat().st_ino == inode
    first.kernel.unlink()
    assert cached(store).kernel.read_bytes() == FILES["KERNEL"]


def test_a_new_one_takes_the_place_of_the_old(put: Callable[[bytes], Path]) -> None:
    """Another image under the same name is noticed, and nothing of the former one stays."""
    old = cached(put(make_iso()))
    new = cached(put(make_iso(about=manifest(version="0.2.0+def"))))
    assert new.version == "0.2.0+def" and not old.root.exists()
    assert len(list(new.iso.parent.iterdir())) == 2


def test_a_damaged_copy_is_not_taken_for_the_one_that_was_checked(put: Callable[[bytes], Path]) -> None:
    """A file with the same manifest but other contents is checked again."""
    store = put(make_iso())
    cached(store)
    damaged = make_iso().replace(b"r" * 9000, b"r" * 8999 + b"x")
    put(damaged)
    os.utime(cache.location(store), (1, 1))
    with pytest.raises(MachineError, match="digest of its root is wrong"):
        cached(store)


def refused(store: Path) -> str:
    """Why the store's image is not used."""
    with pytest.raises(MachineError) as caught:
        cached(store)
    assert list(cache.location(store).parent.glob("*image*")) == [], "something was left"
    return str(caught.value)


def test_none(tmp_path: Path) -> None:
    """Without an image the user hears how to make one."""
    with pytest.raises(MachineError, match=r"shoal\.iso: make one with 'shoal machine image build'"):
        cached(tmp_path)


@pytest.mark.parametrize("size", [0, 100, 17 * SECTOR, 20 * SECTOR, 22 * SECTOR])
def test_half_written(put: Callable[[bytes], Path], size: int) -> None:
    """A file that was cut off is refused by name, wherever it was cut, with what to do."""
    store = put(make_iso()[:size])
    text = refused(store)
    assert str(cache.location(store)) in text and "shoal machine image" in text
    if size > 17 * SECTOR:
        assert f"ends after {size} of {len(make_iso())} bytes" in text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"not an iso" * 9000, "is no ISO image"),
        (make_iso("BOOT2DOCKER-V19.03"), "is no machine image of Shoal (its label is 'BOOT2DOCKER-V19.03')"),
        (make_iso(without="MANIFEST"), "is no machine image of Shoal"),
        (make_iso(without="KERNEL"), "manifest cannot be read"),
        (make_iso(about=b"{"), "manifest cannot be read"),
        (make_iso(about=manifest(files=[])), "manifest cannot be read"),
        (make_iso(about=manifest(form=9)), "has form 9"),
        (make_iso(about=manifest().replace(b"5000", b"5001")), "kernel has 5000 bytes instead of 5001"),
        (make_iso().replace(b"kkk", b"kxk", 1), "digest of its kernel is wrong"),
    ],
)
def test_broken_or_foreign(put: Callable[[bytes], Path], data: bytes, why: str) -> None:
    """What is none of ours, or not as it was made, is refused by name with the reason."""
    text = refused(put(data))
    assert why in text and "cache/shoal.iso" in text


def test_remove(put: Callable[[bytes], Path]) -> None:
    """Removing takes the parts too, and tells whether there was an image."""
    store = put(make_iso())
    cached(store)
    assert cache.remove(store)
    assert list((store / "cache").iterdir()) == []
    assert not cache.remove(store)
    shutil.rmtree(store / "cache")
    assert not cache.remove(store)


def test_a_first_machine_needs_no_image_beforehand(
    put: Callable[[bytes], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is none one is made, and what that needs is named; one that is there is used as it is."""
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    with pytest.raises(MachineError, match=r"There is no machine image .*shoal\.iso\. .*apt-get install .*mmdebstrap"):
        ensure(tmp_path / "empty", said.append)
    store = put(make_iso())
    assert ensure(store, said.append).iso == cache.location(store)
    assert said == []
