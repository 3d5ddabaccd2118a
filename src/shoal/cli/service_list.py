"""`service ls` and `stack services`."""

from __future__ import annotations

from shoal.api.client import filters
from shoal.cli.command import TABLE_FORMAT, Context, Options, command
from shoal.cli.printing import show
from shoal.cli.words import Json, image_name, natural, short

_FLAGS = f"""
  -f, --filter filter   Filter output based on conditions provided
      --format string   {TABLE_FORMAT}
  -q, --quiet           Only display IDs
"""
_COLUMNS = {
    "ID": "ID", "Name": "NAME", "Mode": "MODE", "Replicas": "REPLICAS", "Image": "IMAGE", "Ports": "PORTS",
}  # fmt: skip


@command("service ls", "[OPTIONS]", flags=_FLAGS)
def services(context: Context, options: Options) -> None:
    """The swarm's services by name."""
    _list(context, options, options.filters())


@command("stack services", "[OPTIONS] STACK", args=(1, 1), flags=_FLAGS)
def stack_services(context: Context, options: Options) -> None:
    """A stack's services by name."""
    from shoal.stack.names import check_stack_name, namespace_filter

    stack = check_stack_name(options.args[0])
    wanted = options.filters()
    if not _list(context, options, namespace_filter(stack, wanted), empty_table=False):
        context.err(f"Nothing found in stack: {stack}")


def _list(context: Context, options: Options, wanted: dict[str, list[str]], *, empty_table: bool = True) -> bool:
    found = context.client.get("/services", {"filters": filters(wanted), "status": True})
    found.sort(key=lambda service: natural(service["Spec"]["Name"]))
    if not found and not empty_table:
        return False
    if options.flag("quiet") and not options.changed("format"):
        context.out("".join(short(service["ID"]) + "\n" for service in found), end="")
    else:
        form = options.text("format")
        rows = [row(service) for service in found]
        show(context, rows, _COLUMNS, shown=list(_COLUMNS), form=form, kind="service.serviceContext")
    return True


def row(service: Json) -> Json:
    """A service's columns."""
    spec = service["Spec"]
    return {
        "ID": short(service["ID"]),
        "Name": spec["Name"],
        "Mode": mode_name(spec.get("Mode") or {}),
        "Replicas": _replicas(service),
        "Image": image_name(spec["TaskTemplate"].get("ContainerSpec", {}).get("Image", "")),
        "Ports": ports_text(service.get("Endpoint", {}).get("Ports") or []),
    }


def mode_name(mode: Json) -> str:
    """`replicated`, `global`, `replicated job` or `global job`."""
    names = {"Global": "global", "ReplicatedJob": "replicated job", "GlobalJob": "global job"}
    return next((name for key, name in names.items() if mode.get(key) is not None), "replicated")


def _replicas(service: Json) -> str:
    status, spec = service.get("ServiceStatus") or {}, service["Spec"]
    running, desired = status.get("RunningTasks", 0), status.get("DesiredTasks", 0)
    text = f"{running}/{desired}"
    mode = mode_name(spec.get("Mode") or {})
    completed = status.get("CompletedTasks", 0)
    if mode == "replicated job":
        total = spec["Mode"]["ReplicatedJob"].get("TotalCompletions") or 0
        return f"{text} ({completed}/{total} completed)"
    if mode == "global job":
        return f"{text} ({completed}/{desired + completed} completed)"
    most = (spec["TaskTemplate"].get("Placement") or {}).get("MaxReplicas", 0)
    return f"{text} (max {most} per node)" if most and mode == "replicated" else text


def ports_text(ports: list[Json]) -> str:
    """Published ports, runs of them together: `*:30000-30001->80-81/tcp`."""
    texts: list[str] = []
    run: list[tuple[int, int]] = []
    protocol = ""
    chosen = [port for port in ports if port.get("PublishMode") == "ingress"]
    for port in sorted(chosen, key=lambda port: (port.get("PublishedPort", 0), port.get("TargetPort", 0))):
        pair = (port.get("PublishedPort", 0), port.get("TargetPort", 0))
        if run and port.get("Protocol") == protocol and pair == (run[-1][0] + 1, run[-1][1] + 1):
            run.append(pair)
            continue
        if run:
            texts.append(_run_text(run, protocol))
        run, protocol = [pair], port.get("Protocol", "tcp")
    if run:
        texts.append(_run_text(run, protocol))
    return ", ".join(texts)


def _run_text(run: list[tuple[int, int]], protocol: str) -> str:
    published, target = (
        str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}-{ends[1]}"
        for ends in ((run[0][i], run[-1][i]) for i in (0, 1))
    )
    return f"*:{published}->{target}/{protocol}"
