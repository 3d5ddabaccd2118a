"""The three containers of an image: the initrd (cpio), the root file system (squashfs), the ISO."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from stat import S_IFDIR, S_IFLNK, S_IFREG

from shoal.machine.errors import MachineError

if sys.platform == "linux":
    import zstandard

Tell = Callable[[str], None]

_INITRD_MODULES = (
    "ata_generic", "ata_piix", "hv_storvsc", "hv_vmbus", "isofs", "loop", "overlay", "sd_mod", "sr_mod", "squashfs",
    "virtio_blk", "virtio_pci", "virtio_scsi", "vmw_pvscsi",
)  # fmt: skip
"""What it takes to find the root file system on any of the hypervisors."""

_INITRD_COMMANDS = (
    "cat", "dd", "find", "ls", "mkdir", "modprobe", "mount", "sh", "sleep", "sort", "switch_root", "tr", "umount",
    "xargs",
)  # fmt: skip


def environment() -> dict[str, str]:
    """For programs that are run: their messages are in English, and what is in /sbin is found without root too."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    return {**os.environ, "PATH": path, "LC_ALL": "C"}


def run(command: Sequence[str], tell: Tell) -> None:
    """Run a program that must succeed; what it says goes to the log. Raises MachineError with its last lines."""
    tell(" ".join(command))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment()
    )
    output = done.stdout + done.stderr
    tell(output)
    if done.returncode:
        raise MachineError(f"{command[0]} failed:\n" + "\n".join(output.strip().splitlines()[-5:]))


def initrd(root: Path, work: Path, release: str, start: Path, tell: Tell) -> bytes:
    """The first file system: busybox, the modules that reach the disks, and `start` as /init."""
    tree = work / "initrd"
    modules = tree / "lib/modules" / release
    for relative in _closure(root / "usr/lib/modules" / release, _INITRD_MODULES):
        target = modules / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / "usr/lib/modules" / release / relative, target)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copyfile(root / "usr/lib/modules" / release / name, modules / name)
    run(["depmod", "-b", str(tree), release], tell)
    for needless in modules.glob("modules.*"):
        if needless.name not in ("modules.dep", "modules.alias"):
            needless.unlink()
    for name in ("bin", "dev", "proc", "sys"):
        (tree / name).mkdir()
    shutil.copyfile(root / "usr/bin/busybox", tree / "bin/busybox")
    (tree / "bin/busybox").chmod(0o755)
    for name in _INITRD_COMMANDS:
        (tree / "bin" / name).symlink_to("busybox")
    shutil.copyfile(start, tree / "init")
    (tree / "init").chmod(0o755)
    packed: bytes = zstandard.ZstdCompressor(level=19, write_checksum=False).compress(b"".join(cpio(tree)))
    return packed


def _closure(modules: Path, names: Sequence[str]) -> list[str]:
    """The files of these modules and of all they need, by modules.dep. A module that is built in has none."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, others = line.partition(":")
        needs[file] = others.split()
    by_name = {file.rpartition("/")[2].partition(".")[0]: file for file in needs}
    chosen = set()
    for name in names:
        if name in by_name:
            chosen |= {by_name[name], *needs[by_name[name]]}
    return sorted(chosen)


def cpio(tree: Path) -> Iterator[bytes]:
    """The form that kernels read ("newc"): everything belongs to root, times are 0."""
    for number, path in enumerate([*sorted(tree.rglob("*")), None], 1):
        name, content, mode = "TRAILER!!!", b"", 0
        if path is not None:
            name = path.relative_to(tree).as_posix()
            if path.is_symlink():
                mode, content = S_IFLNK | 0o777, path.readlink().as_posix().encode()
            elif path.is_dir():
                mode = S_IFDIR | 0o755
            else:
                mode, content = S_IFREG | path.stat().st_mode & 0o777, path.read_bytes()
        # magic, inode, mode, owner, group, links, time, size, four device numbers, name's length, checksum
        numbers = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08x" % value for value in numbers)
        yield _padded(header + name.encode() + b"\0")
        yield _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def squashfs(tree: Path, target: Path, tell: Tell) -> None:
    """Pack a directory, or add it under its own name to a file that is there already."""
    # zstd would save 25 MB, but what shoald reads when it starts then costs five seconds under software emulation.
    options = ["-no-recovery", "-keep-as-directory"] if target.exists() else ["-comp", "lz4", "-Xhc"]
    run(["mksquashfs", str(tree), str(target), "-all-root", "-no-xattrs", "-no-progress", "-quiet", *options], tell)


def iso(files: Mapping[str, Path], label: str, target: Path, work: Path, tell: Tell) -> None:
    """The ISO that BIOSes start: `files` in its root directory, the boot loader in `work`/isolinux."""
    tree = work / "iso"
    tree.mkdir()
    for name, path in files.items():
        path.rename(tree / name)
    (work / "isolinux").rename(tree / "isolinux")
    run(
        ["xorriso", "-as", "mkisofs", "-quiet", "-o", str(target), "-V", label, "-R", "-iso-level", "3",
         "-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4",
         "-boot-info-table", "-isohybrid-mbr", str(work / "isohdpfx.bin"), str(tree)], tell,
    )  # fmt: skip


def sha256(path: Path) -> str:
    """A file's digest."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
