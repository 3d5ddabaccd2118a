"""`service ps`, `stack ps` and `node ps`: tasks, newest of each slot first, older ones hung below it."""

from __future__ import annotations

from shoal.api.client import Client, DaemonError, filters, quote
from shoal.cli.command import TABLE_FORMAT, CommandFault, Context, Options, command, fail, text_of
from shoal.cli.printing import show
from shoal.cli.swarm_info import Names, node_reference
from shoal.cli.words import Json, cut, image_name, moment, natural, short, since

_REST = """
      --no-resolve      Do not map IDs to Names
      --no-trunc        Do not truncate output
  -q, --quiet           Only display task IDs
"""
_FLAGS = f"""
  -f, --filter filter   Filter output based on conditions provided
      --format string   Pretty-print tasks using a Go template{_REST}"""
_STACK_FLAGS = f"""
  -f, --filter filter   Filter output based on conditions provided
      --format string   {TABLE_FORMAT}{_REST}"""
_COLUMNS = {
    "ID": "ID", "Name": "NAME", "Image": "IMAGE", "Node": "NODE", "DesiredState": "DESIRED STATE",
    "CurrentState": "CURRENT STATE", "Error": "ERROR", "Ports": "PORTS",
}  # fmt: skip


@command("service ps", "[OPTIONS] SERVICE [SERVICE...]", args=(1, None), flags=_FLAGS)
def service_ps(context: Context, options: Options) -> None:
    """The tasks of services, by name, id or beginning of the id."""
    wanted = options.filters()
    if "node" in wanted:
        wanted["node"] = [node_reference(context.client, name) for name in wanted["node"]]
    found, unknown = _services(context.client, options.args)
    if found:
        wanted["service"] = found
        print_tasks(context, options, context.client.get("/tasks", {"filters": filters(wanted)}))
    if unknown:
        fail("\n".join(unknown))


def _services(client: Client, names: list[str]) -> tuple[list[str], list[str]]:
    """Ids of the named services, and a sentence for each that does not exist."""
    by_id = client.get("/services", {"filters": filters({"id": names})})
    by_name = client.get("/services", {"filters": filters({"name": names})})
    ids: list[str] = []
    unknown: list[str] = []
    for name in names:
        exact = [service["ID"] for service in [*by_id, *by_name] if name in (service["ID"], service["Spec"]["Name"])]
        starting = sorted({service["ID"] for service in by_id if service["ID"].startswith(name)})
        if exact:
            ids.append(exact[0])
        elif len(starting) == 1:
            ids.append(starting[0])
        elif starting:
            unknown.append(f"multiple services found with provided prefix: {name}")
        else:
            unknown.append(f"no such service: {name}")
    return ids, unknown


@command("stack ps", "[OPTIONS] STACK", args=(1, 1), flags=_STACK_FLAGS)
def stack_ps(context: Context, options: Options) -> None:
    """The tasks of a stack."""
    from shoal.stack.names import check_stack_name, namespace_filter

    stack = check_stack_name(options.args[0])
    wanted = namespace_filter(stack, options.filters())
    tasks = context.client.get("/tasks", {"filters": filters(wanted)})
    if not tasks:
        fail(f"nothing found in stack: {stack}")
    print_tasks(context, options, tasks)


@command("node ps", "[OPTIONS] [NODE...]", args=(0, None), flags=_FLAGS)
def node_ps(context: Context, options: Options) -> None:
    """The tasks of nodes, of this one when none is named."""
    client = context.client
    tasks: list[Json] = []
    faults: list[str] = []
    for name in options.args or ["self"]:
        try:
            node = client.get(f"/nodes/{quote(node_reference(client, name))}")
            wanted = {**options.filters(), "node": [node["ID"]]}
            tasks += client.get("/tasks", {"filters": filters(wanted)})
        except DaemonError as fault:
            faults.append(text_of(fault))
    if len(faults) < len(options.args or ["self"]):
        print_tasks(context, options, tasks)
    if faults:
        raise CommandFault("\n".join(faults))


def print_tasks(context: Context, options: Options, tasks: list[Json]) -> None:
    """The listing of `tasks`."""
    names = Names(context.client, resolve=not options.flag("no-resolve"))
    full = options.flag("no-trunc")
    named = [(_name(task, names), task) for task in tasks]
    named.sort(key=lambda pair: pair[1]["CreatedAt"], reverse=True)
    named.sort(key=lambda pair: natural(pair[0]))
    if options.flag("quiet") and not options.changed("format"):
        context.out("".join(task["ID"] + "\n" for _, task in named), end="")
        return
    form = options.text("format")
    default_table = form in ("", "table")
    rows: list[Json] = []
    previous = ""
    for name, task in named:
        indented = f" \\_ {name}" if name == previous else name
        rows.append(_row(task, indented if form.startswith("table") or default_table else name, names, full))
        previous = name
    show(context, rows, _COLUMNS, shown=list(_COLUMNS), form=form, kind="task.taskContext")


def _name(task: Json, names: Names) -> str:
    """`web.1`; a global service's task has its node's id where others have a slot."""
    service = names.service(task.get("ServiceID", ""))
    return f"{service}.{task.get('Slot') or task.get('NodeID', '')}" if service else task.get("Name", "")


def _row(task: Json, name: str, names: Names, full: bool) -> Json:
    status = task.get("Status", {})
    image = task["Spec"].get("ContainerSpec", {}).get("Image", "")
    when = moment(status.get("Timestamp", ""))
    error = status.get("Err", "")
    if error:
        error = f'"{error if full else cut(error, 30)}"'.replace("\n", " ")
    return {
        "ID": task["ID"] if full else short(task["ID"]),
        "Name": name,
        "Image": image if full else image_name(image),
        "Node": names.node(task.get("NodeID", "")),
        "DesiredState": task.get("DesiredState", "").title(),
        "CurrentState": f"{status.get('State', '').title()} {since(when).lower() if when else ''}".rstrip(),
        "Error": error,
        "Ports": ",".join(
            f"*:{port.get('PublishedPort', 0)}->{port.get('TargetPort', 0)}/{port.get('Protocol', 'tcp')}"
            for port in (status.get("PortStatus") or {}).get("Ports") or []
        ),
    }
