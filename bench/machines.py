"""Figures of machines: how soon they answer, how large they are, how quickly they are listed."""

from __future__ import annotations

import re
import statistics
import subprocess
import time

from demo.shell import Shell
from demo.workplace import bring_image, free_subnet, workplace

LISTED = 5
"""Running machines when `machine ls` is timed."""


def figures() -> list[tuple[str, float | str, float | str, str]]:
    """The rows of the table; dockerd has no machines."""
    with workplace("", free_subnet("192.168.90"), driver="qemu") as place:
        shell = place.shell(show=False)
        locals_ = [_create(shell, "local", f"local{number}")[1] for number in range(LISTED)]
        listing = statistics.median(_listing(shell) for _ in range(7))
        shell.run(f"docker-machine rm -y {' '.join(f'local{number}' for number in range(LISTED))}")
        bring_image(place, shell, "")
        size = (place.folder / "machines/cache/shoal.iso").stat().st_size / 1e6
        ssh, api = _create(shell, "qemu --qemu-cpu-count 2", "virtual")
        used = _used(shell.run("docker-machine ssh virtual cat /proc/meminfo"))
        accel = "software emulation" if "accel=tcg" in _command_line(shell) else "KVM"
    return [
        ("local machine: create -> its API answers", statistics.median(locals_), "", "s"),
        (f"qemu machine ({accel}): create -> ssh answers", ssh, "", "s"),
        (f"qemu machine ({accel}): create -> its API answers", api, "", "s"),
        ("machine image, compressed", size, "", "MB"),
        ("memory of an idle virtual machine, measured inside", used, "", "MB"),
        (f"`machine ls` with {LISTED} running machines", listing, "", "s"),
    ]


def _create(shell: Shell, driver: str, name: str) -> tuple[float, float]:
    """Seconds until ssh answers, and until the engine does."""
    start = time.perf_counter()
    command = ["docker-machine", "create", "--driver", *driver.split(), name]
    ssh = 0.0
    with subprocess.Popen(
        command, env=shell.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as creation:
        assert creation.stdout
        said = []
        for line in creation.stdout:
            said.append(line)
            if line.startswith("Checking connection to Docker"):
                ssh = time.perf_counter() - start
            if line.startswith("Docker is up and running"):
                api = time.perf_counter() - start
    if creation.returncode:
        raise RuntimeError("".join(said))
    return ssh, api


def _used(meminfo: str) -> float:
    """Megabytes that the kernel could not take back: without caches, but with what lies in memory file systems."""
    kilobytes = {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB", meminfo, re.M)}
    caches = sum(kilobytes[name] for name in ("MemFree", "Buffers", "Cached", "SReclaimable")) - kilobytes["Shmem"]
    return (kilobytes["MemTotal"] - caches) / 1000


def _listing(shell: Shell) -> float:
    start = time.perf_counter()
    said = shell.run("docker-machine ls")
    seconds = time.perf_counter() - start
    if len(re.findall(" Running ", said)) != LISTED:
        raise RuntimeError(said)
    return seconds


def _command_line(shell: Shell) -> str:
    """QEMU's, of the machine `virtual`."""
    pid = re.search(r'"pid": ?(\d+)', shell.run("cat $MACHINE_STORAGE_PATH/machines/virtual/qemu/run.json"))
    assert pid
    return shell.run(f"tr '\\0' ' ' </proc/{pid.group(1)}/cmdline")
