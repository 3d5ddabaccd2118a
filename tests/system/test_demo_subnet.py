"""The demo's network: one that nothing on this computer uses, whatever is there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.shell import Unexpected
from demo.workplace import free_subnet

from shoal.machine.addresses import Member
from shoal.machine.subnet import Subnet

pytestmark = pytest.mark.system


@pytest.fixture
def link() -> Iterator[str]:
    """An interface on this computer."""
    name = f"demo{os.getpid()}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}b"], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)


def test_a_network_in_which_this_computer_has_an_address_is_passed_over(link: str) -> None:
    """Whatever tool gave it the address."""
    first = free_subnet("192.168.220")
    assert free_subnet(first) == first
    subprocess.run(["ip", "address", "add", f"{first}.77/24", "dev", link], check=True)
    assert int(free_subnet(first).split(".")[2]) > int(first.split(".")[2])


def test_a_network_that_has_machines_is_passed_over(tmp_path: Path) -> None:
    """Although they may be off: a run that was killed removes nothing."""
    first = free_subnet("192.168.230")
    subnet = Subnet(f"{first}.0/24")
    with subnet.lock():
        subnet.enter(Member(str(tmp_path), f"{first}.100"))
    try:
        assert int(free_subnet(first).split(".")[2]) > int(first.split(".")[2])
    finally:
        with subnet.lock():
            subnet.dismiss(tmp_path)
    assert free_subnet(first) == first


def test_with_no_network_left_it_says_what_to_do(link: str) -> None:
    """A network can be chosen by hand."""
    subprocess.run(["ip", "address", "add", "192.168.254.1/23", "dev", link], check=True)
    with pytest.raises(Unexpected, match=r"each network from 192\.168\.254\.0/24 on is in use .*--subnet"):
        free_subnet("192.168.254")
