"""What holds for the whole run: the tests leave nothing behind on this computer."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy this computer is: emulated machines run beside. Built on the profile that
# hypothesis takes by itself, which in CI is the same every time.
settings.register_profile("shoal", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shoal")

DAEMONS = ("etcd", "conmon", "crun", "shoald", "docker-registry", "dockerd", "containerd", "redis-server", "sshd",
           "qemu-system-x86_64")  # fmt: skip


FIRST = ("tutorial_hyperv", "tutorial_virtualbox", "tutorial.py", "qemu_user", "tutorial_qemu", "generic", "discovery",
         "killing", "hypervisor_drivers", "qemu_driver", "machine_image")  # fmt: skip
"""The files that take minutes, as they start, so that none is left alone at the end. Emulated machines compute all the
time: two processes at most are to have such files at once, and the third what waits most of it. (Each process has its
next file from the beginning: the fourth follows the first, and so on.)"""

_BEFORE, _LEFT = pytest.StashKey[set[tuple[str, str]]](), pytest.StashKey[set[tuple[str, str]]]()


def pytest_configure() -> None:
    """Hear signals, and let the programs under test hear them, also where the run is in the background of a shell."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Note what is there before the first test. The processes that share the work (pytest-xdist) leave it to the first."""
    if os.geteuid() == 0 and not hasattr(session.config, "workerinput"):
        session.config.stash[_BEFORE] = traces()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """After the last test there are no more daemons, interfaces, namespaces, mounts, cgroups and nft tables than before."""
    before = session.config.stash.get(_BEFORE, None)
    if before is None:
        return
    if not any(name == "/run/netns" for kind, name in before if kind == "mount") and not _names(Path("/run/netns")):
        subprocess.run(["umount", "/run/netns"], check=False, capture_output=True)  # made by the first `ip netns add`
    deadline = time.monotonic() + 15
    while (left := traces() - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    if left:
        session.config.stash[_LEFT] = left
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left behind."""
    if left := terminalreporter.config.stash.get(_LEFT, None):
        terminalreporter.section("left behind", red=True)
        for kind, name in sorted(left):
            terminalreporter.line(f"{kind}: {name}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files of `FIRST` first."""

    def rank(item: pytest.Item) -> int:
        return next((at for at, word in enumerate(FIRST) if word in item.path.name), len(FIRST))

    items.sort(key=rank)


def traces() -> set[tuple[str, str]]:
    """What a test could forget, as (kind, name)."""
    found = {("link", name) for name in os.listdir("/sys/class/net")}
    found |= {("namespace", name) for name in _names(Path("/run/netns"))}
    found |= {("machines", name) for name in _names(Path("/run/shoal-machines"))}
    found |= {
        ("machines", str(path))
        for path in (*Path("/run").glob("shoal-machines-*"), *Path("/tmp").glob("shoal-machines-*"))
    }
    found |= {("mount", line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()}
    found |= {("cgroup", str(path)) for path in Path("/sys/fs/cgroup").glob("*/*shoal*")}
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False).stdout
    found |= {("nft", line) for line in tables.splitlines()}
    return found | {("process", name) for name in _daemons()}


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _daemons() -> Iterator[str]:
    """Number and command of each running process that is one of `DAEMONS`; the dead that nobody reaped do not count."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        names = [os.path.basename(word.decode(errors="replace")) for word in words[:3]]
        if any(name in DAEMONS for name in names):
            yield f"{entry.name} {' '.join(names)}"
