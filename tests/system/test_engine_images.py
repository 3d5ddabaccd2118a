"""Images: import, tag, push, pull, load, save, remove; against a real registry."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import stat
import subprocess
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shoal.engine import layers
from shoal.engine.image_store import User
from shoal.engine.images import Images
from shoal.engine.layers import feed_unpacker
from shoal.kit.clock import SystemClock
from shoal.model.engine import AuthConfig
from shoal.model.errors import Conflict, InvalidArgument, NotFound, ShoalError, Unauthenticated
from tests.system.registry import registry

pytestmark = pytest.mark.system


def tar(*entries: tuple[str, Any]) -> bytes:
    """A tar of `(name, bytes | TarInfo)` entries."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in entries:
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = content if isinstance(content, bytes) else b""
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def images(folder: Path) -> Images:
    return Images(folder, SystemClock())


async def test_push_and_pull_give_the_same_files(tmp_path: Path) -> None:
    """What is imported and pushed can be pulled elsewhere, by tag and by digest, with its config and files."""
    (tmp_path / "r").mkdir()
    with registry(tmp_path / "r") as host:
        here, there = images(tmp_path / "a"), images(tmp_path / "b")
        name = f"{host}/me/app:1"
        made = await here.import_(stream(tar(("bin/app", b"x" * 300_000))), name, ["CMD app --fast", "ENV A=1 B=2"])
        pushed: list[dict[str, Any]] = []
        await here.push(name, None, pushed.append)
        said: list[dict[str, Any]] = []
        got = await there.pull(name, None, said.append)
        assert got.id == made.id
        assert got.config.cmd == ["/bin/sh", "-c", "app --fast"] and got.config.env == ["A=1", "B=2"]
        assert (there.layers.chain(got)[0] / "bin/app").read_bytes() == b"x" * 300_000
        assert said[-1] == {"status": f"Status: Downloaded newer image for {name}"}
        digest = pushed[-1]["aux"]["Digest"]
        assert got.repo_digests == [f"{host}/me/app@{digest}"]
        again: list[dict[str, Any]] = []
        await there.pull(f"{host}/me/app@{digest}", None, again.append)
        assert again[-1]["status"].startswith("Status: Image is up to date")
        assert (await there.resolve(name, None))[0] == digest


async def test_a_registry_with_a_password_says_no_without_it(tmp_path: Path) -> None:
    """Login fails on a wrong password; pull without credentials fails in docker's words; with them it works."""
    (tmp_path / "r").mkdir()
    with registry(tmp_path / "r", "ann", "secret") as host:
        here = images(tmp_path / "a")
        good = AuthConfig(username="ann", password="secret", serveraddress=host)
        assert await here.registry_login(good) == "Login Succeeded"
        with pytest.raises(Unauthenticated, match="401 Unauthorized"):
            await here.registry_login(AuthConfig(username="ann", password="wrong", serveraddress=host))
        await here.import_(stream(tar(("f", b"1"))), f"{host}/p/q:1")
        await here.push(f"{host}/p/q:1", good)
        with pytest.raises(NotFound, match=f"pull access denied for {host}/p/q, repository does not exist or may requ"):
            await here.pull(f"{host}/p/q:1")
        with pytest.raises(NotFound, match="manifest unknown"):
            await here.pull(f"{host}/p/q:nope", good)
        assert (await here.pull(f"{host}/p/q:1", good)).repo_tags == [f"{host}/p/q:1"]


async def test_an_interrupted_download_is_resumed(tmp_path: Path) -> None:
    """Bytes that arrived before an interruption are not fetched again, and the whole is still verified."""
    (tmp_path / "r").mkdir()
    with registry(tmp_path / "r") as host:
        here, there = images(tmp_path / "a"), images(tmp_path / "b")
        made = await here.import_(stream(tar(("data", os.urandom(3_000_000)))), f"{host}/big:1")
        await here.push(f"{host}/big:1")
        layer = here.store.stored(made.id).layers[0]
        whole = here.store.blobs.path(layer.digest).read_bytes()
        there.store.blobs.partial(layer.digest).write_bytes(whole[:2_500_000])
        said: list[dict[str, Any]] = []
        await there.pull(f"{host}/big:1", None, said.append)
        arrived = [s["progressDetail"]["current"] for s in said if s.get("status") == "Downloading"]
        assert min(arrived) > 2_500_000
        third = images(tmp_path / "c")
        third.store.blobs.partial(layer.digest).write_bytes(b"!" * 2_500_000)
        with pytest.raises(ShoalError, match="verification failed"):
            await third.pull(f"{host}/big:1")
        assert (await third.pull(f"{host}/big:1")).id == made.id


