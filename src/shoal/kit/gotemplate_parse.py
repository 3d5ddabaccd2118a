"""The syntax of Go templates: text to nodes."""

from __future__ import annotations

import ast
import re
from collections.abc import Container
from typing import NamedTuple

from shoal.kit.gotemplate_nodes import (
    Action,
    Branch,
    Command,
    Field,
    Function,
    Group,
    Jump,
    Literal,
    Node,
    Operand,
    Pipe,
    Text,
)


class SyntaxFault(ValueError):
    """The text is not a template."""


_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>"(?:\\.|[^"\\\n])*")|(?P<raw>`[^`]*`)|(?P<char>'(?:\\.|[^'\\])+')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+))
    |(?P<field>(?:\$\w*)?(?:\.\w+)+)|(?P<variable>\$\w*)|(?P<dot>\.)|(?P<word>\w+)|(?P<mark>:=|=|\||\(|\)|,)""",
    re.VERBOSE,
)
_KEYWORDS = {"if", "with", "range", "else", "end", "break", "continue"}


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    line: int
    column: int


class _Tag(NamedTuple):
    """One `{{...}}`: its tokens, and where it stands."""

    tokens: list[_Token]
    line: int
    source: str


def parse(text: str, functions: Container[str]) -> list[Node]:
    """The nodes of `text`. Raises SyntaxFault with Go's words for an unknown function or an unclosed action."""
    parser = _Parser(list(_split(text)), functions)
    nodes, closer = parser.block(top=True)
    if closer:
        raise SyntaxFault(f"template: :{parser.line}: unexpected {{{{{closer}}}}}")
    return nodes


def _split(text: str) -> list[str | _Tag]:
    """Literal text and tags, in order; trim markers are applied here and comments dropped."""
    parts: list[str | _Tag] = []
    position, trim = 0, False
    while True:
        start = text.find("{{", position)
        literal = text[position:] if start < 0 else text[position:start]
        if trim:
            literal = literal.lstrip(" \t\r\n")
        if start < 0:
            return [*parts, literal]
        body = start + 2
        if re.match(r"-\s", text[body:]):
            literal, body = literal.rstrip(" \t\r\n"), body + 1
        parts.append(literal)
        tag, position, trim = _tag(text, body)
        if tag:
            parts.append(tag)


def _tag(text: str, start: int) -> tuple[_Tag | None, int, bool]:
    line = text.count("\n", 0, start) + 1
    comment = re.compile(r"\s*/\*.*?\*/\s*?(?:(?<=\s)-)?\}\}", re.DOTALL).match(text, start)
    if comment:
        return None, comment.end(), comment.group().endswith("-}}")
    tokens: list[_Token] = []
    position = start
    while True:
        end = re.compile(r"(\s-)?\}\}").match(text, position)
        if end:
            return _Tag(tokens, line, text[start:position]), end.end(), bool(end.group(1))
        if position >= len(text):
            raise SyntaxFault(f"template: :{line}: unclosed action")
        match = _TOKEN.match(text, position)
        if not match:
            raise SyntaxFault(_bad_character(text, position, line))
        kind = match.lastgroup or ""
        if kind != "space":
            column = position - (text.rfind("\n", 0, position) + 1)
            tokens.append(_Token(kind, match.group(), position - start, text.count("\n", 0, position) + 1, column))
        position = match.end()


def _bad_character(text: str, position: int, line: int) -> str:
    character = text[position]
    if character == '"':
        return f"template: :{line}: unterminated quoted string"
    if character in "{}":
        return f'template: :{line}: unexpected "{character}" in operand'
    return f"template: :{line}: unexpected bad character U+{ord(character):04X} '{character}' in command"


class _Parser:
    """Turns the parts of `_split` into nodes."""

    def __init__(self, parts: list[str | _Tag], functions: Container[str]) -> None:
        self._parts = parts
        self._functions = functions
        self._next = 0
        self.line = 1

    def block(self, *, top: bool = False) -> tuple[list[Node], str]:
        """Nodes up to `end` or `else`, and which of them it was: `end`, `else`, `else if ...`; empty at the end."""
        nodes: list[Node] = []
        while self._next < len(self._parts):
            part = self._parts[self._next]
            self._next += 1
            if isinstance(part, str):
                if part:
                    nodes.append(Text(part))
                continue
            self.line = part.line
            keyword = part.tokens[0].text if part.tokens and part.tokens[0].kind == "word" else ""
            if keyword in ("end", "else"):
                return nodes, " ".join(token.text for token in part.tokens[:2])
            nodes.append(self._node(part, keyword))
        if not top:
            raise SyntaxFault(f"template: :{self.line}: unexpected EOF")
        return nodes, ""

    def _node(self, tag: _Tag, keyword: str) -> Node:
        if keyword in ("break", "continue"):
            return Jump(keyword)
        if keyword in ("if", "with", "range"):
            return self._branch(tag, keyword, 1)
        if not tag.tokens:
            raise SyntaxFault(f"template: :{tag.line}: missing value for command")
        return Action(_PipeParser(tag, 0, self._functions).whole())

    def _branch(self, tag: _Tag, keyword: str, skip: int) -> Branch:
        if len(tag.tokens) == skip:
            raise SyntaxFault(f"template: :{tag.line}: missing value for {keyword}")
        pipe = _PipeParser(tag, skip, self._functions).whole()
        body, closer = self.block()
        otherwise: list[Node] = []
        if closer in ("else if", "else with"):
            inner = self._parts[self._next - 1]
            assert isinstance(inner, _Tag)
            return Branch(keyword, pipe, body, [self._branch(inner, closer.removeprefix("else "), 2)])
        if closer == "else":
            otherwise, closer = self.block()
            if closer != "end":
                raise SyntaxFault(f"template: :{self.line}: unexpected {{{{{closer}}}}}")
        return Branch(keyword, pipe, body, otherwise)


