"""What registries do that a quiet one on this computer does not: tokens, broken connections, many blobs at once."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from shoal.engine import manifest as manifests
from shoal.engine.image_store import machine
from shoal.engine.images import Images
from shoal.kit.clock import SystemClock
from shoal.model.container import ContainerConfig
from shoal.model.engine import AuthConfig
from shoal.model.errors import ShoalError, Unauthenticated
from tests.standins.registry import Asked, Registry
from tests.system.test_engine_images import images, small_disk, stream, tar

pytestmark = pytest.mark.system

ANN = AuthConfig(username="ann", password="secret")
WRONG = AuthConfig(username="ann", password="wrong")


async def image_of(here: Images, name: str, *layers: bytes) -> list[str]:
    """Load an image of these layers (tars), whose order the registry is to keep; the digests of their blobs."""
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = manifests.make_config(ContainerConfig(cmd=["x"]), diff_ids, machine(), here.store.clock.now(), "")
    members = {f"{number}.tar": layer for number, layer in enumerate(layers)}
    listed = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": [*members]}])
    archive = tar(("manifest.json", listed.encode()), ("config.json", config), *members.items())
    (image,) = await here.load(stream(archive))
    return [layer.digest for layer in here.store.stored(image.id).layers]


async def test_a_registry_that_wants_a_token(tmp_path: Path) -> None:
    """The token is fetched where the challenge says, for what is to be done, with the user's credentials."""
    here, there = images(tmp_path / "a"), images(tmp_path / "b")
    async with Registry({"ann": "secret"}).serve() as registry:
        name = f"{registry.host}/team/app:1"
        made = await here.import_(stream(tar(("f", b"1"))), name)
        for bad in (None, WRONG):
            with pytest.raises(Unauthenticated, match="unauthorized: incorrect username or password"):
                await here.push(name, bad)
            with pytest.raises(Unauthenticated, match="unauthorized: incorrect username or password"):
                await there.pull(name, bad)
        assert registry.scopes == [] and registry.blobs == {}
        await here.push(name, ANN)
        assert registry.scopes == ["repository:team/app:pull,push"]
        assert (await there.pull(name, ANN)).id == made.id
        assert registry.scopes[1:] == ["repository:team/app:pull"]
        login = AuthConfig(username="ann", password="secret", serveraddress=registry.host)
        assert await here.registry_login(login) == "Login Succeeded"


async def test_a_token_that_is_no_longer_valid_is_renewed(tmp_path: Path) -> None:
    """A big image takes longer than a token lasts: a new one is fetched, for pull and for push."""
    here, there = images(tmp_path / "a"), images(tmp_path / "b")
    async with Registry({"ann": "secret"}).serve() as registry:
        name = f"{registry.host}/app:1"
        await image_of(here, name, *(tar((f"f{number}", os.urandom(1000))) for number in range(5)))

        due = ["Pushed", "Download complete"]

        def forgetful(line: dict[str, Any]) -> None:
            if line.get("status") in due:
                due.remove(line["status"])
                registry.forget_tokens()

        await here.push(name, ANN, forgetful)
        got = await there.pull(name, ANN, forgetful)
        assert len(there.layers.chain(got)) == 5 and due == []
        assert min(map(registry.scopes.count, ("repository:app:pull,push", "repository:app:pull"))) >= 2


async def test_mirrors_are_asked_before_docker_hub(tmp_path: Path) -> None:
    """The first mirror that has an image of Docker Hub's gives it, under Docker Hub's name; none hears the user's password."""
    here = images(tmp_path / "a")
    async with Registry().serve() as mirror, Registry({"ann": "secret"}).serve() as private:
        made = await here.import_(stream(tar(("f", b"1"))), f"{mirror.host}/library/app:1")
        await here.push(f"{mirror.host}/library/app:1")
        before = ["http://127.0.0.1:1", f"http://{private.host}/", f"http://{mirror.host}"]
        there = Images(tmp_path / "b", SystemClock(), mirrors=before)
        got = await there.pull("app:1", ANN)
        assert (got.id, got.repo_tags) == (made.id, ["app:1"])
        assert (await there.resolve("app:1", ANN))[0] == got.repo_digests[0].partition("@")[2]
        assert private.scopes == []
        with pytest.raises(ShoalError):
            await there.pull("elsewhere.invalid/library/app:1")


async def test_layers_are_downloaded_side_by_side(tmp_path: Path) -> None:
    """Three layers are under way at once: this registry answers none of them before it was asked for all three."""
    here, there = images(tmp_path / "a"), images(tmp_path / "b")
    async with Registry().serve() as registry:
        name = f"{registry.host}/app:1"
        blobs = await image_of(here, name, *(tar((f"f{number}", os.urandom(1000))) for number in range(5)))
        await here.push(name)
        registry.gather = set(blobs[:3])
        said: list[dict[str, Any]] = []
        got = await there.pull(name, None, said.append)
        assert [(path / f"f{n}").stat().st_size for n, path in enumerate(there.layers.chain(got))] == [1000] * 5
        assert sum(line.get("status") == "Pull complete" for line in said) == 5


@pytest.mark.parametrize("content", [os.urandom(10 << 20), bytes(20 << 20)], ids=["download", "unpacking"])
async def test_a_pull_that_does_not_fit_leaves_the_disk_as_it_was(tmp_path: Path, content: bytes) -> None:
    """An image that is too big, packed or unpacked: nothing that has arrived of it is kept, and a small one fits."""
    disk = tmp_path / "small"
    async with Registry().serve() as registry:
        here = images(tmp_path / "a")
        big, small = f"{registry.host}/big:1", f"{registry.host}/small:1"
        await image_of(here, big, tar(("f", b"1")), tar(("f", content)), tar(("g", os.urandom(1 << 20))))
        made = await here.import_(stream(tar(("f", os.urandom(3 << 20)))), small)
        await here.push(big)
        await here.push(small)
        with small_disk(disk):
            there, before = images(disk), os.statvfs(disk).f_bfree
            with pytest.raises(ShoalError, match="No space left on device"):
                await there.pull(big)
            assert os.statvfs(disk).f_bfree == before
            assert (await there.pull(small)).id == made.id


async def test_a_download_that_breaks_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A connection that ends in the middle of a layer: the rest of it is asked for, and only that."""
    here, there = images(tmp_path / "a"), images(tmp_path / "b")
    async with Registry().serve() as registry:
        name = f"{registry.host}/app:1"
        (layer,) = await image_of(here, name, tar(("f", os.urandom(300_000))))
        await here.push(name)
        registry.break_after = 100_000
        counts: list[int] = []

        def progress(line: dict[str, Any]) -> None:
            if line["status"] == "Downloading":
                counts.append(line["progressDetail"]["current"])
                if counts[-1] == registry.break_after:
                    registry.arrived.set()

        got = await there.pull(name, None, progress)
        assert (there.layers.chain(got)[0] / "f").stat().st_size == 300_000
        assert counts == sorted(counts)
        assert [asked for asked in registry.asked if asked.digest == layer] == [
            Asked(layer, ""),
            Asked(layer, "bytes=100000-"),
        ]
