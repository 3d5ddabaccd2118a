"""`node ls`."""

from __future__ import annotations

from shoal.api.client import filters
from shoal.cli.command import TABLE_FORMAT, Context, Options, command
from shoal.cli.printing import show
from shoal.cli.words import Json, natural

_COLUMNS = {
    "ID": "ID", "Self": "", "Hostname": "HOSTNAME", "Status": "STATUS", "Availability": "AVAILABILITY",
    "ManagerStatus": "MANAGER STATUS", "EngineVersion": "ENGINE VERSION", "TLSStatus": "TLS STATUS",
}  # fmt: skip
_TABLE = (
    "{{.ID}} {{if .Self}}*{{else}} {{end}}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t"
    "{{.EngineVersion}}"
)


@command(
    "node ls",
    "[OPTIONS]",
    flags=f"""
  -f, --filter filter   Filter output based on conditions provided
      --format string   {TABLE_FORMAT}
  -q, --quiet           Only display IDs
""",
)
def run(context: Context, options: Options) -> None:
    """The nodes by hostname, with a star at the one that was asked."""
    nodes = context.client.get("/nodes", {"filters": filters(options.filters())})
    if options.flag("quiet") and not options.changed("format"):
        context.out("".join(node["ID"] + "\n" for node in sorted(nodes, key=_hostname)), end="")
        return
    info = context.client.get("/info")["Swarm"]
    rows = [row(node, info) for node in sorted(nodes, key=_hostname)]
    if not options.text("format"):  # the usual table, without the template engine
        _quick(context, rows)
        return
    show(context, rows, _COLUMNS, shown=_TABLE, form=options.text("format"), kind="node.nodeContext")


def _quick(context: Context, rows: list[Json]) -> None:
    from shoal.ui.tables import aligned

    lines = ["ID  \tHOSTNAME\tSTATUS\tAVAILABILITY\tMANAGER STATUS\tENGINE VERSION"]
    for row in rows:
        star = f"{row['ID']} {'*' if row['Self'] else ' '}"
        rest = [row[name] for name in ("Hostname", "Status", "Availability", "ManagerStatus", "EngineVersion")]
        lines.append("\t".join([star, *rest]))
    context.out(aligned(lines), end="")


def _hostname(node: Json) -> list[tuple[int, int, str]]:
    return natural(node.get("Description", {}).get("Hostname", ""))


def row(node: Json, swarm: Json) -> Json:
    """A node's columns; `swarm` is /info's account of the daemon's own."""
    manager = node.get("ManagerStatus") or {}
    reachability = "Leader" if manager.get("Leader") else manager.get("Reachability", "").title()
    description = node.get("Description", {})
    return {
        "ID": node["ID"],
        "Self": node["ID"] == swarm.get("NodeID"),
        "Hostname": description.get("Hostname", ""),
        "Status": node.get("Status", {}).get("State", "").title(),
        "Availability": node["Spec"].get("Availability", "").title(),
        "ManagerStatus": reachability,
        "EngineVersion": description.get("Engine", {}).get("EngineVersion", ""),
        "TLSStatus": _tls_status(description.get("TLSInfo") or {}, swarm),
    }


def _tls_status(theirs: Json, swarm: Json) -> str:
    ours = (swarm.get("Cluster") or {}).get("TLSInfo") or {}
    if not theirs.get("TrustRoot") or not ours:
        return "Unknown"
    return "Ready" if theirs == ours else "Needs Rotation"
