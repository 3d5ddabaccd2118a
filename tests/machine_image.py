"""The machine image for tests: built once for each state of the sources, and kept between runs.

`provide(store)` puts it into a store's cache by hard links. What does not depend on Shoal's own sources is kept apart, so
that a change of Shoal costs seconds. All of it is in `$XDG_CACHE_HOME` or /var/tmp, in a directory of the user's own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from shoal.machine import image
from shoal.machine.files import locked
from shoal.machine.image import cache, debian, guest, pack, sources

_KEPT = 3
"""Images of former sources that stay: several work trees may take turns."""


def built() -> Path:
    """A store root whose cache holds the image of the present sources."""
    home = _home()
    with locked(home / "lock"):
        store = home / sources.version()
        if not cache.location(store).exists():
            work = Path(tempfile.mkdtemp(prefix=".new-", dir=home))
            try:
                base = home / f"base-{_base_digest()}.tar"
                # Sources may have changed meanwhile.
                store = home / image.build(work, print, base=base).version
                shutil.rmtree(store, ignore_errors=True)
                work.rename(store)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            _prune(home, base)
        os.utime(store)
    return store


def provide(store_root: Path) -> image.Image:
    """Give a store this image."""
    source = built() / "cache"
    target = store_root / "cache"
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)
    return image.cached(store_root)


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _home() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or "/var/tmp"
    home = Path(root) / f"shoal-tests-{os.getuid()}"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = home.lstat()
    # In /var/tmp anybody could have made it.
    assert stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077, home
    return home


def _base_digest() -> str:
    """What the part below Shoal's own is made of: the Debian packages, Python's, and how they are put together."""
    makers = [Path(module.__file__ or "").read_text() for module in (debian, guest, pack)]
    own = [(guest.FILES / name).read_text() for name in ("initrd", "isolinux.cfg")]
    return sources.base_digest(hashlib.sha256("\0".join([*makers, *own]).encode()).hexdigest())


def _prune(home: Path, base: Path) -> None:
    stores = sorted((path for path in home.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for old in stores[:-_KEPT]:
        shutil.rmtree(old)
    bases = sorted(home.glob("base-*.tar"), key=lambda path: path.stat().st_mtime)
    for old in bases[:-2]:
        if old != base:
            old.unlink()
