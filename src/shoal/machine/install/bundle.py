"""The bundle that a client carries to machines: Shoal and its dependencies for one Python and one architecture.

A tar.gz of what goes into site-packages, kept in the store's cache. Where the machine's Python and architecture are
this computer's it is made from what is installed here, without any network; else pip fetches the wheels.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import io
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import shoal
from shoal.machine import distributions
from shoal.machine.errors import MachineError
from shoal.machine.files import locked, write_atomic

PIP_TIMEOUT = 600.0


class Target(NamedTuple):
    """What a bundle is for."""

    python: tuple[int, int]
    machine: str
    glibc: tuple[int, int] | None

    @property
    def tag(self) -> str:
        """`cp311-x86_64`."""
        return f"cp{self.python[0]}{self.python[1]}-{self.machine}"


def identity(target: Target) -> str:
    """The bundle's name: Shoal's version, a digest of its source and of its dependencies' names, and the target."""
    digest = hashlib.sha256("\n".join(_requirements()).encode())
    for name, path in _own_files():
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return f"{shoal.__version__}-{digest.hexdigest()[:12]}-{target.tag}"


def get(cache: Path, target: Target) -> tuple[str, bytes]:
    """The bundle for `target` and its name, made unless it is in `cache`. Raises MachineError when it cannot be."""
    name = identity(target)
    path = cache / "bundles" / f"{name}.tar.gz"
    with locked(cache / "bundles" / f"{target.tag}.lock"):
        if not path.exists():
            write_atomic(path, _pack(_tree(cache, target)), 0o600)
            for old in path.parent.glob(f"*-{target.tag}.tar.gz"):
                if old != path:
                    old.unlink()
        return name, path.read_bytes()


def _tree(cache: Path, target: Target) -> Iterator[tuple[str, bytes]]:
    yield from ((name, path.read_bytes()) for name, path in _own_files())
    installed = list(_installed(target))
    if installed:
        for distribution in installed:
            yield from _files(distribution)
        return
    folder = cache / "wheels" / target.tag
    _download(folder, target)
    for wheel in sorted(folder.glob("*.whl")):
        yield from _unzipped(wheel)


def _own_files() -> list[tuple[str, Path]]:
    root = Path(shoal.__file__).resolve().parent
    paths = sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [(f"shoal/{path.relative_to(root).as_posix()}", path) for path in paths]


def _requirements() -> list[str]:
    """What Shoal's own metadata asks for on Linux, without its extras."""
    try:
        wanted = importlib.metadata.requires("shoal") or []
    except importlib.metadata.PackageNotFoundError as fault:
        raise MachineError("this copy of Shoal does not know its dependencies: install it with pip") from fault
    return [item.partition(";")[0].strip() for item in wanted if "extra ==" not in item]


def _installed(target: Target) -> Iterator[importlib.metadata.Distribution]:
    """Shoal's dependencies as installed here, when the target can use them; nothing when it cannot."""
    here = Target((sys.version_info[0], sys.version_info[1]), platform.machine(), _glibc())
    if sys.platform != "linux" or here[:2] != target[:2] or sys.implementation.name != "cpython":
        return
    found = distributions.needed()
    if not set(distributions.required(importlib.metadata.distribution("shoal"))) <= found.keys():
        return
    for distribution in found.values():
        if not _usable(distribution.read_text("WHEEL") or "", here.glibc, target.glibc):
            return
    yield from found.values()


def _usable(wheel: str, ours: tuple[int, int] | None, theirs: tuple[int, int] | None) -> bool:
    """Whether a distribution installed here runs with the target's C library: an older one than its wheel asks for."""
    tags = re.findall(r"^Tag: \S+-\S+-(\S+)$", wheel, re.MULTILINE)
    if "any" in tags:
        return True
    if theirs is None:
        return False
    oldest = [_manylinux(tag) for tag in tags if "linux" in tag]
    known = [version for version in oldest if version]
    # Compiled here: it needs our C library or a newer one.
    needed = min(known) if known else ours
    return needed is not None and theirs >= needed


def _manylinux(tag: str) -> tuple[int, int] | None:
    if match := re.match(r"manylinux_(\d+)_(\d+)_", tag):
        return int(match[1]), int(match[2])
    return {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}.get(tag.partition("_")[0])


def _glibc() -> tuple[int, int] | None:
    kind, version = platform.libc_ver()
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return (int(numbers[1]), int(numbers[2])) if kind == "glibc" and numbers else None


def _files(distribution: importlib.metadata.Distribution) -> Iterator[tuple[str, bytes]]:
    for file in distribution.files or []:
        name = file.as_posix()
        if not name.startswith(("..", "/")) and "__pycache__" not in name:
            yield name, Path(str(file.locate())).read_bytes()


def _download(folder: Path, target: Target) -> None:
    if target.glibc is None:
        raise MachineError("the machine has no GNU C library: there are no wheels for it")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    major, minor = target.glibc
    platforms = [f"manylinux_{major}_{number}_{target.machine}" for number in range(minor, 16, -1)]
    platforms += [f"manylinux2014_{target.machine}"]
    version = ".".join(map(str, target.python))
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", fresh,
            "--only-binary", ":all:", "--implementation", "cp", "--python-version", version,
            *(word for name in platforms for word in ("--platform", name)), "--find-links", str(folder),
            *_requirements(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PIP_TIMEOUT)
        except subprocess.TimeoutExpired as fault:
            raise MachineError(f"pip did not fetch the wheels for {target.tag} in {PIP_TIMEOUT:g} s") from fault
        if done.returncode:
            last = ([line for line in done.stderr.splitlines() if line.strip()] or ["pip failed"])[-1]
            raise MachineError(
                f"no bundle for the machine's Python {version} on {target.machine}: this computer has another, and pip "
                f"could not fetch the wheels ({last})"
            )
        for old in folder.glob("*.whl"):
            old.unlink()
        for wheel in Path(fresh).glob("*.whl"):
            os.replace(wheel, folder / wheel.name)


def _unzipped(wheel: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            name = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", info.filename)
            if not info.is_dir() and ".data/" not in name:
                yield name, archive.read(info)


def _pack(tree: Iterator[tuple[str, bytes]]) -> bytes:
    """The same tree gives the same bytes."""
    target = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=target, mode="wb", compresslevel=3, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in sorted(dict(tree).items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755 if ".so" in name.rpartition("/")[2] else 0o644
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()
