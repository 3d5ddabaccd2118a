"""Go templates over plain values: what `--format` takes (`{{.Names}}`, `{{json .State}}`, `{{range ...}}`).

The language is that of Go's text/template, as far as command lines use it: fields, `index`, pipelines, variables,
if/else, range, with, comments and trim markers; docker's own functions (json, join, split, title, truncate, pad) are
there too. Reading order: `gotemplate_nodes`, `gotemplate_parse` (text -> nodes), `gotemplate_values` (fields, printing,
functions), here.

Values are dicts with Go's names, lists, strings, numbers, msgspec structs (fields by their JSON names), and callables
in dicts, which stand for methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shoal.kit import gotemplate_nodes as syntax
from shoal.kit.gotemplate_parse import SyntaxFault, parse
from shoal.kit.gotemplate_values import FUNCTIONS, MISSING, NO_VALUE, Fault, field, printed, true


class TemplateError(ValueError):
    """The template is wrong, or does not fit the value; the text begins with `template: ` as Go's does."""


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Template:
    """A parsed template. Parse once, render for each row."""

    def __init__(self, text: str, functions: Mapping[str, Callable[..., Any]] | None = None) -> None:
        """Raises TemplateError when `text` is not a template."""
        self._functions: dict[str, Callable[..., Any]] = {**FUNCTIONS, **(functions or {})}
        try:
            self._nodes = parse(text, self._functions)
        except SyntaxFault as fault:
            raise TemplateError(str(fault)) from fault

    def render(self, value: object, *, missing: str = "error", kind: str = "") -> str:
        """The text for `value`.

        `missing` says what an absent key of a mapping is: `error`, or `zero` for Go's `<no value>`. `kind` names the
        Go type in the message about an unknown field. Raises TemplateError.
        """
        run = _Run(self._functions, missing, kind, value)
        run.block(self._nodes, value)
        return "".join(run.out)


def render(text: str, value: object, *, missing: str = "error", kind: str = "") -> str:
    """Parse and render at once."""
    return Template(text).render(value, missing=missing, kind=kind)


