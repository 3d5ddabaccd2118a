"""The tutorial on machines of Hyper-V: its stand-in's, which really boot."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo.workplace import free_subnet

from tests.system import hypervisors

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]


def test_the_tutorial_runs_with_hyper_v(tmp_path: Path) -> None:
    """Every step works on two machines that PowerShell made, but that their addresses are the network's to give."""
    subnet = free_subnet("192.168.130")
    settings = {"HYPERV_MEMORY": "512", "HYPERV_DISK_SIZE": "4000", "HYPERV_VIRTUAL_SWITCH": hypervisors.SWITCH}
    with hypervisors.hyperv(tmp_path, f"{subnet}.1/24", standin=True):
        hypervisors.tutorial("hyperv", subnet, settings)
