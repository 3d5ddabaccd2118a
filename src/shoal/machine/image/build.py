"""Making the image, offline but for the package mirror. Needs Linux and a few programs, but no rights."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from shoal.machine.errors import MachineError
from shoal.machine.files import locked
from shoal.machine.image import cache, debian, guest, pack, sources
from shoal.machine.image.cache import Image

Say = Callable[[str], None]

TOOLS = {
    "mmdebstrap": "mmdebstrap", "mksquashfs": "squashfs-tools", "xorriso": "xorriso", "depmod": "kmod",
    "openssl": "openssl", "strip": "binutils",
}  # fmt: skip
"""The programs that are needed, and Debian's packages that bring them."""


_WORK = ".build-"


def check_tools() -> None:
    """Whether an image can be made here. Raises MachineError with what to do."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise MachineError(
            "The machine image is made on Linux, on an x86_64 computer: make it there with "
            f"'shoal machine image build', and copy its cache/{cache.FILE} into the cache directory of this store"
        )
    path = pack.environment()["PATH"]
    missing = {tool: package for tool, package in TOOLS.items() if shutil.which(tool, path=path) is None}
    if missing:
        raise MachineError(
            f"To make the machine image, {' and '.join(missing)} must be installed: "
            f"apt-get install {' '.join(missing.values())}"
        )


def ensure(store_root: Path, say: Say) -> Image:
    """The store's image; where there is none one is made, as docker-machine fetched its own. Raises MachineError."""
    place = cache.location(store_root)
    if not place.exists():
        try:
            check_tools()
        except MachineError as fault:
            raise MachineError(f"There is no machine image {place}. {fault}") from fault
        say("No machine image found locally, making one: that takes a minute or two, once")
        build(store_root, say, anew=False)
    return cache.cached(store_root)


def build(
    store_root: Path,
    say: Say,
    *,
    mirror: str = "",
    tell: Say = lambda line: None,
    base: Path | None = None,
    anew: bool = True,
) -> Image:
    """Make the image of this installation, put it in place of the one that was there, and check it.

    Unless `anew` one that somebody else made meanwhile will do.
    `say` hears the steps, `tell` every program's output. `base` names a file in which the packed part that is the same
    for all versions of Shoal is kept, for those who build often. Raises MachineError.
    """
    check_tools()
    lines, version = debian.sources(debian.suite(), mirror), sources.version()
    place = cache.location(store_root)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(store_root / "locks" / "image-build"), _usual_modes():
        if not anew and place.exists():
            return cache.cached(store_root)
        for stale in place.parent.glob(f"{_WORK}*"):
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_WORK, dir=place.parent) as directory:
            work = Path(directory)
            if base is None or not base.exists():
                _make_base(work, lines, say, tell)
                if base is not None:
                    _keep(work, base)
            else:
                shutil.unpack_archive(base, work, "tar")
            _add_shoal(work, version, say, tell)
            _write_iso(work, version, say, tell)
            (work / cache.FILE).replace(place)
    image = cache.cached(store_root)
    say(f"{place}: {place.stat().st_size / 1e6:.1f} MB")
    return image


@contextmanager
def _usual_modes() -> Iterator[None]:
    """Files are made with Debian's modes, whatever the user's umask is: they are the machine's."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _make_base(work: Path, lines: list[str], say: Say, tell: Say) -> None:
    """All that does not change with Shoal: in `work`, the files kernel, initrd, root and the boot loader's."""
    root = work / "tree"
    say(f"Fetching the packages of Debian {debian.suite()}...")
    debian.unpack(root, lines, debian.suite(), tell)
    say("Putting the machine together...")
    kernel = debian.kernel_version(root)
    (root / "boot" / f"vmlinuz-{kernel}").rename(work / "kernel")
    (work / "isolinux").mkdir()
    (root / "usr/lib/ISOLINUX/isolinux.bin").rename(work / "isolinux/isolinux.bin")
    (root / "usr/lib/ISOLINUX/isohdpfx.bin").rename(work / "isohdpfx.bin")
    (root / "usr/lib/syslinux/modules/bios/ldlinux.c32").rename(work / "isolinux/ldlinux.c32")
    shutil.copyfile(guest.FILES / "isolinux.cfg", work / "isolinux/isolinux.cfg")
    guest.accounts(root)
    guest.certificates(root, tell)
    debian.thin_out(root)
    shutil.rmtree(root / "opt", ignore_errors=True)
    guest.furnish(root, tell)
    pack.run(["depmod", "-b", str(root), kernel], tell)
    (work / "initrd").write_bytes(pack.initrd(root, work / "first", kernel, guest.FILES / "initrd", tell))
    guest.compile_python(root / "usr/lib", "/usr/lib", say)
    say("Packing the root file system...")
    pack.squashfs(root, work / "root", tell)
    shutil.rmtree(root)
    shutil.rmtree(work / "first")


def _keep(work: Path, base: Path) -> None:
    Path(shutil.make_archive(f"{base}.new", "tar", work)).replace(base)


def _add_shoal(work: Path, version: str, say: Say, tell: Say) -> None:
    say(f"Adding Shoal {version}...")
    opt = work / "opt"
    guest.own(opt, version)
    guest.compile_python(opt, "/opt", say)
    pack.squashfs(opt, work / "root", tell)


def _write_iso(work: Path, version: str, say: Say, tell: Say) -> None:
    say("Writing the ISO...")
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parts = {name: work / name for name in cache.PARTS}
    described = {name: {"size": path.stat().st_size, "sha256": pack.sha256(path)} for name, path in parts.items()}
    manifest = work / "manifest"
    manifest.write_text(json.dumps({"form": cache.FORM, "version": version, "created": created, "files": described}))
    files = {name.upper(): path for name, path in parts.items()} | {cache.MANIFEST: manifest}
    pack.iso(files, f"{cache.LABEL}{version}", work / cache.FILE, work, tell)