class _Run:
    """One rendering: the output so far and the variables in scope."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]], missing: str, kind: str, root: object) -> None:
        self.out: list[str] = []
        self._functions = functions
        self._missing = missing
        self._kind = kind
        self._root = root
        self._variables: list[dict[str, object]] = [{"$": root}]

    def block(self, nodes: list[syntax.Node], dot: object) -> None:
        self._variables.append({})
        try:
            for node in nodes:
                self._node(node, dot)
        finally:
            self._variables.pop()

    def _node(self, node: syntax.Node, dot: object) -> None:
        match node:
            case syntax.Text(text):
                self.out.append(text)
            case syntax.Action(pipe):
                value = self._pipe(pipe, dot)
                if not pipe.variables:
                    self.out.append(printed(value))
            case syntax.Branch("range"):
                self._range(node, dot)
            case syntax.Branch():
                self._branch(node, dot)
            case syntax.Jump("break"):
                raise _Break
            case syntax.Jump():
                raise _Continue

    def _branch(self, node: syntax.Branch, dot: object) -> None:
        self._variables.append({})
        try:
            value = self._pipe(node.pipe, dot)
            inner = value if node.keyword == "with" else dot
            self.block(node.body if true(value) else node.otherwise, inner if true(value) else dot)
        finally:
            self._variables.pop()

    def _range(self, node: syntax.Branch, dot: object) -> None:
        pairs = _pairs(self._pipe(node.pipe, dot, declare=False), node.pipe)
        if not pairs:
            self.block(node.otherwise, dot)
            return
        names = node.pipe.variables
        for key, item in pairs:
            scope = dict(zip(names, (item,) if len(names) == 1 else (key, item), strict=False))
            self._variables.append(scope)
            try:
                self.block(node.body, item)
            except _Continue:
                continue
            except _Break:
                break
            finally:
                self._variables.pop()

    def _pipe(self, pipe: syntax.Pipe, dot: object, *, declare: bool = True) -> object:
        value: object = MISSING
        for command in pipe.commands:
            value = self._command(command, dot, value)
        if declare:
            for name in pipe.variables:
                self._scope_of(name, pipe)[name] = value
        return value

    def _scope_of(self, name: str, pipe: syntax.Pipe) -> dict[str, object]:
        if not pipe.assigns:
            return self._variables[-1]
        return next(scope for scope in reversed(self._variables) if name in scope)

    def _command(self, command: syntax.Command, dot: object, piped: object) -> object:
        head, rest = command.operands[0], command.operands[1:]
        try:
            if isinstance(head, syntax.Function):
                if head.name in ("and", "or"):
                    return self._lazy(head.name, rest, dot, piped)
                arguments = [self._operand(operand, dot) for operand in rest]
                return self._call(head.name, self._functions[head.name], arguments, piped)
            if isinstance(head, syntax.Field) and (rest or piped is not MISSING):
                arguments = [self._operand(operand, dot) for operand in rest]
                return self._method(head, dot, arguments, piped)
            if rest or piped is not MISSING:
                raise Fault(f"can't give argument to non-function {head.source}")
            return self._operand(head, dot)
        except Fault as fault:
            where = head.source if isinstance(head, syntax.Field) else command.source
            place = f"{command.line}:{head.column if isinstance(head, syntax.Field) else command.column}"
            raise TemplateError(f'template: :{place}: executing "" at <{where}>: {fault}') from fault

    def _call(self, name: str, function: Callable[..., Any], arguments: list[object], piped: object) -> object:
        if piped is not MISSING:
            arguments = [*arguments, piped]
        try:
            return function(*arguments)
        except TypeError as fault:
            if "positional argument" not in str(fault):
                raise Fault(f"error calling {name}: {fault}") from fault
            raise Fault(f"wrong number of args for {name}: got {len(arguments)}") from fault
        except (ValueError, LookupError) as fault:
            raise Fault(f"error calling {name}: {fault.args[0] if fault.args else fault}") from fault

    def _lazy(self, name: str, operands: list[syntax.Operand], dot: object, piped: object) -> object:
        if not operands and piped is MISSING:
            raise Fault(f"wrong number of args for {name}: want at least 1 got 0")
        value: object = piped
        for operand in operands:
            value = self._operand(operand, dot)
            if true(value) == (name == "or"):
                return value
        return value if piped is MISSING else piped

    def _method(self, head: syntax.Field, dot: object, arguments: list[object], piped: object) -> object:
        base = self._walk(self._base(head, dot), head.names[:-1])
        method = field(base, head.names[-1], self._missing, self._kind) if head.names else base
        if not callable(method):
            raise Fault(
                f"{head.names[-1] if head.names else head.source} has arguments but cannot be invoked as function"
            )
        return self._call(head.names[-1] if head.names else head.source, method, arguments, piped)

    def _operand(self, operand: syntax.Operand, dot: object) -> object:
        match operand:
            case syntax.Literal(value):
                return value
            case syntax.Field():
                return self._walk(self._base(operand, dot), operand.names)
            case syntax.Function(name):
                return self._call(name, self._functions[name], [], MISSING)
            case syntax.Group(pipe, names):
                return self._walk(self._pipe(pipe, dot), names)
        raise AssertionError(operand)

    def _base(self, operand: syntax.Field, dot: object) -> object:
        if not operand.variable:
            return dot
        for scope in reversed(self._variables):
            if operand.variable in scope:
                return scope[operand.variable]
        raise Fault(f"undefined variable: {operand.variable}")

    def _walk(self, value: object, names: tuple[str, ...]) -> object:
        for name in names:
            value = field(value, name, self._missing, self._kind)
            if callable(value):
                value = value()
        return value


def _pairs(value: object, pipe: syntax.Pipe) -> list[tuple[object, object]]:
    if value is None or value is NO_VALUE or value is MISSING:
        return []
    if isinstance(value, Mapping):
        return sorted(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return [(i, i) for i in range(value)]
    command = pipe.commands[0]
    raise TemplateError(
        f'template: :{command.line}:{command.column}: executing "" at <{command.source}>: '
        f"range can't iterate over {printed(value)}"
    )
