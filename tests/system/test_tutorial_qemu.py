"""The tutorial on machines that really boot."""

from __future__ import annotations

import demo.__main__
import pytest
from demo.workplace import free_subnet

from tests import machine_image

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]


def test_the_tutorial_runs_on_two_virtual_machines() -> None:
    """Every step of Docker's swarm tutorial works on two emulated machines, with a local one joining their swarm."""
    image = machine_image.built() / "cache" / "shoal.iso"
    settings = {"QEMU_MEMORY": "512", "QEMU_ACCEL": "auto"}
    subnet = free_subnet("192.168.120")
    demo.__main__.run("", subnet, driver="qemu", settings=settings, image=str(image), show=False)
