"""`ps`, `port` and `top`."""

from __future__ import annotations

import json
from datetime import datetime

from shoal.api.client import filters
from shoal.cli.command import TABLE_FORMAT, Context, Options, command, fail
from shoal.cli.container_common import path_of
from shoal.cli.container_ports import text_of as ports_text
from shoal.cli.printing import show
from shoal.cli.words import Json, cut, image_name, labels_text, natural, short, since_epoch
from shoal.kit.units import human_size

_COLUMNS = {
    "ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE", "Status": "STATUS", "Size": "SIZE",
    "Labels": "LABELS", "Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS",
    "Platform": "PLATFORM",
}  # fmt: skip


@command(
    "container ls",
    "[OPTIONS]",
    flags=f"""
  -a, --all             Show all containers (default shows just running)
  -f, --filter filter   Filter output based on conditions provided
      --format string   {TABLE_FORMAT}
  -n, --last int        Show n last created containers (includes all states) (default -1)
  -l, --latest          Show the latest created container (includes all states)
      --no-trunc        Don't truncate output
  -q, --quiet           Only display container IDs
  -s, --size            Display total file sizes
""",
)
def listing(context: Context, options: Options) -> None:
    """The engine's containers, newest first."""
    form = options.text("format") or context.config.default("psFormat")
    sized = options.flag("size") or ".Size" in form
    last = 1 if options.flag("latest") else options.number("last")
    query = {
        "all": options.flag("all"),
        "limit": last if last > 0 else None,
        "size": sized,
        "filters": filters(options.filters()),
    }
    found = context.client.get("/containers/json", query)
    full = options.flag("no-trunc")
    if options.flag("quiet") and not options.changed("format"):
        context.out("".join(short(item["Id"], full) + "\n" for item in found), end="")
        return
    shown = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names", *(["Size"] if sized else [])]
    rows = [row(item, full) for item in found]
    show(context, rows, _COLUMNS, shown=shown, form=form, kind="formatter.ContainerContext")


def row(item: Json, full: bool) -> Json:
    """A container's columns."""
    labels = item.get("Labels") or {}
    line = item.get("Command", "")
    created = datetime.fromtimestamp(item["Created"]).astimezone()
    return {
        "ID": short(item["Id"], full),
        "Names": _names(item.get("Names") or [], full),
        "Image": _image(item, full),
        "Command": json.dumps(line if full else cut(line, 20), ensure_ascii=False),
        "CreatedAt": f"{created:%Y-%m-%d %H:%M:%S %z} {created.tzname()}",
        "RunningFor": since_epoch(item["Created"]),
        "Ports": ports_text(item.get("Ports") or []),
        "State": item.get("State", ""),
        "Status": item.get("Status", ""),
        "Size": _size(item),
        "Labels": labels_text(labels),
        "Mounts": ",".join(_mount(mount, full) for mount in item.get("Mounts") or []),
        "LocalVolumes": str(sum(1 for mount in item.get("Mounts") or [] if mount.get("Driver") == "local")),
        "Networks": ",".join(sorted((item.get("NetworkSettings") or {}).get("Networks") or {})),
        "Platform": (item.get("ImageManifestDescriptor") or {}).get("platform"),
        "Label": lambda name: labels.get(name, ""),
    }


def _names(names: list[str], full: bool) -> str:
    """Names without their slash; those that links made only when nothing is cut."""
    plain = [name.removeprefix("/") for name in names]
    return ",".join(plain if full else [name for name in plain if "/" not in name])


def _image(item: Json, full: bool) -> str:
    image = item.get("Image", "")
    if not image:
        return "<no image>"
    if full:
        return str(image)
    return short(image) if short(item.get("ImageID", "")) == short(image) else image_name(image)


def _size(item: Json) -> str:
    text = human_size(item.get("SizeRw") or 0)
    return f"{text} (virtual {human_size(item['SizeRootFs'])})" if item.get("SizeRootFs") else text


def _mount(mount: Json, full: bool) -> str:
    name = mount.get("Name") or mount.get("Source", "")
    return name if full else cut(name, 15)


@command("container port", "CONTAINER [PRIVATE_PORT[/PROTO]]", args=(1, 2))
def port(context: Context, options: Options) -> None:
    """What is published, or where one port is."""
    name = options.args[0]
    ports = context.client.get(f"{path_of(name)}/json")["NetworkSettings"].get("Ports") or {}
    if len(options.args) == 1:
        lines = [f"{key} -> {_bound(binding)}" for key, found in ports.items() for binding in found or []]
        context.out("".join(f"{line}\n" for line in sorted(lines, key=natural)), end="")
        return
    wanted = options.args[1]
    number, _, protocol = wanted.partition("/")
    if not number.isdigit():
        fail(f'Error: invalid port ({number}): strconv.ParseUint: parsing "{number}": invalid syntax')
    found = ports.get(f"{number}/{protocol or 'tcp'}")
    if not found:
        fail(
            f"No public port '{wanted}' published for {name}"
            if protocol
            else f"No public port '{wanted}/tcp' published for {name}"
        )
    context.out("".join(f"{_bound(binding)}\n" for binding in found), end="")


def _bound(binding: Json) -> str:
    address = binding.get("HostIp", "")
    return f"{f'[{address}]' if ':' in address else address}:{binding.get('HostPort', '')}"


@command("container top", "CONTAINER [ps OPTIONS]", args=(1, None), interspersed=False)
def top(context: Context, options: Options) -> None:
    """The processes of a container."""
    from shoal.ui.tables import aligned

    arguments = " ".join(options.args[1:]) or None
    found = context.client.get(f"{path_of(options.args[0])}/top", {"ps_args": arguments})
    lines = ["\t".join(cells) for cells in [found["Titles"], *found["Processes"]]]
    context.out(aligned(lines, width=20), end="")