async def test_equal_pulls_at_once_download_once(tmp_path: Path) -> None:
    """Five pulls of one image side by side fetch each layer once."""
    (tmp_path / "r").mkdir()
    with registry(tmp_path / "r") as host:
        here, there = images(tmp_path / "a"), images(tmp_path / "b")
        await here.import_(stream(tar(("data", os.urandom(500_000)))), f"{host}/app:1")
        await here.push(f"{host}/app:1")
        said: list[dict[str, Any]] = []
        await asyncio.gather(*(there.pull(f"{host}/app:1", None, said.append) for _ in range(5)))
        assert sum(s.get("status") == "Download complete" for s in said) == 1


async def test_save_and_load_round_trip(tmp_path: Path) -> None:
    """An archive from `save` loads elsewhere with names, config and layers unchanged."""
    here, there = images(tmp_path / "a"), images(tmp_path / "b")
    made = await here.import_(stream(tar(("etc/x", b"hi"))), "app:1", ["LABEL a=b"])
    archive = b"".join([chunk async for chunk in here.save(["app:1"])])
    said: list[dict[str, Any]] = []
    loaded = await there.load(stream(archive), said.append)
    assert [image.id for image in loaded] == [made.id]
    assert there.find("app:1").config.labels == {"a": "b"}
    assert said == [{"stream": "Loaded image: app:1\n"}]


async def test_a_name_that_looks_like_an_id_is_saved_as_a_name(tmp_path: Path) -> None:
    """`cafe` is a name when an image is called so; an image saved by its id has no name in the archive."""
    here, there = images(tmp_path / "a"), images(tmp_path / "b")
    made = await here.import_(stream(tar(("f", b"1"))), "cafe")
    await there.load(stream(b"".join([chunk async for chunk in here.save(["cafe"])])))
    assert there.find("cafe").repo_tags == ["cafe:latest"]
    nameless = images(tmp_path / "c")
    await nameless.load(stream(b"".join([chunk async for chunk in here.save([made.id])])))
    assert nameless.find(made.id).repo_tags == []


async def test_removal_respects_names_and_containers(tmp_path: Path) -> None:
    """A second name is only untagged; a used image stays; the last removal frees layers and blobs."""
    here = images(tmp_path / "a")
    made = await here.import_(stream(tar(("f", b"1"))), "app:1")
    await here.tag("app:1", "other:2")
    assert await here.remove("app:1") == [{"Untagged": "app:1"}]
    here.store.users = lambda: [User(container_id="c" * 64, image_id=made.id)]
    with pytest.raises(Conflict, match=r'reference "other:2" \(must force\) - container ccc'):
        await here.remove("other:2")
    here.store.users = list
    report = await here.remove("other:2")
    assert {"Deleted": made.id} in report
    assert here.list() == [] and not list((tmp_path / "a/blobs/sha256").iterdir())
    with pytest.raises(NotFound, match="No such image: other:2"):
        here.find("other:2")
    assert images(tmp_path / "a").list() == []


async def test_the_store_is_the_same_after_a_restart(tmp_path: Path) -> None:
    """Images, names and configs are read back from disk."""
    made = await images(tmp_path / "a").import_(stream(tar(("f", b"1"))), "app:1", ['CMD ["x"]'])
    again = images(tmp_path / "a")
    assert again.find("app:1") == made and again.find(made.id[7:19]) == made


def test_nothing_in_an_archive_reaches_outside(tmp_path: Path) -> None:
    """Absolute names, `..`, symlinks to the outside and hard links through them all stay below the layer."""
    target = tmp_path / "layer"
    target.mkdir()
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "keep").write_text("mine")
    data = tar(
        ("/abs", b"1"),
        ("../up", b"2"),
        ("escape", link("escape", str(victim))),
        ("escape/evil", b"3"),
        ("dots", link("dots", "../../victim")),
        ("dots/keep", b"4"),
        ("hard", link("hard", "escape/keep", tarfile.LNKTYPE)),
    )
    with pytest.raises(ShoalError, match="ApplyLayer"):
        feed_unpacker(target, [data])  # the hard link's target does not exist in here
    assert [p.name for p in victim.iterdir()] == ["keep"] and (victim / "keep").read_text() == "mine"
    assert (target / "up").read_bytes() == b"2" and (target / "abs").read_bytes() == b"1"


