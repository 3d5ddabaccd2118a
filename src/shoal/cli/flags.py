"""Options, declared as the lines that `--help` prints, and parsed as docker parses them.

    -f, --filter filter   Filter output based on conditions provided
        --format string   Format output using a custom template

A line says the short and long name, the type (none: a switch), the meaning, and in parentheses at the end the default.
A line that begins further right continues the one above it. `--help` leaves out those whose meaning is one of

    hidden                                        taken, for old times' sake
    hidden, as --network                          another name of that option
    hidden, deprecated, use --timeout instead     a notice says so
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from shoal.kit.units import parse_bytes, parse_duration

_LINE = re.compile(r" *(?:-(\w), )? *--([\w-]+)(?: (\S+))?(?:  +(.*))?")
_DEFAULT = re.compile(r" \(default (.*)\)$", re.DOTALL)
_ALIAS = "hidden, as --"
_SINGLE = {
    "string", "int", "uint", "uint16", "uint32", "float", "duration", "bytes", "decimal", "command",
    "credential-spec", "node-addr", "pem-file",
}  # fmt: skip
_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}


class FlagFault(ValueError):
    """An option that does not exist, or whose value makes no sense; the message is docker's."""


class Flag(NamedTuple):
    """One option. `kind` is the word after its name; empty for a switch."""

    name: str
    short: str
    kind: str
    help: str
    default: str
    """As `--help` shows it, "" when it shows none."""

    @property
    def many(self) -> bool:
        """May it be given several times, each time adding a value?"""
        return bool(self.kind) and self.kind not in _SINGLE

    @property
    def label(self) -> str:
        """How messages name it: `-f, --filter`."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    @property
    def hidden(self) -> bool:
        """Is it left out of `--help`?"""
        return self.help.partition(",")[0] == "hidden"

    @property
    def target(self) -> str:
        """The long name its values are kept under: its own, unless it is another name of an option."""
        return self.help.removeprefix(_ALIAS) if self.help.startswith(_ALIAS) else self.name


def declare(text: str) -> list[Flag]:
    """The options that the lines of `text` describe."""
    entries: list[str] = []
    for line in text.splitlines():
        if re.match(r" *(-\w, )? *--[\w-]", line):
            entries.append(line)
        elif line.strip():
            body = line.strip()
            entries[-1] += ("\n" if body[0] in "'|" or entries[-1].endswith(":") else " ") + body.lstrip("|")
    return [_flag(entry) for entry in entries]


def _flag(entry: str) -> Flag:
    first, newline, rest = entry.partition("\n")
    match = _LINE.fullmatch(first)
    if not match:
        raise AssertionError(f"not an option: {entry}")
    short, name, kind, text = match.groups()
    text = (text or "") + newline + rest
    default = _DEFAULT.search(text)
    return Flag(name, short or "", kind or "", text, default.group(1).strip('"') if default else "")


class Options:
    """What the user gave: options by long name, and the arguments that are left."""

    def __init__(self, flags: Iterable[Flag]) -> None:
        self._flags = {flag.name: flag for flag in flags}
        self._values: dict[str, list[str]] = {}
        self.args: list[str] = []

    def changed(self, name: str) -> bool:
        """Whether the user gave it."""
        return name in self._values

    def any_changed(self, *names: str) -> bool:
        """Whether the user gave one of them."""
        return any(name in self._values for name in names)

    def given(self) -> list[str]:
        """The names of what the user gave."""
        return list(self._values)

    def notices(self) -> list[str]:
        """What docker says of deprecated options, once for each time one was given."""
        return [
            flag.help.replace("hidden,", f"Flag --{flag.name} has been", 1)
            for flag in self._flags.values()
            if flag.help.startswith("hidden, deprecated")
            for _ in self.many(flag.name)
        ]

    def flag(self, name: str) -> bool:
        """A switch."""
        return self.text(name) in _TRUE

    def text(self, name: str) -> str:
        """A value: the last one given, else the default."""
        values = self._values.get(name)
        return values[-1] if values else self._flags[name].default

    def many(self, name: str) -> list[str]:
        """All values given, in order; comma-separated ones are split where the option says `strings`."""
        values = self._values.get(name, [])
        if self._flags[name].kind in ("strings", "ipNetSlice"):
            return [part for value in values for part in value.split(",")]
        return list(values)

    def number(self, name: str) -> int:
        """A whole number; 0 when neither given nor by default."""
        return integer(self.text(name) or "0")

    def real(self, name: str) -> float:
        """A number; 0 when neither given nor by default."""
        return float(self.text(name) or 0)

    def duration(self, name: str) -> int:
        """A time span in nanoseconds."""
        return parse_duration(self.text(name) or "0")

    def size(self, name: str) -> int:
        """Bytes; -1 as given."""
        text = self.text(name)
        return -1 if text == "-1" else parse_bytes(text or "0")

    def nano_cpus(self, name: str) -> int:
        """CPUs in billionths. Raises FlagFault for what is finer than that."""
        return nano_cpus(self.text(name) or "0")

    def filters(self, name: str = "filter") -> dict[str, list[str]]:
        """`name=value` pairs, values by name."""
        found: dict[str, list[str]] = {}
        for value in self.many(name):
            key, _, wanted = value.partition("=")
            found.setdefault(key.strip().lower(), []).append(wanted.strip())
        return found

    def give(self, flag: Flag, value: str) -> None:
        """Take a value. Raises FlagFault."""
        try:
            check(flag.kind, value)
        except ValueError as fault:
            shown = value.replace("\\", "\\\\").replace('"', '\\"')  # as Go's %q
            raise FlagFault(f'invalid argument "{shown}" for "{flag.label}" flag: {fault}') from fault
        self._values.setdefault(flag.target, []).append(value)


def parse(flags: list[Flag], arguments: list[str], *, interspersed: bool = True) -> Options:
    """The options and arguments in `arguments`. Without `interspersed`, the first argument ends the options.

    Raises FlagFault in docker's words.
    """
    options = Options(flags)
    names = {flag.name: flag for flag in flags}
    shorts = {flag.short: flag for flag in flags if flag.short}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            options.args += rest
            break
        if argument.startswith("--"):
            _long(options, names, argument, rest)
        elif argument.startswith("-") and len(argument) > 1:
            _short(options, shorts, argument, rest)
        else:
            options.args.append(argument)
            if not interspersed:
                options.args += rest
                break
    return options


def _long(options: Options, names: dict[str, Flag], argument: str, rest: list[str]) -> None:
    name, equals, value = argument[2:].partition("=")
    flag = names.get(name)
    if not flag:
        raise FlagFault(f"unknown flag: --{name}")
    if equals:
        options.give(flag, value)
    elif not flag.kind:
        options.give(flag, "true")
    elif rest:
        options.give(flag, rest.pop(0))
    else:
        raise FlagFault(f"flag needs an argument: --{name}")


def _short(options: Options, shorts: dict[str, Flag], argument: str, rest: list[str]) -> None:
    letters = argument[1:]
    while letters:
        flag, letters = shorts.get(letters[0]), letters[1:]
        if not flag:
            letter = argument[len(argument) - len(letters) - 1]
            raise FlagFault(f"unknown shorthand flag: '{letter}' in {argument}")
        if letters.startswith("="):
            options.give(flag, letters[1:])
            return
        if not flag.kind:
            options.give(flag, "true")
        elif letters:
            options.give(flag, letters)
            return
        elif rest:
            options.give(flag, rest.pop(0))
        else:
            raise FlagFault(f"flag needs an argument: '{flag.short}' in {argument}")


def check(kind: str, value: str) -> None:
    """Raise ValueError, in Go's words, unless `value` is a `kind`."""
    match kind:
        case "":
            if value not in _TRUE | _FALSE:
                raise ValueError(f'strconv.ParseBool: parsing "{value}": invalid syntax')
        case "int" | "uint" | "uint16" | "uint32":
            _check_integer(kind, value)
        case "float":
            try:
                float(value)
            except ValueError:
                raise ValueError(f'strconv.ParseFloat: parsing "{value}": invalid syntax') from None
        case "duration":
            parse_duration(value)
        case "bytes":
            _check_bytes(value)
        case "decimal":
            nano_cpus(value)
        case "port" | "mount" | "network" | "ulimit" | "pref":
            from shoal.cli import grammar

            parsers = {"port": grammar.ports, "pref": grammar.preference}
            (parsers.get(kind) or getattr(grammar, kind))(value)
        case "filter":
            if value and "=" not in value:
                raise ValueError("bad format of filter (expected name=value)")


