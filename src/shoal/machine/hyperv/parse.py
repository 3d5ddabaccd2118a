"""What Hyper-V answers, as values. Pure.

PowerShell 5.1 writes enumerations as numbers and may wrap an array as {"value": [...], "Count": n}: both are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import PureWindowsPath
from typing import Any, NamedTuple

from shoal.machine.driver import State
from shoal.machine.errors import MachineError

_STATES = {
    2: State.RUNNING, 3: State.STOPPED, 4: State.STOPPING, 6: State.SAVED, 9: State.PAUSED, 10: State.STARTING,
    11: State.STARTING, 32773: State.STOPPING, 32776: State.PAUSED, 32777: State.STARTING,
    32779: State.SAVED, 32780: State.STOPPING,
}  # fmt: skip
"""Microsoft.HyperV.PowerShell.VMState."""

_STATE_NAMES = {
    "Running": 2, "Off": 3, "Stopping": 4, "Saved": 6, "Paused": 9, "Starting": 10, "Reset": 11, "Saving": 32773,
    "Pausing": 32776, "Resuming": 32777, "FastSaved": 32779, "FastSaving": 32780,
}  # fmt: skip

_EXTERNAL = (2, "External")
DEFAULT_SWITCH = "c08cb7b8-9b3c-408e-8e30-5e16a3aeb444"
"""The switch that newer Windows brings along has this Id everywhere."""


class Switch(NamedTuple):
    """A virtual switch."""

    id: str
    name: str
    external: bool


class Machine(NamedTuple):
    """A machine as Hyper-V sees it."""

    id: str
    name: str
    state: State
    folder: str
    addresses: tuple[str, ...]


def answers(text: str) -> list[list[Any]]:
    """The arrays that the statements printed, one a line. Raises MachineError for anything else."""
    found = []
    for line in text.splitlines():
        if line.strip():
            try:
                found.append(_array(json.loads(line)))
            except ValueError as fault:
                raise MachineError(f"Hyper-V answered what is not expected: {line.strip()}") from fault
    return found


def _array(value: Any) -> list[Any]:
    if isinstance(value, dict) and set(value) == {"value", "Count"}:
        value = value["value"]
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def switches(rows: Iterable[Mapping[str, Any]]) -> list[Switch]:
    """The answer of `scripts.switches`."""
    return [Switch(str(row["Id"]).lower(), str(row["Name"]), row["SwitchType"] in _EXTERNAL) for row in rows]


def choose_switch(known: Iterable[Switch], wanted: str) -> Switch:
    """The switch called `wanted`, in any case; without one the first external, else Windows' own. MachineError."""
    found = list(known)
    if wanted:
        for switch in found:
            if switch.name.lower() == wanted.lower():
                return switch
        raise MachineError(f'vswitch "{wanted}" not found')
    for switch in found:
        if switch.external:
            return switch
    for switch in found:
        if switch.id == DEFAULT_SWITCH:
            return switch
    raise MachineError(
        "no External vswitch found. A valid vswitch must be available for this command to run. Make one in Hyper-V "
        "Manager (Virtual Switch Manager, External) and name it with --hyperv-virtual-switch"
    )


def machines(rows: Iterable[Mapping[str, Any]], cards: Iterable[Mapping[str, Any]]) -> list[Machine]:
    """The two answers of `scripts.everything` together."""
    addresses: dict[str, list[str]] = {}
    for card in cards:
        addresses.setdefault(str(card["VMId"]).lower(), []).extend(map(str, _array(card.get("IPAddresses"))))
    return [
        Machine(number := str(row["Id"]).lower(), str(row["Name"]), state(row["State"]), str(row.get("Path") or ""),
                tuple(addresses.get(number, ())))
        for row in rows
    ]  # fmt: skip


def state(value: Any) -> State:
    """A VMState, by number or name; what needs a person (critical states) is an error."""
    number = _STATE_NAMES.get(value, value)
    if isinstance(number, str) and number.endswith("Critical"):
        return State.ERROR
    if isinstance(number, int) and number > 32780:
        return State.ERROR
    return _STATES.get(number, State.NONE)


def usable_address(addresses: Iterable[str]) -> str | None:
    """The first IPv4 address that others can reach: not one that a card gives itself while nothing answers it."""
    for text in addresses:
        try:
            address = IPv4Address(text)
        except ValueError:
            continue
        if not (address.is_link_local or address.is_loopback or address.is_unspecified):
            return text
    return None


def new_machine(text: str) -> str:
    """The Id that `scripts.register` printed; empty when it came to nothing."""
    for rows in answers(text):
        for row in rows:
            if isinstance(row, dict) and "Id" in row:
                return str(row["Id"]).lower()
    return ""


def is_below(path: str, folder: str) -> bool:
    """Whether `path` lies in `folder`, both of Hyper-V's computer."""
    inner, outer = PureWindowsPath(path), PureWindowsPath(folder)
    return inner == outer or outer in inner.parents
