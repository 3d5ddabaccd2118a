"""The image in the store."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from shoal.machine.errors import MachineError


class Image(NamedTuple):
    """A checked image: the ISO, and what was extracted from it for machines that start a kernel directly."""

    iso: Path
    kernel: Path
    initrd: Path
    root: Path
    version: str


def cached(store_root: Path) -> Image:
    """The image of the store. Raises MachineError."""
    raise MachineError("There is no machine image: make one with 'shoal machine image build'")