def _check_integer(kind: str, value: str) -> None:
    function = "ParseUint" if kind.startswith("uint") else "ParseInt"
    try:
        wrong = integer(value) < 0 and function == "ParseUint"
    except ValueError:
        wrong = True
    if wrong:
        raise ValueError(f'strconv.{function}: parsing "{value}": invalid syntax')


def integer(text: str) -> int:
    """A whole number as Go writes them: 0x16, 0b11, 0o26, and 026 is octal too. Raises ValueError."""
    return int(re.sub(r"^([+-]?0)(?=[0-7_])", r"\1o", text), 0)


def _check_bytes(value: str) -> None:
    if value == "-1":
        return
    try:
        parse_bytes(value)
    except ValueError:
        suffix = re.fullmatch(r"[\d.]+ *([A-Za-z]+)", value)
        raise ValueError(
            f"invalid suffix: '{suffix.group(1).lower()}'" if suffix else f"invalid size: '{value}'"
        ) from None


def nano_cpus(text: str) -> int:
    """CPUs such as `0.5` or `1/4` in billionths. Raises ValueError in docker's words."""
    from fractions import Fraction

    try:
        billionths = Fraction(text) * 10**9
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    if billionths.denominator != 1:
        raise ValueError("value is too precise")
    return int(billionths)
