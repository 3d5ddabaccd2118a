"""PowerShell's language, as far as scripts for Hyper-V need it: strict, whatever it does not know is an error.

Statements, assignment, try and catch, pipelines of commands with named parameters, literal strings in single quotes
(about_Quoting_Rules), casts, members and methods of what `STATICS` holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

QUOTES = "'\u2018\u2019\u201a\u201b"
TOKENS = re.compile(
    rf"""(?P<space>[ \t\r\n]+)
    |(?P<text>[{QUOTES}](?:[^{QUOTES}]|[{QUOTES}]{{2}})*[{QUOTES}])
    |(?P<variable>\$(?:[A-Za-z]\w*|_))
    |(?P<type>\[[A-Za-z.]+\])
    |(?P<open>@\()
    |(?P<parameter>-[A-Za-z]+)
    |(?P<number>\d+(?![\w.-]))
    |(?P<static>::)
    |(?P<mark>[(){{}};|,=.])
    |(?P<word>[A-Za-z][\w\\-]*)""",
    re.X,
)


class PsError(Exception):
    """A terminating error; the text is what `$_.Exception.Message` gives."""


class Exit(Exception):
    """`exit`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Token(NamedTuple):
    kind: str
    text: str


class TypeName(str):
    """A type literal that was not used yet."""


def tokens(text: str) -> list[Token]:
    """The script's tokens. Raises PsError where there is none."""
    found, at = [], 0
    while at < len(text):
        match = TOKENS.match(text, at)
        if match is None:
            if text[at] in QUOTES:
                raise PsError("The string is missing the terminator: '.")
            raise PsError(f"Unexpected token '{text[at : at + 20]}' in expression or statement.")
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match[0]))
        at = match.end()
    return [*found, Token("end", "")]


def literal(text: str) -> str:
    """The value of a string in single quotes: two of them, of whichever kind, are one."""
    return re.sub(f"[{QUOTES}]([{QUOTES}])", r"\1", text[1:-1])


class Command(NamedTuple):
    """A cmdlet: its parameters (True: takes a value), the mandatory ones, and what it does with the pipeline."""

    run: Callable[[Mapping[str, Any], list[Any]], Iterable[Any]]
    parameters: Mapping[str, bool]
    mandatory: tuple[str, ...] = ()


