"""The tutorial on machines of VirtualBox: its stand-in's, which really boot."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo.workplace import free_subnet

from tests.system import hypervisors

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]


def test_the_tutorial_runs_with_virtualbox(tmp_path: Path) -> None:
    """Every step of Docker's swarm tutorial works on two machines that VBoxManage made."""
    subnet = free_subnet("192.168.60")
    settings = {
        "VIRTUALBOX_MEMORY_SIZE": "512",
        "VIRTUALBOX_DISK_SIZE": "4000",
        "VIRTUALBOX_HOSTONLY_CIDR": f"{subnet}.1/24",
    }
    with hypervisors.virtualbox(tmp_path, standin=True):
        hypervisors.tutorial("virtualbox", subnet, settings)
