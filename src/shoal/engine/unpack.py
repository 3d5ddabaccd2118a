"""Unpacks a layer: run as a program, `unpack.py DIRECTORY`, with an uncompressed tar on standard input.

It changes its root to the directory first, so that no path, link or device name in an archive from outside can reach
anything else. Deletions in the archive (`.wh.x`, `.wh..wh..opq`: the image specification's whiteouts) become
overlayfs's own: a character device 0/0, the attribute `trusted.overlay.opaque`.

Imports only the standard library: it runs with `python -I -S`.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tarfile

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
XATTR = "SCHILY.xattr."


def unpack(archive: tarfile.TarFile) -> None:
    """Write every member of `archive` below `/`. Directory times are set last, as their contents change them."""
    directories: list[tuple[str, tarfile.TarInfo]] = []
    for member in archive:
        path = os.path.normpath("/" + member.name)
        folder, base = os.path.split(path)
        os.makedirs(folder, exist_ok=True)
        if base == OPAQUE:
            os.setxattr(folder, "trusted.overlay.opaque", b"y")
        elif base.startswith(WHITEOUT):
            hidden = os.path.join(folder, base.removeprefix(WHITEOUT))
            _clear(hidden)
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0))
        else:
            _write(archive, member, path)
            _describe(member, path)
            if member.isdir():
                directories.append((path, member))
    for path, member in reversed(directories):
        os.utime(path, (member.mtime, member.mtime))


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
    if not (member.isdir() and os.path.isdir(path) and not os.path.islink(path)) and path != "/":
        _clear(path)
    if member.isdir():
        os.makedirs(path, exist_ok=True)
    elif member.isreg():
        source = archive.extractfile(member)
        assert source is not None
        with open(path, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    elif member.issym():
        os.symlink(member.linkname, path)
    elif member.islnk():
        os.link(os.path.normpath("/" + member.linkname), path, follow_symlinks=False)
    elif member.isfifo():
        os.mkfifo(path)
    elif member.ischr() or member.isblk():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        os.mknod(path, kind, os.makedev(member.devmajor, member.devminor))


def _describe(member: tarfile.TarInfo, path: str) -> None:
    """Owner, mode, attributes and time of one member. The owner comes first: chown clears set-id bits."""
    if member.islnk():
        return
    os.lchown(path, member.uid, member.gid)
    if not member.issym():
        os.chmod(path, member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        if key.startswith(XATTR) and not key.startswith(XATTR + "trusted."):
            raw = value.encode("utf-8", "surrogateescape")
            os.setxattr(path, key.removeprefix(XATTR), raw, follow_symlinks=False)
    os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)


def _clear(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def main() -> None:
    """Change root to the directory named on the command line and unpack standard input there."""
    "".encode("idna"), "".encode("utf-8", "surrogateescape")  # codecs load from disk: now or never
    os.umask(0)
    os.chroot(sys.argv[1])
    os.chdir("/")
    try:
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|", errors="surrogateescape") as archive:
            unpack(archive)
        while sys.stdin.buffer.read(1 << 20):
            pass  # padding behind the archive's end: the writer must not see a broken pipe
    except (OSError, tarfile.TarError) as fault:
        sys.exit(f"ApplyLayer: {fault}")


if __name__ == "__main__":
    main()
