"""`shoal machine image`: what it shows and says; and what goes into an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cli import machine
from shoal.machine import distributions
from shoal.machine.errors import MachineError
from shoal.machine.image import build, cache, debian, pack, sources
from tests.unit.test_machine_image_cache import make_iso, manifest


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with nothing in it."""
    monkeypatch.setenv("MACHINE_STORAGE_PATH", str(tmp_path))
    return tmp_path


def put(store: Path, data: bytes) -> None:
    """Put an image into the store."""
    cache.location(store).parent.mkdir()
    cache.location(store).write_bytes(data)


def run(words: str) -> int:
    """One command line."""
    return machine.main(["image", *words.split()], "shoal machine")


def test_ls(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table as docker's: version, id, age, size, and whether it holds this Shoal."""
    assert run("ls") == 0
    assert capsys.readouterr().out.split() == ["VERSION", "IMAGE", "ID", "CREATED", "SIZE", "STATUS"]
    put(store, make_iso())
    assert run("ls") == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("0.1.0+abc   ") and line.endswith("Holds another Shoal") and "ago" in line
    assert run("list -q --no-trunc") == 0
    assert capsys.readouterr().out.startswith("sha256:")
    assert run("ls --format {{.Version}}|{{.Path}}") == 0
    assert capsys.readouterr().out == f"0.1.0+abc|{cache.location(store)}\n"
    assert run("ls --format {{.") == 1
    assert "Template parsing error" in capsys.readouterr().err


def test_ls_tells_state(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An image of these very sources is current; a broken one is shown as broken."""
    put(store, make_iso(about=manifest(version=sources.version())))
    run("ls --format {{.Status}}")
    assert capsys.readouterr().out == "Current\n"
    cache.location(store).write_bytes(make_iso()[:50000])
    assert run("ls --format {{.Status}}") == 0
    assert capsys.readouterr().out == "Broken\n"


def test_rm(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it removed; nothing to remove is a failure."""
    put(store, make_iso())
    assert run("rm") == 0
    assert capsys.readouterr().out == f"Deleted: {cache.location(store)}\n"
    assert run("rm") == 1
    assert "There is no machine image" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["bake", "ls x", "rm x", "build x", "ls --frob"])
def test_wrong_use(store: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong use is status 2 and names the help."""
    assert run(words) == 2
    assert "--help'" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["", "--help", "build --help", "ls --help", "rm --help"])
def test_help(store: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself."""
    assert run(words) == 0
    assert capsys.readouterr().out.startswith("Usage: shoal machine image")


def test_missing_programs_are_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its tools, `build` says which Debian packages to install, all at once, before it does anything."""
    monkeypatch.setenv("PATH", str(store))
    with pytest.raises(
        MachineError, match=r"mmdebstrap.* must be installed: apt-get install mmdebstrap squashfs-tools"
    ):
        build(store, print)
    assert not (store / "cache").exists()


def test_version_follows_the_sources() -> None:
    """The version names the package's and is the same every time; every file of ours is in."""
    assert sources.version() == sources.version()
    assert sources.version().startswith("0.")
    names = {path.name for path in sources.own_files()}
    assert {"daemon.py", "seccomp_profile.json", "rc", "inittab"} <= names


def test_dependencies_are_complete_and_no_more(tmp_path: Path) -> None:
    """What Shoal needs is in, with what that needs; tools of developers are not."""
    names = {distribution.name.lower() for distribution in distributions.needed().values()}
    assert {"msgspec", "aiohttp", "yarl", "cryptography", "cffi", "protobuf"} <= names
    assert not names & {"pytest", "mypy", "shoal", "pip", "apache-libcloud"}
    sources.copy_dependencies(tmp_path)
    assert (tmp_path / "aiohttp/web.py").exists() and (
        tmp_path / "_cffi_backend.cpython-311-x86_64-linux-gnu.so"
    ).exists()
    assert not list(tmp_path.rglob("*.pyi")) and not list(tmp_path.rglob("__pycache__"))


def test_mirror() -> None:
    """A mirror that was asked for is the only one."""
    assert debian.sources("bookworm", "http://mirror.example/debian") == [
        "deb http://mirror.example/debian bookworm main"
    ]
    assert all(line.startswith("deb ") and "bookworm" in line for line in debian.sources("bookworm", ""))


def test_cpio(tmp_path: Path) -> None:
    """The archive of the first file system is what kernels read: headers, names and contents on multiples of four."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "x").write_bytes(b"12345")
    (tmp_path / "bin" / "y").symlink_to("x")
    data = b"".join(pack.cpio(tmp_path))
    assert data.count(b"070701") == 4 and len(data) % 4 == 0
    entries = data.split(b"070701")[1:]
    assert [entry[104:].partition(b"\0")[0] for entry in entries] == [b"bin", b"bin/x", b"bin/y", b"TRAILER!!!"]
    assert [int(entry[8:16], 16) >> 12 for entry in entries] == [4, 8, 10, 0]
    assert [int(entry[48:56], 16) for entry in entries] == [0, 5, 1, 0]
