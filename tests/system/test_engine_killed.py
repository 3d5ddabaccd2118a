"""Killed in the middle of making or removing images and volumes: afterwards each is there whole, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shoal.engine.engine import Engine
from shoal.engine.images import Images
from shoal.engine.volumes import Volumes
from shoal.kit.clock import SystemClock
from shoal.kit.ids import RandomIds
from shoal.model.container import ContainerConfig, HostConfig
from shoal.model.engine import Volume
from shoal.model.swarm_spec import Mount
from tests.system.engine_setup import IMAGE, Place, busybox_layer, clear, engine_at

pytestmark = pytest.mark.system

_DOOMED = """
import asyncio, os, shutil, signal, sys
from pathlib import Path
from shoal.engine.image_store import ImageStore
from shoal.engine.images import Images
from shoal.engine.options import EngineOptions
from shoal.engine.records import Records
from shoal.engine.volumes import Volumes
from shoal.kit.clock import SystemClock
from shoal.kit.ids import RandomIds
from shoal.model.container import ContainerConfig, HostConfig
from tests.system.engine_setup import IMAGE, Place, busybox_layer, engine_at

root = Path(sys.argv[1])

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def die_half_way(folder, *args, **kwargs):
    "Delete one file of the tree."
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() or path.is_symlink():
            path.unlink()
            break
    die()

async def stream():
    yield busybox_layer()

def place():
    place = Place.__new__(Place)
    place.root = root
    place.options = EngineOptions(data_root=root / "data", exec_root=root / "run", cgroup_parent=sys.argv[2])
    return place

async def main():
"""


def killed(folder: Path, body: str, parent: str = "") -> None:
    """Run `body` in a process of its own that kills itself in the middle of it."""
    script = _DOOMED + "\n".join(f"    {line}" for line in body.strip().splitlines()) + "\n\nasyncio.run(main())\n"
    done = subprocess.run([sys.executable, "-c", script, str(folder), parent], cwd=os.getcwd(), check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


async def layer() -> AsyncIterator[bytes]:
    """The busybox image's files."""
    yield busybox_layer()


def files(folder: Path) -> list[Path]:
    """Everything below `folder` that is not a directory."""
    return [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]


@pytest.mark.parametrize("removal", ["remove('app:1')", "prune(dangling_only=False)"])
async def test_a_layer_that_was_being_deleted_is_not_taken_for_whole(tmp_path: Path, removal: str) -> None:
    """Killed in the middle of deleting a layer: the same image comes back with all of its files."""
    body = f"""
images = Images(root, SystemClock())
await images.import_(stream(), "app:1")
shutil.rmtree = die_half_way
await images.{removal}
"""
    killed(tmp_path, body)
    here, fresh = Images(tmp_path, SystemClock()), Images(tmp_path / "fresh", SystemClock())
    assert here.list() == []
    again, whole = await here.import_(layer(), "app:1"), await fresh.import_(layer(), "app:1")
    (got,), (wanted,) = here.layers.chain(again), fresh.layers.chain(whole)
    assert {p.relative_to(got) for p in files(got)} == {p.relative_to(wanted) for p in files(wanted)}
    here.layers.trash.empty()
    assert len(list((tmp_path / "layers").iterdir())) == 1


@pytest.mark.parametrize("moment", ["parts = breaking", "ImageStore.add = die", "os.fsync = die"])
async def test_what_a_killed_import_left_goes_at_the_next_start(tmp_path: Path, moment: str) -> None:
    """Killed while it imports: no layer, no blob and no upload is left; an interrupted download is."""
    download = tmp_path / "blobs/partial" / ("ab" * 32)
    body = f"""
images = Images(root, SystemClock())
async def breaking():
    yield bytes(1 << 20)
    die()
parts = stream
{moment}
await images.import_(parts(), "app:1")
"""
    download.parent.mkdir(parents=True)
    download.write_bytes(b"half of a layer")
    killed(tmp_path, body)
    assert len(files(tmp_path)) > 1
    Images(tmp_path, SystemClock()).layers.trash.empty()
    assert files(tmp_path) == [download]


def test_a_volume_that_was_being_deleted_does_not_come_back(tmp_path: Path) -> None:
    """Killed in the middle of `volume rm`: the data is gone from the disk, and a new volume of that name is empty."""
    body = """
volumes = Volumes(root, SystemClock(), RandomIds())
data = Path(volumes.create("mine").mountpoint)
(data / "a").write_text("secret")
(data / "b").write_text("secret")
shutil.rmtree = die_half_way
volumes.remove("mine")
"""
    killed(tmp_path, body)
    volumes = Volumes(tmp_path, SystemClock(), RandomIds())
    assert volumes.list() == []
    volumes.trash.empty()
    assert files(tmp_path) == []
    assert list(Path(volumes.create("mine").mountpoint).iterdir()) == []


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.delete()


async def started_again(place: Place, body: str) -> None:
    """Have a daemon killed within `body`."""
    killed(place.root, body, place.options.cgroup_parent)


def anonymous(engine: Engine) -> list[Volume]:
    """All volumes but the one that the tests name."""
    return [volume for volume in engine.volumes.list() if volume.name != "named"]


