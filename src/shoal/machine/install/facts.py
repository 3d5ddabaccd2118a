"""What a machine is and has, asked in one go: a shell script that only looks, and the reading of its answer."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import NamedTuple

OLDEST_PYTHON = (3, 11)
MARKER = "Made by shoal machine"
"""Is in every file by which a machine's service manager starts our engine."""

PROGRAMS = ("crun", "conmon", "etcd", "catatonit", "ip", "nsenter")
LIBRARIES = ("libnftables.so.1", "libseccomp.so.2")

_PYTHON = (
    "import sys, ssl, json, asyncio, ctypes, tarfile, sysconfig; v = sys.version_info; "
    'print("%d.%d.%d" % v[:3], sys.executable); sys.exit(v < (3, 11))'
)

SURVEY = f"""
PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
put() {{ printf '%s %s\\n' "$1" "$2"; }}
have() {{ command -v "$1" >/dev/null 2>&1; }}
put uid "$(id -u)"
put system "$(uname -s)"
put machine "$(uname -m)"
put libc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
if [ "$(id -u)" != 0 ]; then
    if ! have sudo; then put sudo missing; elif sudo -n true 2>/dev/null; then put sudo yes; else put sudo password; fi
fi
for file in /etc/os-release /usr/lib/os-release; do
    if [ -r "$file" ]; then while IFS= read -r line || [ -n "$line" ]; do put os "$line"; done <"$file"; break; fi
done
for name in {" ".join(PROGRAMS)} apt-get dnf yum python3; do have "$name" && put has "$name"; done
libraries=$(ldconfig -p 2>/dev/null)
for name in {" ".join(LIBRARIES)}; do case "$libraries" in *"$name"*) put has "$name";; esac; done
for name in python3 python3.14 python3.13 python3.12 python3.11; do
    have "$name" && answer=$("$name" -I -c {shlex.quote(_PYTHON)} 2>/dev/null) && put python "$answer" && break
done
[ -d /run/systemd/system ] && put systemd yes
/opt/shoal/current/bin/python3 -I -c 'import shoal' 2>/dev/null && put current "$(readlink /opt/shoal/current)"
put shoald "$(command -v shoald)"
put docker "$(command -v docker)"
systemctl is-enabled --quiet docker.service 2>/dev/null && put process "dockerd 0"
for file in /etc/systemd/system/shoald.service /lib/systemd/system/shoald.service /etc/init.d/shoald; do
    [ -e "$file" ] || continue
    if grep -q "{MARKER}" "$file"; then put ours "$file"; else put foreign "$file"; fi
done
for directory in /proc/[0-9]*; do
    read -r name 2>/dev/null <"$directory/comm" || continue
    case "$name" in dockerd|shoald) put process "$name ${{directory#/proc/}}";; esac
done
for file in /proc/net/tcp /proc/net/tcp6; do
    [ -r "$file" ] || continue
    while read -r _ local _ state _; do [ "$state" = 0A ] && put listens "${{local##*:}}"; done <"$file"
done
true
"""


class Facts(NamedTuple):
    """A machine as the survey found it."""

    uid: int = 0
    sudo: str = ""
    """For users other than root: `yes` (without a password), `password`, or `missing`."""
    system: str = "Linux"
    machine: str = ""
    glibc: tuple[int, int] | None = None
    os: Mapping[str, str] = {}
    """/etc/os-release."""
    has: frozenset[str] = frozenset()
    python: str = ""
    """Where a Python is that Shoal can run with; empty when there is none."""
    python_version: tuple[int, int, int] = (0, 0, 0)
    systemd: bool = False
    installed: str = ""
    """Which of our bundles is installed."""
    shoald: str = ""
    docker: str = ""
    foreign_units: tuple[str, ...] = ()
    """Files that start a shoald which is not ours."""
    ours: bool = False
    """Whether we set up this machine before."""
    processes: Mapping[str, int] = {}
    """Engines that run (name to process id), or will at the next boot (0)."""
    listens: frozenset[int] = frozenset()
    """TCP ports on which somebody listens."""

    @property
    def image(self) -> bool:
        """Whether it runs our own machine image."""
        return self.os.get("ID") == "shoal"


def parse(text: str) -> Facts:
    """Read the survey's answer."""
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        lines.setdefault(key, []).append(value)

    def one(key: str) -> str:
        return lines.get(key, [""])[0].strip()

    version, python = _python(lines.get("python", []))
    found = re.search(r"(\d+)\.(\d+)", one("libc"))
    return Facts(
        uid=int(one("uid") or 0),
        sudo=one("sudo"),
        system=one("system"),
        machine=one("machine"),
        glibc=(int(found[1]), int(found[2])) if found else None,
        os=parse_os_release("\n".join(lines.get("os", []))),
        has=frozenset(lines.get("has", [])),
        python=python,
        python_version=version,
        systemd="systemd" in lines,
        installed=one("current").rpartition("/")[2],
        shoald=one("shoald"),
        docker=one("docker"),
        foreign_units=tuple(lines.get("foreign", [])),
        ours="ours" in lines,
        processes={name: int(pid) for name, _, pid in (item.partition(" ") for item in lines.get("process", []))},
        listens=frozenset(int(port, 16) for port in lines.get("listens", [])),
    )


def _python(answers: list[str]) -> tuple[tuple[int, int, int], str]:
    for answer in answers:
        version, _, path = answer.partition(" ")
        numbers = tuple(int(number) for number in version.split("."))
        if len(numbers) == 3 and numbers[:2] >= OLDEST_PYTHON and path:
            return (numbers[0], numbers[1], numbers[2]), path
    return (0, 0, 0), ""


def parse_os_release(text: str) -> dict[str, str]:
    """os-release(5): NAME=value lines, shell-quoted; comments and what cannot be read are passed over."""
    values = {}
    for line in text.splitlines():
        name, equals, raw = line.strip().partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            continue
        try:
            values[name] = "".join(shlex.split(raw))
        except ValueError:
            continue
    return values
