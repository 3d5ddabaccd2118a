"""System call filters: Docker's default profile, or the user's own, compiled once to BPF through libseccomp.

crun would compile the profile for every container (15-20 ms); the program that comes out of here is given to it
ready-made, in the annotation `run.oci.seccomp_bpf_data`.
"""

from __future__ import annotations

import base64
import ctypes
import functools
import json
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from shoal.model.errors import InvalidArgument, ShoalError

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_ACTIONS = {
    "SCMP_ACT_ALLOW": _ALLOW, "SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0, "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000, "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_ERRNO": _ERRNO,
}  # fmt: skip
_COMPARE = {"ne": 1, "lt": 2, "le": 3, "eq": 4, "ge": 5, "gt": 6, "masked_eq": 7}
_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE; 2 is a binary tree instead of a long list
_UNKNOWN = -1  # __NR_SCMP_ERROR


class Condition(NamedTuple):
    """A comparison of one argument; `masked_eq` takes its mask from `value` and what must remain from `second`."""

    argument: int
    compare: str
    value: int
    second: int = 0


class Rule(NamedTuple):
    """What happens at some system calls."""

    names: tuple[str, ...]
    action: int
    tests: tuple[Condition, ...] = ()


class _Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


@functools.cache
def default_filter(capabilities: frozenset[str]) -> str:
    """The default profile for a container with these capabilities, as base64 of the BPF program. Cached."""
    profile = json.loads(files("shoal.engine").joinpath("seccomp_profile.json").read_text())
    machine = platform.machine()
    rules = [Rule(tuple(" ".join(profile["allow"]).split()), _ALLOW)]
    rules += [_fact(fact, _ALLOW) for fact in profile["allow_if"] if _applies(fact, machine, capabilities)]
    rules += [
        _fact(fact, _ERRNO | fact["errno"]) for fact in profile["refuse"] if _applies(fact, machine, capabilities)
    ]
    return compile_filter(_ERRNO | 1, profile["architectures"].get(machine, []), rules)


def _fact(fact: dict[str, Any], action: int) -> Rule:
    return Rule(tuple(fact["names"].split()), action, tuple(Condition(*test) for test in fact.get("tests", [])))


def _applies(fact: dict[str, Any], machine: str, capabilities: frozenset[str]) -> bool:
    return (
        ("machine" not in fact or machine in fact["machine"])
        and machine not in fact.get("unless_machine", [])
        and ("capability" not in fact or fact["capability"] in capabilities)
        and fact.get("unless_capability") not in capabilities
    )


_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "s390x": "s390x", "riscv64": "riscv64"}


@functools.lru_cache(maxsize=32)
def custom_filter(profile: str, capabilities: frozenset[str]) -> str:
    """A profile in Docker's JSON format (`--security-opt seccomp=file`), compiled as `default_filter` is.

    Raises InvalidArgument when it is not one.
    """
    try:
        data = json.loads(profile)
        default = _action(data["defaultAction"], data.get("defaultErrnoRet"))
        rules = [rule for entry in data.get("syscalls") or [] for rule in _entry(entry, capabilities)]
        architectures = [name.removeprefix("SCMP_ARCH_").lower() for name in data.get("architectures") or []]
        for entry in data.get("archMap") or []:
            if entry["architecture"].removeprefix("SCMP_ARCH_").lower() == platform.machine():
                architectures += [n.removeprefix("SCMP_ARCH_").lower() for n in entry.get("subArchitectures") or []]
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise InvalidArgument(f"Decoding seccomp profile failed: {fault}") from fault
    return compile_filter(default, architectures, rules)


def _entry(entry: dict[str, Any], capabilities: frozenset[str]) -> Iterable[Rule]:
    arch = _GO_ARCH.get(platform.machine(), platform.machine())
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    if includes.get("arches") and arch not in includes["arches"]:
        return
    if includes.get("caps") and not set(includes["caps"]) <= capabilities:
        return
    if arch in (excludes.get("arches") or []) or set(excludes.get("caps") or []) & capabilities:
        return
    names = tuple(entry.get("names") or [entry["name"]])
    tests = tuple(
        Condition(t["index"], t["op"].removeprefix("SCMP_CMP_").lower(), t["value"], t.get("valueTwo", 0))
        for t in entry.get("args") or []
    )
    yield Rule(names, _action(entry["action"], entry.get("errnoRet")), tests)


def _action(name: str, errno: int | None) -> int:
    if name not in _ACTIONS:
        raise ValueError(f"unknown action {name}")
    return _ACTIONS[name] | ((1 if errno is None else errno) if name == "SCMP_ACT_ERRNO" else 0)


def compile_filter(default: int, architectures: Sequence[str], rules: Iterable[Rule]) -> str:
    """The BPF program of `rules` in base64; architectures are added to the machine's own. Raises ShoalError."""
    library = _library()
    context = library.seccomp_init(default)
    if not context:
        raise ShoalError("libseccomp: cannot make a filter")
    try:
        for name in architectures:
            token = library.seccomp_arch_resolve_name(name.encode())
            if token:
                library.seccomp_arch_add(context, token)
        library.seccomp_attr_set(context, _OPTIMIZE, 2)
        for rule in rules:
            _add(library, context, rule, default)
        descriptor = os.memfd_create("seccomp")
        try:
            if library.seccomp_export_bpf(context, descriptor):
                raise ShoalError("libseccomp: cannot export the filter")
            size = os.lseek(descriptor, 0, os.SEEK_END)
            return base64.b64encode(os.pread(descriptor, size, 0)).decode()
        finally:
            os.close(descriptor)
    finally:
        library.seccomp_release(context)


def _add(library: Any, context: int, rule: Rule, default: int) -> None:
    if rule.action == default:
        return
    tests = (_Compare * len(rule.tests))(
        *(_Compare(t.argument, _COMPARE[t.compare], t.value, t.second) for t in rule.tests)
    )
    for name in rule.names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number != _UNKNOWN:  # a call that this libseccomp does not know stays refused
            library.seccomp_rule_add_array(context, rule.action, number, len(rule.tests), tests)


@functools.cache
def _library() -> Any:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as fault:
        raise ShoalError("libseccomp.so.2 is missing: install the package libseccomp2") from fault
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Compare),
    ]  # fmt: skip
    return library