async def test_volumes_of_a_container_that_came_to_nothing_go_at_the_next_start(place: Place) -> None:
    """Killed before the container is on disk: its anonymous volumes go, a named one and those of others stay."""
    body = """
async with engine_at(place()) as engine:
    asked = ContainerConfig(image=IMAGE, cmd=["true"], volumes={"/data": {}})
    kept = await engine.containers.create("whole", asked, HostConfig())
    removed = await engine.containers.create("removed", asked, HostConfig())
    await engine.containers.remove("removed")
    Records.write_new = die
    await engine.containers.create("half", asked, HostConfig(binds=["named:/named"]))
"""
    await started_again(place, body)
    async with engine_at(place) as engine:
        try:
            assert [c.name for c in engine.containers.list()] == ["whole"]
            assert engine.volumes.find("named")
            kept = {p.name for c in engine.containers.list() for p in c.mounts}
            assert len(anonymous(engine)) == 2  # of `whole`, and what `rm` without -v leaves, as docker does
            assert kept < {volume.name for volume in anonymous(engine)}
        finally:
            await clear(engine)


_HIDE_AND_DIE = """
hide = Records.hide
def hide_and_die(self, entry):
    hide(self, entry)
    die()
async with engine_at(place()) as engine:
    asked = ContainerConfig(image=IMAGE, cmd=["true"], volumes={"/data": {}})
    await engine.containers.create("brief", asked, HostConfig(binds=["named:/n", "/anonymous"]))
    SHARING
    Records.hide = hide_and_die
    await engine.containers.remove("brief", volumes=True)
"""


async def test_volumes_that_were_to_go_with_their_container_do(place: Place) -> None:
    """Killed between the removal of a container and that of its volumes: the next start finishes it."""
    await started_again(place, _HIDE_AND_DIE.replace("SHARING", ""))
    async with engine_at(place) as engine:
        assert engine.containers.list() == []
        assert [volume.name for volume in engine.volumes.list()] == ["named"]


async def test_volumes_that_another_container_uses_stay(place: Place) -> None:
    """The same where another container has the volumes: they stay, also when that one is removed without them."""
    sharing = 'await engine.containers.create("user", asked, HostConfig(volumes_from=["brief"]))'
    await started_again(place, _HIDE_AND_DIE.replace("SHARING", sharing))
    async with engine_at(place) as engine:
        assert {p.name for p in engine.containers.find("user").mounts} == {v.name for v in engine.volumes.list()}
        await engine.containers.remove("user")
    async with engine_at(place) as engine:
        assert len(engine.volumes.list()) == 3


async def test_a_removal_that_never_began_leaves_the_volumes(place: Place) -> None:
    """Killed before the container is gone: it and its volumes are there, and stay when it is removed without them."""
    body = """
async with engine_at(place()) as engine:
    asked = ContainerConfig(image=IMAGE, cmd=["true"], volumes={"/data": {}})
    await engine.containers.create("still", asked, HostConfig())
    Records.hide = die
    await engine.containers.remove("still", volumes=True)
"""
    await started_again(place, body)
    for names in (["still"], []):
        async with engine_at(place) as engine:
            assert [c.name for c in engine.containers.list()] == names
            assert len(engine.volumes.list()) == 1
            if names:
                await engine.containers.remove("still")


async def test_a_container_that_cannot_be_written_leaves_no_volumes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing creation takes its anonymous volumes along at once, and frees the name."""
    async with engine_at(place) as engine:
        asked = ContainerConfig(image=IMAGE, cmd=["true"], volumes={"/a": {}, "/b": {}})
        with monkeypatch.context() as patch:
            patch.setattr("shoal.engine.overlay.prepare", _no_space)
            with pytest.raises(Exception, match="no space left"):
                await engine.containers.create("full", asked, HostConfig(binds=["named:/named"]))
        assert [volume.name for volume in engine.volumes.list()] == ["named"]
        assert len(list((place.options.data_root / "volumes").iterdir())) == 1
        await engine.containers.create("full", asked, HostConfig())
        await clear(engine)


async def test_a_volume_under_a_container_in_the_making_is_not_pruned(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`volume prune` while a container is made leaves the volumes that were just made for it."""
    from shoal.engine.records import Record, Records

    write = Records.write_new

    def prune_first(self: Records, record: Record) -> None:
        assert engine.volumes.prune(lambda _: False) == ([], 0)
        write(self, record)

    async with engine_at(place) as engine:
        monkeypatch.setattr(Records, "write_new", prune_first)
        asked = ContainerConfig(image=IMAGE, cmd=["true"], volumes={"/a": {}})
        made = await engine.containers.create("made", asked, HostConfig())
        assert engine.volumes.find(made.mounts[0].name)
        await clear(engine)
        assert engine.volumes.list() == []


async def test_a_volume_that_was_there_before_stays_however_it_is_called(place: Place) -> None:
    """`docker volume create` without a name makes an anonymous one; given by its id, --rm does not take it along."""
    async with engine_at(place) as engine:
        mine = engine.volumes.create()
        asked = ContainerConfig(image=IMAGE, cmd=["true"], volumes={"/data": {}})
        host = HostConfig(
            binds=[f"{mine.name}:/mine"], mounts=[Mount(type="volume", source=mine.name, target="/again")]
        )
        await engine.containers.create("brief", asked, host)
        assert len(engine.volumes.list()) == 2
        await clear(engine)
        assert engine.volumes.list() == [mine]


def _no_space(_: Path) -> None:
    raise OSError(28, "No space left on device")
