"""Directories that go whole: renamed first, which takes no time, and deleted afterwards, which may.

Under its new name nobody takes for whole what is left of a directory when the daemon is killed while it deletes it,
and the next one deletes the rest.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from pathlib import Path

log = logging.getLogger("shoal.engine")

_MARK = ".removing-"


class Trash:
    """What was thrown away of the directories in `root`; at first, what an earlier daemon did not get to delete."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders = list(root.glob(f"{_MARK}*"))

    def throw(self, folder: Path) -> None:
        """Take `folder`, which is in the root, out of the way at once. `empty` frees its space. Raises OSError."""
        hidden = self._root / f"{_MARK}{secrets.token_hex(8)}"
        folder.rename(hidden)
        self._folders.append(hidden)

    def empty(self) -> None:
        """Delete what was thrown away: blocking, for any thread. What cannot be deleted is left to the next start."""
        while True:
            try:
                folder = self._folders.pop()  # nobody else has it then
            except IndexError:
                return
            try:
                shutil.rmtree(folder)
            except OSError as fault:
                log.warning("deleting %s: %s", folder, fault)


def thrown(folder: Path) -> bool:
    """Whether `folder` is a directory that was thrown away."""
    return folder.name.startswith(_MARK)
