"""`stack ls` and `stack rm`."""

from __future__ import annotations

from shoal.api.client import filters
from shoal.cli.command import TABLE_FORMAT, Context, Options, command, fail
from shoal.cli.printing import show
from shoal.cli.words import natural
from shoal.stack.names import LABEL_NAMESPACE, check_stack_name


@command(
    "stack ls",
    "[OPTIONS]",
    flags=f"""
      --format string   {TABLE_FORMAT}
""",
)
def listing(context: Context, options: Options) -> None:
    """Stacks by name, with the number of their services."""
    counts: dict[str, int] = {}
    for service in context.client.get("/services", {"filters": filters({"label": [LABEL_NAMESPACE]})}):
        stack = (service["Spec"].get("Labels") or {}).get(LABEL_NAMESPACE)
        if stack is None:
            fail(f"cannot get label {LABEL_NAMESPACE} for service {service['ID']}")
        counts[stack] = counts.get(stack, 0) + 1
    rows = [{"Name": name, "Services": str(counts[name])} for name in sorted(counts, key=natural)]
    columns = {"Name": "NAME", "Services": "SERVICES"}
    form = options.text("format")
    show(context, rows, columns, shown=list(columns), form=form, kind="formatter.stackContext")


@command(
    "stack rm",
    "[OPTIONS] STACK [STACK...]",
    args=(1, None),
    flags="""
  -d, --detach   Do not wait for stack removal
""",
)
def remove(context: Context, options: Options) -> None:
    """Remove what belongs to stacks; volumes stay."""
    from shoal.stack.run import Removal

    faults: list[str] = []
    stacks = [check_stack_name(name) for name in options.args]
    for stack in stacks:
        removal = Removal(context.client, stack, context.out, wait=not options.flag("detach"))
        if not removal.run():
            context.err(f"Nothing found in stack: {stack}")
        for text in removal.faults:
            context.err(text)
        if removal.faults:
            faults.append(f"Failed to remove some resources from stack: {stack}")
    if faults:
        fail("\n".join(faults))
