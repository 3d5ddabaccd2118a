"""The stand-ins' network: it goes with its last member, and the next one can come at any moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.standins import lan
from tests.waiting import until_sync

pytestmark = pytest.mark.system

CONFIG = {
    "host": "192.168.114.1/24",
    "dhcp": {"server": "192.168.114.2", "lower": "192.168.114.3", "upper": "192.168.114.254"},
}


def test_a_network_can_be_joined_again_at_once(tmp_path: Path) -> None:
    """Whoever comes while a network ends gets one that works; at the end nothing of it is left."""
    link = Path("/sys/class/net") / lan.link_name(tmp_path, "net")
    for _ in range(10):
        member = lan.join(tmp_path, "net", CONFIG)
        assert link.exists()
        member.connection.close()
    until_sync(lambda: not link.exists())
