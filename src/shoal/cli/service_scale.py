"""`service scale`, `rollback` and `rm`."""

from __future__ import annotations

from shoal.api.client import quote
from shoal.cli.command import CommandFault, Context, DaemonError, Options, command, fail, text_of
from shoal.cli.service_wait import wait_for


@command(
    "service scale",
    "SERVICE=REPLICAS [SERVICE=REPLICAS...]",
    args=(1, None),
    flags="""
  -d, --detach   Exit immediately instead of waiting for the service to converge
""",
)
def scale(context: Context, options: Options) -> int:
    """Set the number of replicas of services."""
    for text in options.args:
        if not text.partition("=")[2]:
            usage = f"{context.program} service scale"
            fail(
                f"invalid scale specifier '{text}'.\nSee '{usage} --help'.\n\n"
                f"Usage:  {usage} SERVICE=REPLICAS [SERVICE=REPLICAS...]\n\nScale one or multiple replicated services"
            )
    faults: list[str] = []
    scaled: list[tuple[str, str]] = []
    for text in options.args:
        name, _, number = text.partition("=")
        try:
            scaled.append((_scale(context, name, number), name))
            context.out(f"{name} scaled to {number}")
        except (CommandFault, DaemonError) as fault:
            faults.append(f"{name}: {text_of(fault)}")
    if not options.flag("detach"):
        for identifier, name in scaled:
            wait_for(context, identifier, name)
    if faults:
        fail("\n".join(faults))
    return 0


def _scale(context: Context, name: str, number: str) -> str:
    if not number.isdigit():
        fail(f'invalid replicas value {number}: strconv.ParseUint: parsing "{number}": invalid syntax')
    service = context.client.get(f"/services/{quote(name)}")
    mode = service["Spec"].get("Mode") or {}
    if mode.get("Replicated") is not None:
        mode["Replicated"]["Replicas"] = int(number)
    elif mode.get("ReplicatedJob") is not None:
        mode["ReplicatedJob"]["TotalCompletions"] = int(number)
    else:
        fail("scale can only be used with replicated or replicated-job mode")
    query = {"version": service["Version"]["Index"]}
    answer = context.client.post(f"/services/{service['ID']}/update", query, body=service["Spec"]) or {}
    context.warnings(answer.get("Warnings"))
    return str(service["ID"])


@command(
    "service rollback",
    "[OPTIONS] SERVICE",
    args=(1, 1),
    flags="""
  -d, --detach   Exit immediately instead of waiting for the service to converge
  -q, --quiet    Suppress progress output
""",
)
def rollback(context: Context, options: Options) -> None:
    """Go back to the spec before the last update."""
    name = options.args[0]
    service = context.client.get(f"/services/{quote(name)}")
    query = {"version": service["Version"]["Index"], "rollback": "previous"}
    answer = context.client.post(f"/services/{service['ID']}/update", query, body=service["Spec"]) or {}
    context.warnings(answer.get("Warnings"))
    context.out(name)
    if not options.flag("detach"):
        wait_for(context, service["ID"], name, quiet=options.flag("quiet"))


@command("service rm", "SERVICE [SERVICE...]", args=(1, None))
def remove(context: Context, options: Options) -> int:
    """Remove services with all their tasks."""
    return context.each(options.args, lambda name: context.client.delete(f"/services/{quote(name)}"))
