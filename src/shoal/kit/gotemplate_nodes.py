"""What a Go template consists of, once it is parsed."""

from __future__ import annotations

from typing import NamedTuple


class Text(NamedTuple):
    """What is printed as it stands."""

    text: str


class Literal(NamedTuple):
    """A constant: string, number, true, false, nil."""

    value: object
    source: str


class Field(NamedTuple):
    """`.A.B`, `.`, `$x.A`: `variable` is empty for the dot."""

    variable: str
    names: tuple[str, ...]
    source: str
    column: int


class Function(NamedTuple):
    """A function's name."""

    name: str
    source: str


class Group(NamedTuple):
    """`(pipeline).A.B`."""

    pipe: Pipe
    names: tuple[str, ...]
    source: str


Operand = Literal | Field | Function | Group


class Command(NamedTuple):
    """A function or value with its arguments, and where it stands."""

    operands: list[Operand]
    source: str
    line: int
    column: int


class Pipe(NamedTuple):
    """Commands joined by `|`; `variables` take the result (`:=`, or `=` when it `assigns`)."""

    commands: list[Command]
    variables: tuple[str, ...] = ()
    assigns: bool = False


class Action(NamedTuple):
    """`{{pipeline}}`."""

    pipe: Pipe


class Branch(NamedTuple):
    """`if`, `with` or `range` with its two bodies."""

    keyword: str
    pipe: Pipe
    body: list[Node]
    otherwise: list[Node]


class Jump(NamedTuple):
    """`break` or `continue`."""

    keyword: str


Node = Text | Action | Branch | Jump