class Shell:
    """Runs scripts with these cmdlets (by lower-case name, without module) and static members."""

    def __init__(self, commands: Mapping[str, Command], statics: Mapping[str, Any], module: str) -> None:
        self._commands, self._statics, self._module = commands, statics, module
        self.output: list[str] = []
        self._variables: dict[str, Any] = {"true": True, "false": False, "null": None}
        self._tokens: list[Token] = []
        self._at = 0

    def run(self, text: str) -> None:
        """Run a script; what it prints is in `output`. Raises PsError, Exit."""
        self._tokens, self._at = tokens(text), 0
        program = self._statements("end")
        self._execute(program)

    # Parsing: statements become functions, so that nothing runs when something later is not understood.

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, text: str) -> bool:
        if self._peek().text == text and self._peek().kind != "text":
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise PsError(f"Missing '{text}' in statement; unexpected token '{self._peek().text}'.")

    def _statements(self, end: str) -> list[Callable[[], Iterable[Any]]]:
        found = []
        while True:
            while self._take(";"):
                pass
            if self._peek().kind == end or self._peek() == Token("mark", end):
                self._at += 1
                return found
            found.append(self._statement())
            if self._peek().text != ";" and self._peek().kind != end and self._peek() != Token("mark", end):
                raise PsError(f"Unexpected token '{self._peek().text}' in expression or statement.")

    def _statement(self) -> Callable[[], Iterable[Any]]:
        token = self._peek()
        if token == Token("word", "try"):
            return self._try()
        if token == Token("word", "exit"):
            self._at += 1
            status = int(self._next().text)
            return lambda: _exit(status)
        start = self._at
        if token.kind == "variable" and self._tokens[self._at + 1].text == "=":
            self._at += 2
            return self._assignment(token.text[1:].lower(), self._pipeline())
        if token.kind == "type" and [each.text for each in self._tokens[start + 1 : start + 4 : 2]] == ["::", "="]:
            name = f"{token.text}::{self._tokens[start + 2].text}"
            if name not in self._statics:
                raise PsError(f"The property '{self._tokens[start + 2].text}' cannot be found on this object.")
            self._at += 4
            return self._assignment("", self._pipeline())
        return self._pipeline()

    def _assignment(self, name: str, value: Callable[[], Iterable[Any]]) -> Callable[[], Iterable[Any]]:
        def assign() -> Iterable[Any]:
            found = list(value())
            self._variables[name] = found[0] if len(found) == 1 else (found or None)
            return ()

        return assign

    def _try(self) -> Callable[[], Iterable[Any]]:
        self._expect("try")
        self._expect("{")
        body = self._statements("}")
        self._expect("catch")
        self._expect("{")
        handler = self._statements("}")

        def attempt() -> Iterable[Any]:
            try:
                self._execute(body)
            except PsError as fault:
                self._variables["_"] = {"Exception": {"Message": str(fault)}}
                self._execute(handler)
            return ()

        return attempt

    def _execute(self, statements: list[Callable[[], Iterable[Any]]]) -> None:
        for statement in statements:
            for value in statement():
                self.output.append(value if isinstance(value, str) else str(value))

    def _pipeline(self) -> Callable[[], Iterable[Any]]:
        stages = [self._stage(first=True)]
        while self._take("|"):
            stages.append(self._stage(first=False))

        def flow() -> Iterable[Any]:
            values: list[Any] = []
            for stage in stages:
                values = list(stage(values))
            return values

        return flow

    def _stage(self, *, first: bool) -> Callable[[list[Any]], Iterable[Any]]:
        if self._peek().kind == "word":
            return self._command()
        if not first:
            raise PsError("Expressions are only allowed as the first element of a pipeline.")
        value = self._expression()

        def listed(_: list[Any]) -> Iterable[Any]:
            found = value()
            return found if isinstance(found, list) else [] if found is None else [found]

        return listed

    def _command(self) -> Callable[[list[Any]], Iterable[Any]]:
        full = self._next().text
        module, _, name = full.rpartition("\\")
        command = self._commands.get(name.lower())
        if command is None or module.lower() not in ("", self._module.lower()):
            raise PsError(
                f"The term '{full}' is not recognized as the name of a cmdlet, function, script file, or operable program. "
                "Check the spelling of the name, or if a path was included, verify that the path is correct and try again."
            )
        known = {each.lower(): each for each in command.parameters}
        given: dict[str, Callable[[], Any]] = {}
        while self._peek().kind == "parameter":
            word = self._next().text[1:]
            if word.lower() not in known:
                raise PsError(f"A parameter cannot be found that matches parameter name '{word}'.")
            parameter = known[word.lower()]
            if parameter in given:
                raise PsError(f"Cannot bind parameter because parameter '{parameter}' is specified more than once.")
            given[parameter] = self._argument(parameter) if command.parameters[parameter] else lambda: True
        if self._peek().text not in ("|", ";", ")", "}", "") or self._peek().kind == "text":
            raise PsError(f"A positional parameter cannot be found that accepts argument '{self._peek().text}'.")
        missing = [each for each in command.mandatory if each not in given]
        if missing:
            raise PsError(
                f"Cannot process command because of one or more missing mandatory parameters: {' '.join(missing)}."
            )
        return lambda values: command.run({key: value() for key, value in given.items()}, values)

    def _argument(self, parameter: str) -> Callable[[], Any]:
        if self._peek().kind in ("parameter", "end") or self._peek() in [Token("mark", each) for each in ";|)}"]:
            raise PsError(
                f"Missing an argument for parameter '{parameter}'. Specify a parameter of type 'System.Object' and try again."
            )
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        return values[0] if len(values) == 1 else lambda: [value() for value in values]

    def _value(self) -> Callable[[], Any]:
        if self._peek().kind == "word":
            word = self._next().text
            return lambda: word
        return self._expression()

    def _expression(self) -> Callable[[], Any]:
        if self._peek().kind == "type":
            name = self._next().text
            if not self._take("::"):
                cast = self._statics.get(name)
                if cast is None:
                    raise PsError(f"Unable to find type {name}.")
                operand = self._expression()
                return lambda: cast(operand())
            member = f"{name}::{self._next().text}"
            if member not in self._statics:
                raise PsError(f"Unable to find type {name}.")
            value: Callable[[], Any] = lambda: self._statics[member]  # noqa: E731
        else:
            value = self._primary()
        while True:
            if self._take("."):
                value = self._member(value, self._next().text)
            elif self._take("("):
                value = self._call(value)
            else:
                return value

    def _member(self, value: Callable[[], Any], name: str) -> Callable[[], Any]:
        def get() -> Any:
            found = value()
            if not isinstance(found, Mapping) or name not in found:
                raise PsError(f"The property '{name}' cannot be found on this object. Verify that the property exists.")
            return found[name]

        return get

    def _call(self, value: Callable[[], Any]) -> Callable[[], Any]:
        arguments = []
        while not self._take(")"):
            arguments.append(self._expression())
            self._take(",")
        return lambda: value()(*(argument() for argument in arguments))

    def _primary(self) -> Callable[[], Any]:
        token = self._next()
        if token.kind == "text":
            return lambda: literal(token.text)
        if token.kind == "number":
            return lambda: int(token.text)
        if token.kind == "variable":
            return lambda: self._variable(token.text[1:].lower())
        if token.kind == "open":
            parts = self._statements(")")
            return lambda: [value for part in parts for value in part()]
        if token.text == "(":
            inner = self._pipeline()
            self._expect(")")

            def single() -> Any:
                values = list(inner())
                return values[0] if len(values) == 1 else values

            return single
        raise PsError(f"Unexpected token '{token.text}' in expression or statement.")

    def _variable(self, name: str) -> Any:
        if name not in self._variables:
            raise PsError(f"The variable '${name}' cannot be retrieved because it has not been set.")
        return self._variables[name]


def _exit(status: int) -> Iterable[Any]:
    raise Exit(status)
