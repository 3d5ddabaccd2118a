"""What of this installation goes into an image: Shoal's own sources and the Python packages they need.

The version of an image is the package's version and a digest of all of that: an image whose version is not ours holds
another Shoal.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

import shoal
from shoal.machine.distributions import needed
from shoal.machine.errors import MachineError

_NEEDLESS = re.compile(r"(^|/)(__pycache__|tests?|_cffi\.[^/]*\.so$)(/|$)|\.(pyi|pyx|pxd|pxi|c|h|typed|pyc)$")
"""Not needed to run: tests, stubs, sources of extension modules. zstandard's cffi variant only serves PyPy."""


def version() -> str:
    """The version of an image that is built from this installation."""
    digest = hashlib.sha256()
    for path in own_files():
        digest.update(f"{path.relative_to(_package()).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    for distribution in needed().values():
        digest.update(f"{distribution.name} {distribution.version}\n".encode())
    return f"{metadata.version('shoal')}+{digest.hexdigest()[:10]}"


def base_digest(*more: str) -> str:
    """A digest of what an image consists of beside Shoal itself, as far as it depends on this installation."""
    words = [*more, sys.version.partition(" ")[0], *(f"{item.name} {item.version}" for item in needed().values())]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def _package() -> Path:
    return Path(shoal.__path__[0])


def own_files() -> list[Path]:
    """Shoal's files, without what Python compiled."""
    return sorted(path for path in _package().rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def copy_dependencies(target: Path) -> None:
    """Put the needed packages into a directory of the image's Python. Raises MachineError."""
    for distribution in needed().values():
        if distribution.files is None:
            raise MachineError(
                f"The Python package {distribution.name} does not say which files it has: "
                "install Shoal with pip, into an environment of its own"
            )
        for file in distribution.files:
            # Programs are recorded as ../../../bin/name: none is needed.
            if ".." not in file.parts and not _NEEDLESS.search(file.as_posix()):
                _copy(Path(str(file.locate())), target / file)


def copy_own(target: Path) -> None:
    """Put Shoal into a directory of the image's Python, with what tells its version and its commands."""
    for path in own_files():
        _copy(path, target / "shoal" / path.relative_to(_package()))
    about = metadata.distribution("shoal")
    folder = target / f"shoal-{about.version}.dist-info"
    folder.mkdir(parents=True)
    for name in ("METADATA", "entry_points.txt"):
        (folder / name).write_text(about.read_text(name) or "")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o644)
