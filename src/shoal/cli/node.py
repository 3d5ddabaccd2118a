"""`node update`, `promote`, `demote` and `rm`."""

from __future__ import annotations

from collections.abc import Callable

from shoal.api.client import Client, quote
from shoal.cli.command import Context, Options, command, fail
from shoal.cli.swarm_info import node_reference
from shoal.cli.words import Json, pairs


def _change(client: Client, name: str, change: Callable[[Json], bool]) -> str:
    """Read a node's spec, change it, write it; when `change` says that there is nothing to do, the node's id."""
    node = client.get(f"/nodes/{quote(node_reference(client, name))}")
    spec = node["Spec"]
    if not change(spec):
        return str(node["ID"])
    client.post(f"/nodes/{node['ID']}/update", {"version": node["Version"]["Index"]}, body=spec)
    return ""


@command(
    "node update",
    "[OPTIONS] NODE",
    args=(1, 1),
    flags="""
      --availability string   Availability of the node ("active", "pause", "drain")
      --label-add list        Add or update a node label ("key=value")
      --label-rm list         Remove a node label if exists
      --role string           Role of the node ("worker", "manager")
""",
)
def update(context: Context, options: Options) -> None:
    """Set role, availability and labels; prints the name as given."""

    def change(spec: Json) -> bool:
        for name in ("role", "availability"):
            if options.changed(name):
                spec[name.title()] = options.text(name).lower()
        labels = spec.get("Labels") or {}
        for key in options.many("label-rm"):
            if key not in labels:
                fail(f"key {key} doesn't exist in node's labels")
            del labels[key]
        spec["Labels"] = {**labels, **pairs(options.many("label-add"))}
        return True

    _change(context.client, options.args[0], change)
    context.out(options.args[0])


def _role(context: Context, names: list[str], role: str, done: str, already: str) -> None:
    def change(spec: Json) -> bool:
        if spec.get("Role") == role:
            return False
        spec["Role"] = role
        return True

    for name in names:
        unchanged = _change(context.client, name, change)
        context.out(already.format(unchanged) if unchanged else done.format(name))


@command("node promote", "NODE [NODE...]", args=(1, None))
def promote(context: Context, options: Options) -> None:
    """Make them managers."""
    done = "Node {} promoted to a manager in the swarm."
    _role(context, options.args, "manager", done, "Node {} is already a manager.")


@command("node demote", "NODE [NODE...]", args=(1, None))
def demote(context: Context, options: Options) -> None:
    """Make them workers."""
    _role(context, options.args, "worker", "Manager {} demoted in the swarm.", "Node {} is already a worker.")


@command(
    "node rm",
    "[OPTIONS] NODE [NODE...]",
    args=(1, None),
    flags="""
  -f, --force   Force remove a node from the swarm
""",
)
def remove(context: Context, options: Options) -> int:
    """Forget nodes."""
    query = {"force": options.flag("force")}
    return context.each(options.args, lambda name: context.client.delete(f"/nodes/{quote(name)}", query))
