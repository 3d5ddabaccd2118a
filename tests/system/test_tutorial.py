"""The tutorial, end to end, with each command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import demo.__main__
import pytest
from demo.workplace import free_subnet

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

OFFICIAL = shutil.which("docker")


def test_the_tutorial_runs_with_shoal() -> None:
    """Every step of Docker's swarm tutorial works with Shoal's own command line."""
    demo.__main__.run("", free_subnet("192.168.70"), show=False)


@pytest.mark.skipif(
    OFFICIAL is None or Path(OFFICIAL or "/").resolve().name == "shoal", reason="no official docker CLI"
)
def test_the_tutorial_runs_with_dockers_own_command_line() -> None:
    """The official docker CLI does every docker command of the tutorial with the same result."""
    assert OFFICIAL
    demo.__main__.run(OFFICIAL, free_subnet("192.168.80"), show=False)
