"""Hypervisors for tests: the real ones where they are installed, else the stand-ins, which boot by QEMU."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import demo.__main__
import pytest

from shoal.machine.store import Store
from shoal.machine.subnet import Subnet
from tests import machine_image
from tests.machine_suite import Yard
from tests.standins import lan

STANDINS = Path(__file__).parent.parent / "standins"
SWITCH = "my'switch"
"""A virtual switch's name may need quoting."""


@contextmanager
def virtualbox(folder: Path, *, standin: bool = False) -> Iterator[dict[str, str]]:
    """VirtualBox with an empty register of its own; gives the environment that leads to it."""
    with _environment("VBoxManage", {"VBOX_USER_HOME": str(folder / "virtualbox")}, force=standin) as environment:
        yield environment


@contextmanager
def hyperv(folder: Path, lan: str = "192.168.115.1/24", *, standin: bool = False) -> Iterator[dict[str, str]]:
    """Hyper-V, or in any case its stand-in; that has an external switch called SWITCH. Gives the environment that leads to it."""
    settings = {"STANDIN_HYPERV_HOME": str(folder / "hyperv"), "STANDIN_HYPERV_LAN": lan}
    with _environment("powershell.exe", settings, force=standin) as environment:
        if environment.get("STANDIN_HYPERV_HOME"):
            quoted = SWITCH.replace("'", "''")
            powershell(f"New-VMSwitch -Name '{quoted}' -NetAdapterName 'Ethernet' | Out-Null")
        yield environment


def powershell(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in the PowerShell that PATH leads to."""
    words = ["powershell.exe", "-NoProfile", "-NonInteractive", "-Command", script]
    return subprocess.run(words, capture_output=True, text=True, check=True)


def tutorial(driver: str, subnet: str, settings: dict[str, str]) -> None:
    """Docker's swarm tutorial on two of a stand-in's machines. Local machines join their swarm, so these are put on the
    local driver's network."""
    image = machine_image.built() / "cache" / "shoal.iso"
    settings[lan.NETNS] = str(Subnet(f"{subnet}.0/24").netns)
    demo.__main__.run("", subnet, driver=driver, settings=settings, image=str(image), together=True, show=False)


@contextmanager
def _environment(program: str, settings: dict[str, str], *, force: bool = False) -> Iterator[dict[str, str]]:
    found = {} if shutil.which(program) and not force else {**settings, "PATH": f"{STANDINS}:{os.environ['PATH']}"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.items():
            patch.setenv(name, value)
        yield found


@contextmanager
def yard(folder: Path, driver: str, values: dict[str, object]) -> Iterator[Yard]:
    """A store with the machine image; whatever machines are in it at the end are removed."""
    made = Yard(Store(folder / "store"), driver, {f"{driver}-memory": 512, f"{driver}-disk-size": 2000, **values})
    machine_image.provide(made.store.root)
    try:
        yield made
    finally:
        made.remove_all()
