"""The machine image, booted: from its kernel as the qemu driver does it, and from the ISO as other hypervisors do."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest

from shoal.machine.image import cached
from tests import machine_image
from tests.system.booted_vm import ADDRESS, Vm

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

IMAGE_MB = 120
IDLE_MB = 200


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vm]:
    """A machine that was told everything by its seed, and runs."""
    directory = tmp_path_factory.mktemp("vm")
    machine = Vm(directory, machine_image.provide(directory / "store"))
    machine.write_seed(setup=machine.setup(labels=["seeded=yes"]))
    try:
        machine.start()
        machine.wait_for_engine()
        yield machine
    finally:
        machine.end()


def image_of_busybox() -> bytes:
    """A file system for containers."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        for name in ("sh", "httpd", "cat", "tail", "wget", "echo"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return stream.getvalue()


def test_small_enough() -> None:
    """The image has 120 MB or less."""
    assert (machine_image.built() / "cache" / "shoal.iso").stat().st_size <= IMAGE_MB * 1_000_000


def test_the_seed_is_obeyed(vm: Vm) -> None:
    """Name, addresses by MAC, ssh key, the engine's arguments, files and environment are as the seed says."""
    assert vm.run("hostname").strip() == "m1"
    assert f"inet {ADDRESS}/24" in vm.run("ip address")
    assert "10.0.2.15" in vm.run("ip address")
    assert "default via 10.0.2.2" in vm.run("ip route")
    assert "seeded=yes" in vm.run("docker info")
    assert "SEEDED=a b" in vm.run("tr '\\0' '\\n' </proc/$(cat /run/shoal-engine.pid)/environ")
    modes = vm.run("stat -c %a /etc/shoal/tls/server-key.pem /etc/shoal/shoald.env /var/lib/shoal-machine").split()
    assert modes == ["600", "600", "700"]


def test_what_the_machine_is(vm: Vm) -> None:
    """It says which Shoal it holds, lacks nothing that the engine needs, and is small when idle."""
    assert f"VERSION_ID={cached(vm.directory / 'store').version}\n" in vm.run("cat /etc/os-release")
    assert all(line.startswith("ok") for line in vm.run("shoal doctor").splitlines())
    used = int(vm.run("free -m | awk '/Mem/ {print $3}'"))
    assert used <= IDLE_MB
    # OpenSSL finds an authority by the hash of its name.
    assert "OK" in vm.run("cd /etc/ssl/certs; python3 -c 'import ssl; print(\"OK\" if "
                          "ssl.get_default_verify_paths().capath == \"/usr/lib/ssl/certs\" else 1)'; ls *.0 | wc -l")  # fmt: skip


def test_containers_run(vm: Vm) -> None:
    """A container has its limits (cgroup v2) and its published port, and survives a restart of the engine."""
    vm.run("docker import - bb:1", input=image_of_busybox())
    vm.run(
        "docker run -d --name web -m 32m -p 8080:80 bb:1 sh -c 'mkdir /www; echo hi >/www/x; httpd -f -p 80 -h /www'"
    )
    assert vm.run("docker exec web cat /sys/fs/cgroup/memory.max").strip() == str(32 << 20)
    assert vm.run("wget -qO- http://127.0.0.1:8080/x").strip() == "hi"
    # A container that wants more memory than it may have is ended.
    hungry = "docker run --rm -m 16m bb:1 tail /dev/zero; echo $?"
    assert vm.run(hungry).split()[-1] == "137"
    before = vm.run("cat /run/shoal-engine.pid")
    vm.run("shoal-engine restart")
    vm.wait_for_engine()
    assert vm.run("cat /run/shoal-engine.pid") != before
    assert vm.run("docker ps --format '{{.Names}}'").split() == ["web"]
    assert "is running" in vm.run("/etc/init.d/docker status")
    vm.run("docker rm -f web")


def test_power_button_and_next_start(vm: Vm) -> None:
    """The power button ends it cleanly; at the next start, from the ISO, its files are there and a new seed holds."""
    vm.run("echo kept >/root/note && docker volume create vol")
    engine = vm.run("docker info --format '{{.ID}}'")
    vm.power_button()
    vm.write_seed(address="192.168.111.77", setup=vm.setup(labels=["seeded=again"]))
    vm.start(iso=True)
    vm.wait_for_engine()
    assert vm.run("cat /root/note").strip() == "kept"
    assert vm.run("docker volume ls -q").split() == ["vol"]
    assert vm.run("docker info --format '{{.ID}}'") == engine
    assert "seeded=again" in vm.run("docker info")
    addresses = vm.run("ip address")
    assert "inet 192.168.111.77/24" in addresses and ADDRESS not in addresses
    assert "recovery" not in vm.run("dmesg | grep EXT4")
    # Switched off from inside.
    vm.run("poweroff")
    vm.wait_off()
