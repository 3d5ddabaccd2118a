"""provision, regenerate-certs and upgrade of local machines; addresses without a driver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machines import Shop, shop

pytestmark = pytest.mark.system


@pytest.fixture
def m1(tmp_path: Path) -> Iterator[Shop]:
    """A store with one local machine, m1; its engine is one that does not read certificates again by itself."""
    made = shop(tmp_path, f"10.195.{os.getpid() % 250}")
    try:
        made.ok("create", "--driver", "local", "m1")
        yield made
    finally:
        made.run("rm", "-f", "m1")
        assert made.traces() == []


def certificate(place: Shop) -> bytes:
    """The machine's own certificate."""
    return (place.store / "machines/m1/server.pem").read_bytes()


def test_only_what_is_needed_is_restarted(m1: Shop) -> None:
    """provision leaves an engine alone that has all it needs; one that must be restarted for its new certificate is,
    and that is said; upgrade begins it anew. The machine itself goes on.
    """
    machine, first = m1.process("m1"), certificate(m1)
    assert "restarting" not in m1.ok("provision", "m1")
    assert certificate(m1) == first
    said = m1.ok("regenerate-certs", "-f", "m1")
    assert "restarting it. Containers keep running." in said
    assert certificate(m1) != first
    assert m1.ok("version", "m1") == "1.2.3\n"
    assert m1.ok("upgrade", "m1").splitlines()[0] == "Upgrading docker..."
    assert m1.ok("version", "m1") == "1.2.3\n"
    assert m1.process("m1") == machine


def test_a_stopped_machine_is_started_to_be_upgraded(m1: Shop) -> None:
    """upgrade starts a machine that does not run; provision and regenerate-certs say that it does not."""
    m1.ok("stop", "m1")
    for words in (("provision", "m1"), ("regenerate-certs", "-f", "m1")):
        result = m1.run(*words)
        assert (result.returncode, "Host is not running" in result.stderr) == (1, True)
    assert "Starting machine so machine can be upgraded..." in m1.ok("upgrade", "m1")
    assert m1.ok("status", "m1") == "Running\n"
    result = m1.run("provision", "--address", "10.0.0.1", "m1")
    assert 'the driver "local" knows the addresses of its machines itself' in result.stderr


def test_an_address_without_a_driver(tmp_path: Path) -> None:
    """`none` writes an address down, creates nothing, and says of each command why it cannot be done."""
    place = shop(tmp_path, f"10.194.{os.getpid() % 250}")
    said = place.ok("create", "-d", "none", "--url", "tcp://127.0.0.1:1", "there")
    assert said.splitlines()[2:4] == ["Running pre-create checks...", "Creating machine..."]
    assert "Docker is up and running!" not in said
    assert place.ok("url", "there") == "tcp://127.0.0.1:1\n"
    assert place.ok("ip", "there") == "127.0.0.1:1\n"
    result = place.run("env", "there")
    assert (result.returncode, "connection refused" in result.stderr) == (1, True)
    for words, why in (
        (("stop", "there"), "hosts without a driver cannot be stopped"),
        (("restart", "there"), "hosts without a driver cannot be restarted"),
        (("provision", "there"), "is only an address"),
        (("regenerate-certs", "-f", "there"), "is only an address"),
        (("ssh", "there"), "no ssh"),
    ):
        result = place.run(*words)
        assert (result.returncode, why in result.stderr) == (1, True), result.stderr
    assert place.run("create", "-d", "none", "--url", "url5", "x").returncode == 1
    place.ok("rm", "-y", "there")
    assert place.traces() == []
