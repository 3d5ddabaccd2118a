"""`volume create`, `ls` and `rm`."""

from __future__ import annotations

from shoal.api.client import filters, quote
from shoal.cli.command import TABLE_FORMAT, Context, Options, command, fail
from shoal.cli.printing import show
from shoal.cli.words import Json, labels_text, natural, pairs
from shoal.kit.units import human_size


@command(
    "volume create",
    "[OPTIONS] [VOLUME]",
    args=(0, 1),
    flags="""
  -d, --driver string   Specify volume driver name (default "local")
      --label list      Set metadata for a volume
  -o, --opt map         Set driver specific options (default map[])
      --name string     Specify volume name
""",
)
def create(context: Context, options: Options) -> None:
    """Create a volume and print its name."""
    if options.args and options.changed("name"):
        fail("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
    request = {
        "Name": options.args[0] if options.args else options.text("name"),
        "Driver": options.text("driver"),
        "DriverOpts": pairs(options.many("opt")),
        "Labels": pairs(options.many("label")),
    }
    context.out(context.client.post("/volumes/create", body=request)["Name"])


_COLUMNS = {
    "Name": "VOLUME NAME", "Driver": "DRIVER", "Scope": "SCOPE", "Availability": "AVAILABILITY", "Mountpoint":
    "MOUNTPOINT", "Labels": "LABELS", "Links": "LINKS", "Size": "SIZE", "Group": "GROUP", "Status": "STATUS",
}  # fmt: skip


@command(
    "volume ls",
    "[OPTIONS]",
    flags=f"""
  -f, --filter filter   Provide filter values (e.g. "dangling=true")
      --format string   {TABLE_FORMAT}
  -q, --quiet           Only display volume names
""",
)
def listing(context: Context, options: Options) -> None:
    """Volumes by name."""
    found = context.client.get("/volumes", {"filters": filters(options.filters())}).get("Volumes") or []
    found.sort(key=lambda volume: natural(volume["Name"]))
    if options.flag("quiet") and not options.changed("format"):
        context.out("".join(volume["Name"] + "\n" for volume in found), end="")
        return
    form = options.text("format") or context.config.default("volumesFormat")
    rows = [row(volume) for volume in found]
    show(context, rows, _COLUMNS, shown=["Driver", "Name"], form=form, kind="formatter.volumeContext")


def row(volume: Json) -> Json:
    """A volume's columns."""
    usage, labels = volume.get("UsageData"), volume.get("Labels") or {}
    return {
        "Name": volume["Name"],
        "Driver": volume.get("Driver", ""),
        "Scope": volume.get("Scope", ""),
        "Availability": "N/A",
        "Mountpoint": volume.get("Mountpoint", ""),
        "Labels": labels_text(labels),
        "Links": str(usage["RefCount"]) if usage else "N/A",
        "Size": human_size(usage["Size"]) if usage else "N/A",
        "Group": "N/A",
        "Status": "N/A",
        "Label": lambda name: labels.get(name, ""),
    }


@command(
    "volume rm",
    "[OPTIONS] VOLUME [VOLUME...]",
    args=(1, None),
    flags="""
  -f, --force   Force the removal of one or more volumes
""",
)
def remove(context: Context, options: Options) -> int:
    """Remove volumes that no container uses."""
    query = {"force": options.flag("force")}
    return context.each(options.args, lambda name: context.client.delete(f"/volumes/{quote(name)}", query))
