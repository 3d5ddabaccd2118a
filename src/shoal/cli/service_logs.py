"""`service logs`."""

from __future__ import annotations

import sys
from urllib.parse import unquote

from shoal.api.client import quote
from shoal.cli.command import CommandFault, Context, DaemonError, Options, command
from shoal.cli.swarm_info import Names
from shoal.cli.words import Json, when_query

_NODE, _SERVICE, _TASK = (f"com.docker.swarm.{kind}.id" for kind in ("node", "service", "task"))


@command(
    "service logs",
    "[OPTIONS] SERVICE|TASK",
    args=(1, 1),
    flags="""
      --details        Show extra details provided to logs
  -f, --follow         Follow log output
      --no-resolve     Do not map IDs to Names in output
      --no-task-ids    Do not include task IDs in output
      --no-trunc       Do not truncate output
      --raw            Do not neatly format logs
      --since string   Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
  -n, --tail string    Number of lines to show from the end of the logs (default "all")
  -t, --timestamps     Show timestamps
""",
)
def run(context: Context, options: Options) -> None:
    """What the tasks of a service, or one task, wrote; before each line who wrote it."""
    path, width, tty = _target(context, options.args[0])
    raw = options.flag("raw")
    if tty and not raw:
        raise CommandFault("tty service logs only supported with --raw")
    try:
        since = when_query(options.text("since"))
    except ValueError as fault:
        raise CommandFault(f"invalid value for {fault}") from fault
    query = {
        "stdout": True,
        "stderr": True,
        "since": since,
        "timestamps": options.flag("timestamps"),
        "follow": options.flag("follow"),
        "tail": options.text("tail"),
        "details": options.flag("details") or not raw,
    }
    painter = _Painter(context, options, width)
    for stream, payload in context.client.frames(f"{path}/logs", query):
        if stream == 3:
            raise CommandFault(payload.decode(errors="replace"))
        out = sys.stderr.buffer if stream == 2 else sys.stdout.buffer
        out.write(payload if raw else painter.line(payload))
        out.flush()


def _target(context: Context, name: str) -> tuple[str, int, bool]:
    """The path of a service or a task, the width of its slot numbers, whether it has a TTY."""
    client = context.client
    try:
        service = client.get(f"/services/{quote(name)}")
    except DaemonError as fault:
        if fault.status != 404:
            raise
        return _task(context, name)
    mode, template = service["Spec"].get("Mode") or {}, service["Spec"]["TaskTemplate"]
    replicas = (mode.get("Replicated") or {}).get("Replicas") or 1
    width = len(str(replicas)) if mode.get("Replicated") is not None else 0
    return f"/services/{service['ID']}", width, bool((template.get("ContainerSpec") or {}).get("TTY"))


def _task(context: Context, name: str) -> tuple[str, int, bool]:
    try:
        task = context.client.get(f"/tasks/{quote(name)}")
    except DaemonError as fault:
        if fault.status != 404:
            raise
        raise CommandFault(f"no such task or service: {name}") from fault
    tty = bool((task["Spec"].get("ContainerSpec") or {}).get("TTY"))
    return f"/tasks/{task['ID']}", len(str(task.get("Slot", 0))), tty


class _Painter:
    """Puts `web.1.<task>@node    | ` before lines; names are asked for once."""

    def __init__(self, context: Context, options: Options, width: int) -> None:
        self._lookup = context.another_client()  # the other connection is busy with the stream
        self._names = Names(self._lookup, resolve=not options.flag("no-resolve"))
        self._options = options
        self._width = width
        self._known: dict[str, str] = {}
        self._tasks: dict[str, Json] = {}

    def line(self, payload: bytes) -> bytes:
        """A line as it is shown. Raises CommandFault for one without the swarm's details."""
        parts = 3 if self._options.flag("timestamps") else 2
        fields = payload.split(b" ", parts - 1)
        if len(fields) < parts:
            raise CommandFault("Invalid context in log message: " + payload.decode(errors="replace"))
        details = _details(fields[-2].decode(errors="replace"))
        head = self._head(details)
        if self._options.flag("timestamps"):
            head = f"{fields[0].decode()} {head}"
        if self._options.flag("details"):
            rest = ",".join(f"{k}={v}" for k, v in details.items() if k not in (_NODE, _SERVICE, _TASK))
            head = f"{head}{rest} " if rest else head
        return head.encode() + fields[-1]

    def _head(self, details: dict[str, str]) -> str:
        task_id, node_id = details.get(_TASK, ""), details.get(_NODE, "")
        if not task_id or not node_id:
            raise CommandFault("missing context in log message: " + ", ".join(details))
        key = f"{task_id}@{node_id}"
        if key not in self._known:
            self._known[key] = self._written(task_id, node_id)
        return self._known[key]

    def _written(self, task_id: str, node_id: str) -> str:
        task = self._task(task_id)
        slot = task.get("Slot") or 0
        service = self._names.service(task.get("ServiceID", ""))
        name = f"{service}.{slot}" if slot else f"{service}.{task.get('NodeID', node_id)}"
        shown = task_id if self._options.flag("no-trunc") else task_id[:12]
        if not self._options.flag("no-task-ids"):
            name = f"{name}.{shown}"
        padding = " " * max(self._width - len(str(slot)), 0) if slot else ""
        return f"{name}@{self._names.node(node_id)}{padding}    | "

    def _task(self, task_id: str) -> Json:
        if task_id not in self._tasks:
            try:
                self._tasks[task_id] = self._lookup.get(f"/tasks/{task_id}")
            except DaemonError:
                self._tasks[task_id] = {"ID": task_id}
        return self._tasks[task_id]


def _details(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(","))
    return {unquote(key): unquote(value) for key, _, value in pairs}
