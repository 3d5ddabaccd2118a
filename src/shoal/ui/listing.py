"""Listings: rows as a table, as JSON lines, or through the user's template."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shoal.ui.tables import aligned

Row = Mapping[str, Any]
"""A line: every column by its Go name; callables are methods with arguments, such as `Label`."""


class FormatFault(ValueError):
    """The template is wrong or names a column that does not exist."""


def listing(
    rows: Sequence[Row],
    columns: Mapping[str, str],
    shown: Sequence[str] | str,
    form: str = "",
    *,
    kind: str = "",
    json_value: Callable[[Row], object] | None = None,
) -> str:
    """The text of a listing.

    `columns` maps column names to headings; `shown` are the columns of the default table, or its template; `form` is
    what the user gave with --format; `kind` is the Go type that messages name. Raises FormatFault.
    """
    form = form.strip(" ") if form else "table"
    if form == "json":
        return _json(rows, json_value)
    if form == "table" or (form.startswith("table ") and not form[6:].strip()):
        if not isinstance(shown, str):
            lines = ["\t".join(columns[name] for name in shown)]
            lines += ["\t".join(str(row[name]) for name in shown) for row in rows]
            return aligned(lines)
        form = f"table {shown}"
    return _templated(rows, columns, form, kind)


def _json(rows: Sequence[Row], json_value: Callable[[Row], object] | None) -> str:
    return "".join(
        go_json(json_value(row) if json_value else {k: row[k] for k in sorted(row) if not callable(row[k])}) + "\n"
        for row in rows
    )


def go_json(value: object) -> str:
    """Compact JSON with `<`, `>` and `&` escaped, as Go's encoder writes it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _templated(rows: Sequence[Row], columns: Mapping[str, str], form: str, kind: str) -> str:
    from shoal.kit.gotemplate import Template, TemplateError

    table = form.startswith("table ")
    text = (form[6:] if table else form).replace("\\t", "\t").replace("\\n", "\n")
    try:
        template = Template(text)
    except TemplateError as fault:
        raise FormatFault(f"template parsing error: {fault}") from fault
    try:
        lines = [template.render(row, kind=kind) for row in rows]
        if not table:
            return "".join(line + "\n" for line in lines)
        heading = Template(text, _plain_functions()).render({**columns, "Label": _label_heading}, kind=kind)
    except TemplateError as fault:
        raise FormatFault(f"template parsing error: {fault}") from fault
    return aligned([line for block in [heading, *lines] for line in block.split("\n")])


def _plain_functions() -> dict[str, Callable[..., Any]]:
    """In the heading, functions that would change a column's words leave them alone."""
    return {
        "json": lambda value: value,
        "split": lambda value, separator: [value],
        "join": lambda value, separator="": value if isinstance(value, str) else separator.join(value),
        "title": lambda value: value,
        "lower": lambda value: value,
        "upper": lambda value: value,
        "truncate": lambda value, length: value,
        "println": lambda *values: " ".join(map(str, values)),
    }


def _label_heading(name: str) -> str:
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")
