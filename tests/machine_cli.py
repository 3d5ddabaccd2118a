"""docker-machine's command line, typed in a place of its own, with machines that are threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoal.cli.machine import main
from shoal.machine.store import Store
from tests.machine_fake import FakeDriver


@contextmanager
def alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store below `folder`, and an environment that says nothing else about machines."""
    for name in os.environ:
        if name.startswith(("MACHINE_", "DOCKER_", "ENGINE_")) or name.upper() == "NO_PROXY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("MACHINE_STORAGE_PATH", str(folder / "store"))
    yield Store(folder / "store")
    for directory in list(FakeDriver.running):
        if directory.is_relative_to(folder):
            FakeDriver.running.pop(directory).off()


def say(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What a command line prints that must exit with `code`."""
    found = main(list(words), "docker-machine")
    said = capsys.readouterr()
    assert found == code, said.out + said.err
    return said.out + said.err
