"""The qemu driver without root: as a user who may nothing but read."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from shoal.machine.qemu.life import Life
from tests import machine_image
from tests.system.machines import SHOAL
from tests.waiting import until_sync

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

NOBODY = 65534
CAPABILITIES = "-all,+dac_read_search"
"""The virtual environment may lie where only root can read."""


@dataclass
class User:
    """Somebody's home: their store and the register of their machines."""

    home: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `shoal machine WORDS...` as this user."""
        as_user = [
            "setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--no-new-privs",
            "--inh-caps", CAPABILITIES, "--ambient-caps", "+dac_read_search", "--bounding-set", CAPABILITIES,
        ]  # fmt: skip
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "MACHINE_STORAGE_PATH": str(self.home / "store"),
            "XDG_RUNTIME_DIR": str(self.home), "QEMU_SUBNET": "10.196.7.0/24", "QEMU_MEMORY": "320",
        }  # fmt: skip
        return subprocess.run(
            [*as_user, SHOAL, "machine", *words], env=environment, capture_output=True, text=True, check=False,
            timeout=500, cwd="/",
        )  # fmt: skip

    def ok(self, *words: str) -> str:
        """The output of a command that must succeed."""
        result = self.run(*words)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def life(self, name: str) -> Life:
        """A machine's process."""
        return Life(self.home / "store/machines" / name / "qemu")


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    """A user with the machine image, put into the store by hand; in the end nothing of theirs runs."""
    cache = tmp_path / "store" / "cache"
    cache.mkdir(parents=True)
    shutil.copyfile(machine_image.built() / "cache" / "shoal.iso", cache / "shoal.iso")
    for path in (tmp_path, cache.parent, cache):
        os.chown(path, NOBODY, NOBODY)
    made = User(tmp_path)
    lives = []
    try:
        yield made
        names = made.ok("ls", "-q").split()
        lives = [made.life(name) for name in names]
        if names:
            made.ok("rm", "-f", *names)
        assert not [life for life in lives if life.process()]
        assert not (tmp_path / "shoal-machines").exists()
    finally:
        for life in lives:
            with suppress(Exception):
                life.cut()


def test_a_user_makes_machines(user: User) -> None:
    """Without root two machines have a loopback address each, with ssh and the engine, and reach each other."""
    said = user.ok("create", "--driver", "qemu", "--qemu-forward", "8022:22", "u1", "u2")
    assert "KVM" in said
    addresses = user.ok("ip", "u1", "u2").split()
    assert len(set(addresses)) == 2
    assert all(address.startswith("127.99.") for address in addresses)
    table = user.ok("ls")
    for address in addresses:
        assert f"tcp://{address}:2376" in table
    reach = "exec 3<>/dev/tcp/10.196.7.{}/22; head -c 4 <&3"
    inside = user.ok("ssh", "u1", "ip -o -4 address show eth1").split()[3]
    assert inside in ("10.196.7.101/24", "10.196.7.102/24")
    other = 203 - int(inside.partition("/")[0].rpartition(".")[2])
    assert user.ok("ssh", "u1", reach.format(other)) == "SSH-"
    assert user.ok("ssh", "u1", "id -un; ip route | grep -c ^default").split() == ["root", "1"]

    crashed = user.life("u2").process()
    assert crashed
    os.kill(crashed.pid, signal.SIGKILL)
    until_sync(lambda: user.ok("status", "u2") == "Stopped\n")
    assert user.ok("stop", "u1").splitlines()[-1] == 'Machine "u1" was stopped.'
    assert user.ok("status", "u1") == "Stopped\n"


def test_what_only_root_can_do_is_refused(user: User) -> None:
    """The bridge needs root; the message says what works without."""
    refused = user.run("create", "--driver", "qemu", "--qemu-network", "bridge", "u1")
    assert refused.returncode == 3
    assert "--qemu-network user" in refused.stderr
    assert user.ok("ls", "-q") == ""
