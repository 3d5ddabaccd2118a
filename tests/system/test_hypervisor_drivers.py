"""The virtualbox and hyperv drivers keep every driver's promises, on machines that really boot."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shoal.machine.errors import MachineError, PreCreateError
from tests.machine_suite import LifeSuite, Yard
from tests.system import hypervisors

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


class TestVirtualBox(LifeSuite):
    """By VBoxManage."""

    @pytest.fixture(scope="class")
    @classmethod
    def yard(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
        folder = tmp_path_factory.mktemp("vb")
        with hypervisors.virtualbox(folder), hypervisors.yard(folder, "virtualbox", {}) as made:
            yield made

    def test_a_range_that_is_not_allowed_makes_nothing(self, yard: Yard) -> None:
        """The range rule of VirtualBox since 6.1.28 is explained before anything is made; exit status 3."""
        other = replace(yard, values={**yard.values, "virtualbox-hostonly-cidr": "10.77.0.1/24"})
        with pytest.raises(PreCreateError, match=r"networks\.conf"):
            other.create("m2")
        assert yard.store.names() == []

    def test_a_machine_that_cannot_start_leaves_nothing(self, yard: Yard, tmp_path: Path) -> None:
        """A failed create takes away what it made, and the error is VirtualBox's."""
        broken = tmp_path / "no.iso"
        broken.touch()
        values = {**yard.values, "virtualbox-memory": 2000000, "virtualbox-boot2docker-url": str(broken)}
        with pytest.raises(MachineError, match=r"VBoxManage startvm .* failed"):
            replace(yard, values=values).create("m2")
        assert yard.store.names() == []
        assert (
            '"m2"'
            not in subprocess.run(["VBoxManage", "list", "vms"], capture_output=True, text=True, check=True).stdout
        )


class TestHyperV(LifeSuite):
    """By PowerShell."""

    @pytest.fixture(scope="class")
    @classmethod
    def yard(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
        folder = tmp_path_factory.mktemp("hv")
        values = {"hyperv-virtual-switch": hypervisors.SWITCH}
        with hypervisors.hyperv(folder), hypervisors.yard(folder, "hyperv", values) as made:
            yield made

    def test_a_switch_that_is_not_there_is_found_missing(self, yard: Yard) -> None:
        """Before anything is made; exit status 3."""
        other = replace(yard, values={**yard.values, "hyperv-virtual-switch": "nosuch"})
        with pytest.raises(PreCreateError, match='vswitch "nosuch" not found'):
            other.create("m2")


class TestHyperVsRefusals:
    """What a real Hyper-V does not do on request: always on the stand-in."""

    @pytest.fixture(scope="class")
    @classmethod
    def yard(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
        folder = tmp_path_factory.mktemp("hv")
        values = {"hyperv-virtual-switch": hypervisors.SWITCH}
        with hypervisors.hyperv(folder, standin=True), hypervisors.yard(folder, "hyperv", values) as made:
            yield made

    def test_without_rights_nothing_is_made(self, yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hyper-V takes orders from its administrators only; exit status 3."""
        monkeypatch.setenv("STANDIN_HYPERV_RIGHTS", "none")
        with pytest.raises(PreCreateError, match="have to be run as an Administrator"):
            yard.create("m2")

    def test_a_machine_that_cannot_start_leaves_nothing(self, yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
        """A failed create takes away what it made, and the error is Hyper-V's; its administrators need no more rights."""
        monkeypatch.setenv("STANDIN_HYPERV_RIGHTS", "hyperv")
        with pytest.raises(MachineError, match="Hyper-V: 'm2' failed to start"):
            replace(yard, values={**yard.values, "hyperv-memory": 2000000}).create("m2")
        assert yard.store.names() == []
        known = hypervisors.powershell("ConvertTo-Json -Compress -InputObject @(Get-VM | Select-Object -Property Name)")
        assert json.loads(known.stdout) == []
