"""Whether a machine can be made here: version, processor, network, image."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from shoal.machine import hypervisor
from shoal.machine import image as images
from shoal.machine.driver import Context
from shoal.machine.errors import MachineError, PreCreateError
from shoal.machine.virtualbox import hostonly, ranges
from shoal.machine.virtualbox.vboxmanage import Box, Version, parse_version

_OLDEST: Version = (4, 3, 0)
_SUPPORTED: Version = (5, 0, 0)


def check(get_box: Callable[[], Box], data: Mapping[str, Any], context: Context) -> None:
    """Raises PreCreateError when it cannot; changes nothing."""
    try:
        if platform.machine().lower() in ("arm64", "aarch64"):
            raise MachineError("the machine image is for x86-64 processors, this computer's is another")
        box = get_box()
        version = _version(box, context)
        if not data["NoVTXCheck"]:
            _check_processor(box)
        host = network(data, version)
        if not ranges.is_allowed(host, _allowed(version)):
            raise MachineError(ranges.not_allowed(host))
        hostonly.check(box, host)
        image(data, context)
    except PreCreateError:
        raise
    except MachineError as fault:
        raise PreCreateError(str(fault)) from fault


def network(data: Mapping[str, Any], version: Version) -> IPv4Interface:
    """The host's address on the host-only network: the one that was asked for, else what VirtualBox allows."""
    chosen = data.get("HostOnlyCIDR")
    return ranges.parse_cidr(chosen) if chosen else ranges.default_network(_allowed(version))


def image(data: Mapping[str, Any], context: Context) -> Path:
    """The image that the machine is to boot. Raises MachineError when there is none and none can be made."""
    given = hypervisor.given_image(data.get("Boot2DockerURL") or "")
    return given or images.ensure(context.store, context.say).iso


def _allowed(version: Version) -> Sequence[IPv4Network] | None:
    return ranges.allowed_ranges(version, sys.platform, ranges.read_configuration())


def _version(box: Box, context: Context) -> Version:
    answer = box("--version")
    version = parse_version(answer)
    shown = ".".join(map(str, version))
    if "kernel module is not loaded" in answer:
        raise MachineError(f"VirtualBox's kernel module is not loaded: {answer.strip()}")
    if version < _OLDEST:
        raise MachineError(
            f'We support VirtualBox starting with version 5. Your VirtualBox install is "{shown}". '
            "Please upgrade at https://www.virtualbox.org"
        )
    if version < _SUPPORTED:
        context.say(f'VirtualBox "{shown}" is old; version 5 and newer are supported')
    return version


def _check_processor(box: Box) -> None:
    if "processor supports hw virtualization: no" in box("list", "hostinfo").lower():
        raise MachineError("This computer doesn't have VT-X/AMD-v enabled. Enabling it in the BIOS is mandatory")