class _PipeParser:
    """The pipeline inside one tag."""

    def __init__(self, tag: _Tag, skip: int, functions: Container[str]) -> None:
        self._tag = tag
        self._tokens = tag.tokens
        self._i = skip
        self._functions = functions

    def whole(self) -> Pipe:
        """The pipeline up to the end of the tag."""
        pipe = self._pipe(closing="")
        if self._i < len(self._tokens):
            raise self._unexpected(self._tokens[self._i])
        return pipe

    def _unexpected(self, token: _Token) -> SyntaxFault:
        return SyntaxFault(f"template: :{token.line}: unexpected <{token.text}> in operand")

    def _pipe(self, closing: str) -> Pipe:
        variables, assigns = self._declaration()
        commands = [self._command(closing)]
        while self._i < len(self._tokens) and self._tokens[self._i].text == "|":
            self._i += 1
            commands.append(self._command(closing))
        return Pipe(commands, variables, assigns)

    def _declaration(self) -> tuple[tuple[str, ...], bool]:
        texts = [token.text for token in self._tokens[self._i : self._i + 4]]
        kinds = [token.kind for token in self._tokens[self._i : self._i + 4]]
        if kinds[:1] == ["variable"] and texts[1:2] in ([":="], ["="]):
            self._i += 2
            return (texts[0],), texts[1] == "="
        if kinds[:1] == ["variable"] and texts[1:2] == [","] and texts[3:4] in ([":="], ["="]):
            self._i += 4
            return (texts[0], texts[2]), texts[3] == "="
        return (), False

    def _command(self, closing: str) -> Command:
        operands: list[Operand] = []
        first = self._i
        while self._i < len(self._tokens) and self._tokens[self._i].text not in ("|", closing):
            operands.append(self._operand())
        if not operands:
            raise SyntaxFault(f"template: :{self._tag.line}: missing value for command")
        start, last = self._tokens[first], self._tokens[self._i - 1]
        source = self._tag.source[start.start : last.start + len(last.text)]
        return Command(operands, source, start.line, start.column)

    def _operand(self) -> Operand:
        token = self._tokens[self._i]
        self._i += 1
        text = token.text
        match token.kind:
            case "string" | "char":
                return Literal(ast.literal_eval(text), text)
            case "raw":
                return Literal(text[1:-1], text)
            case "number":
                return Literal(_number(text), text)
            case "dot":
                return Field("", (), text, token.column)
            case "variable":
                return Field(text, (), text, token.column)
            case "field":
                variable, *names = text.split(".")
                offset = text.rfind(".")
                return Field(variable, tuple(names), text, token.column + offset)
            case "word":
                return self._word(token)
        if text == "(":
            return self._group(token)
        raise self._unexpected(token)

    def _word(self, token: _Token) -> Operand:
        if token.text in ("true", "false"):
            return Literal(token.text == "true", token.text)
        if token.text == "nil":
            return Literal(None, token.text)
        if token.text in _KEYWORDS:
            raise SyntaxFault(f"template: :{token.line}: unexpected <{token.text}> in operand")
        if token.text not in self._functions:
            raise SyntaxFault(f'template: :{token.line}: function "{token.text}" not defined')
        return Function(token.text, token.text)

    def _group(self, token: _Token) -> Group:
        pipe = self._pipe(closing=")")
        if self._i >= len(self._tokens):
            raise SyntaxFault(f"template: :{token.line}: unclosed left paren")
        self._i += 1
        names: tuple[str, ...] = ()
        if self._i < len(self._tokens):
            after, previous = self._tokens[self._i], self._tokens[self._i - 1]
            if after.kind == "field" and after.text.startswith(".") and after.start == previous.start + 1:
                names = tuple(after.text[1:].split("."))
                self._i += 1
        return Group(pipe, names, "(...)")


def _number(text: str) -> int | float:
    try:
        return int(text, 0)
    except ValueError:
        return float(text)
