"""The tutorial on machines of Hyper-V: its stand-in's, which really boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system import hypervisors

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]


def test_the_tutorial_runs_with_hyper_v(tmp_path: Path) -> None:
    """Every step works on two machines that PowerShell made, but that their addresses are the network's to give."""
    settings = {"HYPERV_MEMORY": "512", "HYPERV_DISK_SIZE": "4000", "HYPERV_VIRTUAL_SWITCH": hypervisors.SWITCH}
    with hypervisors.hyperv(tmp_path, "192.168.113.1/24", standin=True):
        hypervisors.tutorial("hyperv", "192.168.113", settings)
