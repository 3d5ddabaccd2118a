"""cgroup v2 has no device files: a small BPF program, attached to the cgroup, says which devices may be used.

The program is assembled here from the same rules that cgroup v1 takes (`c 1:3 rwm`). Numbers: linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Sequence
from pathlib import Path

from shoal.model.errors import ShoalError

_BPF_NUMBER = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351}
_PROG_LOAD, _PROG_ATTACH = 5, 8
_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE = 15, 6
_ACCESS = {"m": 1, "r": 2, "w": 4}

# struct bpf_cgroup_dev_ctx { u32 access_type (access << 16 | type); u32 major; u32 minor; }
_LOAD, _AND, _SHIFT, _MOVE_REG, _MOVE, _EXIT = 0x61, 0x54, 0x74, 0xBC, 0xB4, 0x95
_JUMP_NOT, _JUMP_NOT_REG = 0x55, 0x5D


def _op(code: int, to: int = 0, source: int = 0, jump: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | to, jump, value)


def assemble(rules: Sequence[str]) -> bytes:
    """The program that allows what any of `rules` allows, and nothing else."""
    code = [
        _op(_LOAD, 2, 1, 0), _op(_MOVE_REG, 3, 2), _op(_AND, 2, value=0xFFFF), _op(_SHIFT, 3, value=16),
        _op(_LOAD, 4, 1, 4), _op(_LOAD, 5, 1, 8),
    ]  # fmt: skip  # r2 type, r3 access, r4 major, r5 minor
    for rule in rules:
        code += _rule(rule)
    code += [_op(_MOVE, 0, value=0), _op(_EXIT)]
    return b"".join(code)


def _rule(rule: str) -> list[bytes]:
    kind, numbers, permissions = rule.split()
    major, minor = numbers.split(":")
    mask = sum(_ACCESS[letter] for letter in set(permissions))
    tests: list[list[bytes]] = [[_op(_JUMP_NOT, 2, value=1 if kind == "b" else 2)]]
    if mask != 7:  # every access that is asked must be among those allowed
        tests.append([_op(_MOVE_REG, 6, 3), _op(_AND, 6, value=mask), _op(_JUMP_NOT_REG, 6, 3)])
    if major != "*":
        tests.append([_op(_JUMP_NOT, 4, value=int(major))])
    if minor != "*":
        tests.append([_op(_JUMP_NOT, 5, value=int(minor))])
    lines = [line for test in tests for line in test] + [_op(_MOVE, 0, value=1), _op(_EXIT)]
    out = []
    for index, line in enumerate(lines):  # a test that fails jumps behind this rule
        if line[0] in (_JUMP_NOT, _JUMP_NOT_REG):
            code, registers, _, value = struct.unpack("<BBhi", line)
            line = struct.pack("<BBhi", code, registers, len(lines) - index - 1, value)
        out.append(line)
    return out


def attach(folder: Path, rules: Sequence[str]) -> None:
    """Load the program of `rules` and attach it to the cgroup `folder`. Raises ShoalError."""
    program = load(assemble(rules))
    cgroup = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _bpf(_PROG_ATTACH, struct.pack("<IIII", cgroup, program, _ATTACH_CGROUP_DEVICE, 0))
    finally:
        os.close(cgroup)
        os.close(program)


def load(code: bytes) -> int:
    """Have the kernel check and take the program; returns its descriptor. Raises ShoalError."""
    instructions, licence = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"Apache-2.0")
    log = ctypes.create_string_buffer(65536)
    attributes = struct.pack(
        "<IIQQIIQI", _TYPE_CGROUP_DEVICE, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(licence),
        1, len(log), ctypes.addressof(log), 0,
    )  # fmt: skip
    try:
        return _bpf(_PROG_LOAD, attributes)
    except ShoalError as fault:
        raise ShoalError(f"{fault}: {log.value.decode(errors='replace')[-200:]}") from fault


def _bpf(command: int, attributes: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, len(attributes) + 64)
    result = libc.syscall(_BPF_NUMBER[platform.machine()], command, buffer, len(attributes))
    if result < 0:
        raise ShoalError(f"cannot restrict the container's devices: bpf: {os.strerror(ctypes.get_errno())}")
    return int(result)
