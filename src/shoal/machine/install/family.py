"""Families of Linux distributions: which packages bring what Shoal needs, and how they are installed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shoal.machine.errors import MachineError
from shoal.machine.install.facts import LIBRARIES, PROGRAMS, Facts

PYTHON = "python"
_OPTIONAL = {"etcd": "it cannot be a manager", "catatonit": "`docker run --init` does not work",
             "ip": "`ip` is missing for people", "nsenter": "`nsenter` is missing for people"}  # fmt: skip

_APT = """
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt="apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o APT::Color=0"
masked=
if [ -d /run/systemd/system ] && ! command -v etcd >/dev/null; then
    # Debian starts what it installs; a manager's etcd is started by shoald.
    systemctl mask --runtime --quiet etcd.service && masked=yes
fi
$apt update >&2 || exit 100
$apt install -y --no-install-recommends {packages} >&2
status=$?
if [ -n "$masked" ]; then
    systemctl unmask --runtime --quiet etcd.service
    systemctl disable --quiet etcd.service 2>/dev/null
fi
[ $status = 0 ] || exit $status
{pythons}
"""

_DNF = """
dnf=$(command -v dnf || command -v yum)
$dnf -y install --setopt=install_weak_deps=False --setopt=timeout=20 --setopt=retries=1 {packages} >&2 || exit $?
{pythons}
"""

_NEWER_PYTHON = """
for version in 3.13 3.12 3.11; do
    {install} python$version >&2 && break
done
"""


class Family(NamedTuple):
    """One family: the ids that belong to it, what brings each need, and its installer's script."""

    name: str
    ids: tuple[str, ...]
    tool: str
    packages: Mapping[str, str]
    script: str
    install: str

    def installer(self, needs: Sequence[str], facts: Facts) -> str:
        """The script that installs what brings `needs`; 100 when the package lists cannot be had."""
        packages = dict.fromkeys(self.packages[need] for need in needs)
        newer = ""
        if PYTHON in needs and facts.has & {"python3"}:
            newer = _NEWER_PYTHON.format(install=self.install)
        return self.script.format(packages=" ".join(map(shlex.quote, packages)), pythons=newer)


DEBIAN = Family(
    "debian",
    ("debian", "ubuntu", "raspbian", "linuxmint", "pop"),
    "apt-get",
    {"crun": "crun", "conmon": "conmon", "etcd": "etcd-server", "catatonit": "catatonit", "ip": "iproute2",
     "nsenter": "util-linux", "libnftables.so.1": "libnftables1", "libseccomp.so.2": "libseccomp2",
     PYTHON: "python3"},
    _APT,
    "$apt install -y --no-install-recommends",
)  # fmt: skip
FEDORA = Family(
    "fedora",
    ("fedora", "rhel", "centos", "rocky", "almalinux", "ol", "amzn"),
    "dnf",
    {"crun": "crun", "conmon": "conmon", "etcd": "etcd", "catatonit": "catatonit", "ip": "iproute",
     "nsenter": "util-linux", "libnftables.so.1": "nftables", "libseccomp.so.2": "libseccomp",
     PYTHON: "python3"},
    _DNF,
    "$dnf -y install",
)  # fmt: skip
FAMILIES = (DEBIAN, FEDORA)


def choose(os_release: Mapping[str, str]) -> Family | None:
    """The family by ID, else by ID_LIKE in its order (os-release(5): closest first); None when it is none of ours."""
    for word in (os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()):
        for family in FAMILIES:
            if word.lower() in family.ids:
                return family
    return None


def missing(facts: Facts) -> list[str]:
    """What Shoal needs and the machine has not."""
    lacks = [need for need in (*PROGRAMS, *LIBRARIES) if need not in facts.has]
    return lacks if facts.python else [*lacks, PYTHON]


def required(needs: Sequence[str]) -> list[str]:
    """Those without which no container runs."""
    return [need for need in needs if need not in _OPTIONAL]


def spent_on(needs: Sequence[str]) -> list[str]:
    """What does not work without the others, in words."""
    return [f"{need} is not installed: {_OPTIONAL[need]}" for need in needs if need in _OPTIONAL]


def refuse_unknown(facts: Facts, needs: Sequence[str]) -> MachineError:
    """For a machine whose family is not known and which lacks something."""
    known = ", ".join(sorted({identity for family in FAMILIES for identity in family.ids}))
    name = facts.os.get("PRETTY_NAME") or facts.os.get("ID") or "no /etc/os-release"
    return MachineError(
        f"OS type not recognized: {name}. Packages can be installed on {known} and what is like them (ID_LIKE). "
        f"Install {', '.join(words(needs))} there yourself, and try again"
    )


def refuse_offline(facts: Facts, needs: Sequence[str], family: Family, said: str) -> MachineError:
    """For a machine that lacks something and whose package manager could not bring it."""
    packages = " ".join(dict.fromkeys(family.packages[need] for need in needs))
    lines = [line for line in said.strip().splitlines() if line.strip()][-3:]
    return MachineError(
        f"the machine lacks {', '.join(words(needs))}, and its {family.tool} could not install it. "
        f"Install these packages there, and try again: {packages}\n" + "\n".join(lines)
    )


def words(needs: Sequence[str]) -> list[str]:
    """Needs, for people."""
    return ["Python 3.11 or newer" if need == PYTHON else need for need in needs]
