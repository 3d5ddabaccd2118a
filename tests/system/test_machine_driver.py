"""The local driver keeps every driver's promises."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.machine.store import Store
from tests.machine_suite import DriverSuite, Yard
from tests.system.machines import shop

pytestmark = pytest.mark.system


class TestLocalDriver(DriverSuite):
    """With real namespaces."""

    @pytest.fixture
    def yard(self, tmp_path: Path) -> Iterator[Yard]:
        place = shop(tmp_path, f"10.198.{os.getpid() % 250}")
        values = {"local-subnet": f"{place.prefix}.0/24", "local-engine": str(tmp_path / "engine")}
        made = Yard(Store(place.store), "local", values)
        try:
            yield made
        finally:
            made.remove_all()
            assert place.traces() == []
