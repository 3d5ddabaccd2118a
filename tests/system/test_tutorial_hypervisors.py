"""The tutorial on machines of VirtualBox and of Hyper-V: their stand-ins' machines, which really boot.

Local machines join their swarm, so the stand-ins put theirs on the local driver's network.
"""

from __future__ import annotations

from pathlib import Path

import demo.__main__
import pytest

from shoal.machine.subnet import Subnet
from tests import machine_image
from tests.standins import lan
from tests.system import hypervisors

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]


def test_the_tutorial_runs_with_virtualbox(tmp_path: Path) -> None:
    """Every step of Docker's swarm tutorial works on two machines that VBoxManage made."""
    settings = {
        "VIRTUALBOX_MEMORY_SIZE": "512",
        "VIRTUALBOX_DISK_SIZE": "4000",
        "VIRTUALBOX_HOSTONLY_CIDR": "192.168.60.1/24",
    }
    with hypervisors.virtualbox(tmp_path, standin=True):
        _run("virtualbox", "192.168.60", settings)


def test_the_tutorial_runs_with_hyper_v(tmp_path: Path) -> None:
    """Every step works on two machines that PowerShell made, but that their addresses are the network's to give."""
    settings = {"HYPERV_MEMORY": "512", "HYPERV_DISK_SIZE": "4000", "HYPERV_VIRTUAL_SWITCH": hypervisors.SWITCH}
    with hypervisors.hyperv(tmp_path, "192.168.113.1/24", standin=True):
        _run("hyperv", "192.168.113", settings)


def _run(driver: str, subnet: str, settings: dict[str, str]) -> None:
    image = machine_image.built() / "cache" / "shoal.iso"
    settings[lan.NETNS] = str(Subnet(f"{subnet}.0/24").netns)
    demo.__main__.run(subnet=subnet, driver=driver, settings=settings, image=str(image), together=True, show=False)
