"""The qemu driver keeps every driver's promises, on machines that really boot; and what only it promises."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from shoal.machine import actions
from shoal.machine.driver import State
from shoal.machine.host import Host, open_host
from shoal.machine.qemu.driver import QemuDriver
from shoal.machine.qemu.life import Life
from shoal.machine.store import Store
from tests import machine_image
from tests.machine_suite import LifeSuite, Yard
from tests.system.machines import SHOAL, Shop, shop
from tests.waiting import until_sync

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

PREFIX = f"10.197.{os.getpid() % 250}"


class KeptYard(Yard):
    """Machines stay from test to test, because booting takes long here: `create` makes a missing one, else starts it."""

    def create(self, name: str = "m1") -> Host:
        """A machine that runs."""
        if not self.store.exists(name):
            return super().create(name)
        self.start(name)
        return open_host(self.store, name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A store with the machine image, and a subnet; in the end nothing of either is left on this computer."""
    made = shop(tmp_path_factory.mktemp("qemu"), PREFIX)
    machine_image.provide(made.store)
    try:
        yield made
    finally:
        kept_yard(made).remove_all()
        assert made.traces() == []


def kept_yard(place: Shop) -> KeptYard:
    """The yard over `place`."""
    values = {"qemu-subnet": f"{place.prefix}.0/24", "qemu-memory": 384, "qemu-cpu-count": 1, "qemu-disk-size": 2000}
    return KeptYard(Store(place.store), "qemu", values)


@pytest.fixture
def yard(place: Shop) -> Iterator[KeptYard]:
    """Its m1 is that of the tests before; other machines go when the test ends."""
    made = kept_yard(place)
    yield made
    for name in made.store.names():
        if name != "m1":
            actions.remove(made.store, name, made.said.append)


def life(yard: Yard) -> Life:
    """The process of m1."""
    return Life(yard.store.directory("m1") / "qemu")


class TestQemuDriver(LifeSuite):
    """With real machines."""

    def test_local_machines_are_on_the_same_network(self, yard: KeptYard, place: Shop) -> None:
        """A local machine on the subnet gets another address and reaches the virtual one, which reaches this computer."""
        address = yard.create().driver.address()
        assert address.startswith(f"{place.prefix}.1")
        place.ok("create", "--driver", "local", "m5")
        try:
            assert place.ok("ip", "m5").strip() != address
            assert place.ok("ssh", "m5", f"exec 3<>/dev/tcp/{address}/22; head -c 4 <&3") == "SSH-"
            said = place.ok("ssh", "m1", f"timeout 20 bash -c 'exec 3<>/dev/tcp/{place.prefix}.1/1' 2>&1; hostname")
            assert "refused" in said
            assert said.endswith("m1\n")
        finally:
            place.ok("rm", "-y", "m5")

    def test_commands_and_files(self, yard: KeptYard, place: Shop) -> None:
        """ssh checks the key that was made with the machine; what is written lasts; docker there is Shoal's."""
        yard.create()
        assert (yard.store.directory("m1") / "known_hosts").read_text().startswith("m1 ssh-ed25519 ")
        assert place.ok("ssh", "m1", "echo kept >kept; docker version --format '{{.Server.Os}}'") == "linux\n"
        process = life(yard).process()
        assert process
        assert os.getsid(process.pid) == process.pid
        place.ok("restart", "m1")
        assert place.ok("ssh", "m1", "cat kept") == "kept\n"

    def test_state_is_qemus(self, yard: KeptYard) -> None:
        """A machine that was paused is Paused and goes on by `start`; one whose QEMU was killed is Stopped."""
        host = yard.create()
        assert isinstance(host.driver, QemuDriver)
        with life(yard).monitor() as monitor:
            monitor.execute("stop")
        assert yard.state() is State.PAUSED
        assert yard.start()
        assert yard.state() is State.RUNNING
        process = life(yard).process()
        assert process
        os.kill(process.pid, signal.SIGKILL)
        until_sync(lambda: yard.state() is State.STOPPED)

    def test_removing_without_a_record(self, place: Shop) -> None:
        """When config.json is damaged, `rm -f` ends the machine all the same and leaves nothing."""
        with creating(place) as creation:
            assert creation.stdout
            for line in creation.stdout:
                if line.startswith("Waiting for SSH"):
                    creation.kill()
        directory = place.store / "machines" / "m9"
        assert Life(directory / "qemu").process()
        (directory / "config.json").write_text("{")
        assert place.run("rm", "-f", "m9").returncode == 1
        assert not [line for line in place.traces() if "m9" in line]

    def test_an_interrupted_create_leaves_nothing(self, place: Shop) -> None:
        """A create that is ended while the machine boots takes everything back."""
        with creating(place) as creation:
            assert creation.stdout
            for line in creation.stdout:
                if line.startswith("Waiting for SSH"):
                    creation.send_signal(signal.SIGTERM)
            assert creation.wait(60) == 143
        assert "m9" not in place.ok("ls", "-q")
        assert not [line for line in place.traces() if "m9" in line]

    def test_a_killed_create_can_be_removed(self, place: Shop) -> None:
        """A create that is killed without warning leaves a machine that says it is unfinished, and that rm removes."""
        with creating(place) as creation:
            assert creation.stdout
            for line in creation.stdout:
                if "Starting the machine" in line:
                    creation.kill()
        place.ok("kill", "m9")
        assert "was never finished" in place.run("start", "m9").stderr
        place.ok("rm", "-y", "m9")
        assert not [line for line in place.traces() if "m9" in line]


def creating(place: Shop) -> subprocess.Popen[str]:
    """A command that creates m9."""
    words = [
        str(SHOAL),
        "machine",
        "create",
        "--driver",
        "qemu",
        "--qemu-subnet",
        f"{PREFIX}.0/24",
        "--qemu-memory",
        "256",
    ]
    return subprocess.Popen(
        [*words, "m9"], env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
