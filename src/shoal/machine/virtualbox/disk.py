"""The machine's disk: a raw file that VirtualBox reads through a VMDK descriptor, the seed at its beginning.

Raw, because a seed is then written anew (another address, other certificates) whenever the machine is off.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

from shoal.machine.files import write_atomic
from shoal.machine.seed import DATA_OFFSET, LIMIT

RAW, DESCRIPTOR = "disk.raw", "disk.vmdk"
SECTOR = 512
_HEADS, _SECTORS, _MOST_CYLINDERS = 16, 63, 16383


def make(directory: Path, megabytes: int) -> None:
    """Make the disk, all zero and without taking room."""
    raw = directory / RAW
    raw.unlink(missing_ok=True)
    raw.touch(mode=0o600)
    if sys.platform == "win32":
        # NTFS takes the whole room otherwise. Where it cannot, it does.
        with suppress(OSError):
            subprocess.run(["fsutil", "sparse", "setflag", str(raw)], capture_output=True, check=False, timeout=30)
    with raw.open("r+b") as file:
        file.truncate(DATA_OFFSET + (megabytes << 20))


def describe(directory: Path) -> Path:
    """Write the descriptor of the disk that is there, with a number that VirtualBox does not know yet; its path."""
    path = directory / DESCRIPTOR
    sectors = (directory / RAW).stat().st_size // SECTOR
    write_atomic(path, descriptor(sectors, RAW, uuid.uuid4()).encode(), 0o600)
    return path


def is_there(directory: Path) -> bool:
    """Whether the machine has its disk."""
    return (directory / RAW).is_file()


def write_seed(directory: Path, seed: bytes) -> None:
    """Put the seed at the beginning; the machine must be off."""
    with (directory / RAW).open("r+b") as file:
        file.write(seed.ljust(LIMIT, b"\0"))


def descriptor(sectors: int, extent: str, number: uuid.UUID) -> str:
    """A VMDK descriptor (VMware Virtual Disk Format 5.0) of one flat extent, a file beside it."""
    cylinders = min(_MOST_CYLINDERS, sectors // (_HEADS * _SECTORS))
    return f"""# Disk DescriptorFile
version=1
CID={number.hex[:8]}
parentCID=ffffffff
createType="monolithicFlat"

# Extent description
RW {sectors} FLAT "{extent}" 0

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.adapterType = "ide"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "{_HEADS}"
ddb.geometry.sectors = "{_SECTORS}"
ddb.uuid.image = "{number}"
ddb.uuid.parent = "00000000-0000-0000-0000-000000000000"
ddb.uuid.modification = "00000000-0000-0000-0000-000000000000"
ddb.uuid.parentmodification = "00000000-0000-0000-0000-000000000000"
"""