def test_whiteouts_become_overlayfs_ones(tmp_path: Path) -> None:
    """`.wh.x` is a character device 0/0 called x; an opaque directory has overlayfs's attribute."""
    feed_unpacker(tmp_path, [tar(("d/.wh..wh..opq", b""), ("e/.wh.gone", b""))])
    facts = (tmp_path / "e/gone").lstat()
    assert stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0
    assert os.getxattr(tmp_path / "d", "trusted.overlay.opaque") == b"y"


async def test_a_damaged_archive_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    """Garbage given to import or load is an error that says so, and no image, layer, blob or upload remains."""
    here = images(tmp_path / "a")
    good = gzip.compress(os.urandom(100_000))
    torn = tar(("manifest.json", b'[{"Config": "c", "Layers": ["l"]}]'), ("c", b"{}"), ("l", good[:50_000]))
    for damaged in (b"this is no tar" * 100, good[:50_000], good[:-8] + bytes(8)):
        with pytest.raises(ShoalError, match="failed to register layer"):
            await here.import_(stream(damaged), "bad:1")
        with pytest.raises(InvalidArgument):
            await here.load(stream(damaged))
    for cut in (torn[:30_000], gzip.compress(torn)[:30_000]):
        with pytest.raises(InvalidArgument, match="invalid tar header"):
            await here.load(stream(cut))
    with pytest.raises(ShoalError, match="unexpected EOF"):
        await here.load(stream(torn))
    assert here.list() == [] and files(tmp_path / "a") == []


def files(folder: Path) -> list[Path]:
    """The files below `folder`, apart from the list of names."""
    return [path for path in folder.rglob("*") if not path.is_dir() and path.name != "references.json"]


@pytest.mark.parametrize("way", ["import_", "load"])
async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path, way: str) -> None:
    """The client goes away in the middle, by itself or because it is told to: what has arrived is deleted."""
    here = images(tmp_path / "a")

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(1 << 20)
        assert files(tmp_path / "a")
        raise ConnectionResetError

    arrived = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(1 << 20)
        arrived.set()
        await asyncio.Event().wait()

    with pytest.raises(ConnectionResetError):
        await getattr(here, way)(broken())
    upload = asyncio.ensure_future(getattr(here, way)(endless()))
    await arrived.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert files(tmp_path / "a") == []


async def test_a_cancelled_import_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same while it is unpacked, which cannot be stopped: what is made meanwhile goes as well."""
    here = images(tmp_path / "a")
    loop, unpacking, cancelled = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    unpack = layers.feed_unpacker

    def slow(target: Path, chunks: Any) -> str:
        loop.call_soon_threadsafe(unpacking.set)
        assert cancelled.wait(10)
        return unpack(target, chunks)

    monkeypatch.setattr(layers, "feed_unpacker", slow)
    importing = asyncio.ensure_future(here.import_(stream(tar(("f", b"1"))), "app:1"))
    await unpacking.wait()
    importing.cancel()
    cancelled.set()
    with pytest.raises(asyncio.CancelledError):
        await importing
    assert files(tmp_path / "a") == []


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 8 MiB, mounted on `folder`."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


async def test_what_does_not_fit_on_the_disk_leaves_it_as_it_was(tmp_path: Path) -> None:
    """Too big an upload, too big a layer, too big an archive: refused, and then what fits still fits."""
    with small_disk(tmp_path / "small"):
        await _too_much(tmp_path / "small")


async def _too_much(disk: Path) -> None:
    here = images(disk)
    before = os.statvfs(disk).f_bfree
    upload, layer = tar(("f", os.urandom(10 << 20))), tar(("f", bytes(6 << 20) + os.urandom(1 << 20)))
    packed = gzip.compress(tar(("f", bytes(20 << 20))))
    archive = tar(("manifest.json", b'[{"Config": "c", "Layers": ["l"]}]'), ("c", b"{}"), ("l", os.urandom(5 << 20)))
    for content in (upload, layer, packed):
        with pytest.raises((ShoalError, OSError), match=r"[Nn]o space left on device"):
            await here.import_(stream(content), "big:1")
    for content in (upload, archive):
        with pytest.raises((ShoalError, OSError), match=r"[Nn]o space left on device"):
            await here.load(stream(content))
    assert files(disk) == [] and os.statvfs(disk).f_bfree == before
    await here.import_(stream(tar(("f", b"1"))), "small:1")
