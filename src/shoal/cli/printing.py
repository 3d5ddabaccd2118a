"""How commands print listings and single objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from shoal.cli.command import CommandFault, Context, text_of
from shoal.cli.words import Json
from shoal.ui.listing import FormatFault, Row, listing


def show(
    context: Context,
    rows: Sequence[Row],
    columns: Mapping[str, str],
    *,
    shown: Sequence[str] | str,
    form: str,
    kind: str,
) -> None:
    """Print a listing. Raises CommandFault for a template that does not work."""
    try:
        context.out(listing(rows, columns, shown, form, kind=f"*{kind}"), end="")
    except FormatFault as fault:
        raise CommandFault(str(fault)) from fault


def inspect(context: Context, names: Iterable[str], find: Callable[[str], Any], form: str) -> int:
    """Print the objects that `find` brings as JSON, or each through the template `form`.

    What is not found is said on standard error after the rest, and makes the exit code 1.
    """
    found: list[Any] = []
    faults: list[str] = []
    template = template_of(form)
    for name in names:
        try:
            found.append(find(name))
        except Exception as fault:
            faults.append(_said(fault))
            if template:
                break
    try:
        if template:
            context.out("\n".join(template(value) for value in found))
        else:
            context.out(json.dumps(found, indent=4, ensure_ascii=False))
    except ValueError as fault:
        context.out()
        faults.insert(0, f"template parsing error: {fault}")
    for fault_text in faults:
        context.err(fault_text)
    return 1 if faults else 0


def _said(fault: Exception) -> str:
    from shoal.model.errors import ShoalError

    if isinstance(fault, CommandFault | ShoalError):
        return text_of(fault)
    raise fault


def template_of(form: str) -> Callable[[Json], str] | None:
    """What prints an object with --format; None without it. Raises CommandFault for what is no template."""
    if not form:
        return None
    from shoal.kit.gotemplate import Template, TemplateError

    text = "{{json .}}" if form == "json" else form.replace("\\t", "\t").replace("\\n", "\n")
    try:
        template = Template(text)
    except TemplateError as fault:
        raise CommandFault(f"template parsing error: {fault}", 64) from fault
    return template.render
