"""`system df`."""

from __future__ import annotations

from shoal.cli.command import TABLE_FORMAT, Context, Options, command
from shoal.cli.container_list import row as container_row
from shoal.cli.image_list import rows_of
from shoal.cli.printing import show
from shoal.cli.volume import row as volume_row
from shoal.cli.words import Json
from shoal.kit.units import human_size
from shoal.ui.tables import aligned

_COLUMNS = {
    "Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE",
}  # fmt: skip


@command(
    "system df",
    "[OPTIONS]",
    flags=f"""
      --format string   {TABLE_FORMAT}
  -v, --verbose         Show detailed information on space usage
""",
)
def run(context: Context, options: Options) -> None:
    """How much room images, containers and volumes take, and how much could be had back."""
    usage = context.client.get("/system/df")
    if options.flag("verbose") and not options.changed("format"):
        context.out(verbose(usage), end="")
        return
    rows = [_images(usage), _containers(usage), _volumes(usage), _cache(usage)]
    form = options.text("format")
    show(context, rows, _COLUMNS, shown=list(_COLUMNS), form=form, kind="formatter.diskUsageContext")


def _row(kind: str, count: int, active: int, size: int, free: int) -> Json:
    share = f" ({free * 100 // size}%)" if size and kind != "Build Cache" else ""
    return {
        "Type": kind,
        "TotalCount": str(count),
        "Active": str(active),
        "Size": human_size(size),
        "Reclaimable": f"{human_size(free)}{share}",
    }


def _images(usage: Json) -> Json:
    images = usage.get("Images") or []
    size = usage.get("LayersSize") or 0
    active = [image for image in images if (image.get("Containers") or 0) > 0]
    kept = sum(image.get("Size", 0) - max(image.get("SharedSize") or 0, 0) for image in active)
    return _row("Images", len(images), len(active), size, max(size - kept, 0))


def _containers(usage: Json) -> Json:
    containers = usage.get("Containers") or []
    alive = [item for item in containers if item.get("State") in ("running", "paused", "restarting")]
    size = sum(item.get("SizeRw") or 0 for item in containers)
    return _row("Containers", len(containers), len(alive), size, size - sum(item.get("SizeRw") or 0 for item in alive))


def _volumes(usage: Json) -> Json:
    volumes = usage.get("Volumes") or []
    data = [volume.get("UsageData") or {} for volume in volumes]
    size = sum(max(item.get("Size", 0), 0) for item in data)
    used = [item for item in data if item.get("RefCount", 0) > 0]
    return _row(
        "Local Volumes", len(volumes), len(used), size, size - sum(max(item.get("Size", 0), 0) for item in used)
    )


def _cache(usage: Json) -> Json:
    records = usage.get("BuildCache") or []
    size = sum(item.get("Size", 0) for item in records if not item.get("Shared"))
    used = [item for item in records if item.get("InUse")]
    return _row("Build Cache", len(records), len(used), size, size - sum(item.get("Size", 0) for item in used))


def verbose(usage: Json) -> str:
    """Every image, container and volume."""
    images = [
        [row["Repository"], row["Tag"], row["ID"], row["CreatedSince"], row["Size"], row["SharedSize"],
         row["UniqueSize"], str(max(image.get("Containers") or 0, 0))]
        for image in usage.get("Images") or []
        for row in rows_of(image, full=False, digests=False)
    ]  # fmt: skip
    containers = [
        [row["ID"], row["Image"], row["Command"], row["LocalVolumes"], row["Size"].partition(" (")[0],
         row["RunningFor"], row["Status"], row["Names"]]
        for row in (container_row(item, False) for item in usage.get("Containers") or [])
    ]  # fmt: skip
    volumes = [
        [row["Name"], row["Links"], row["Size"]] for row in (volume_row(item) for item in usage.get("Volumes") or [])
    ]
    return "\n".join([
        _section(
            "Images space usage:", "REPOSITORY TAG IMAGE_ID CREATED SIZE SHARED_SIZE UNIQUE_SIZE CONTAINERS", images
        ),
        _section(
            "Containers space usage:", "CONTAINER_ID IMAGE COMMAND LOCAL_VOLUMES SIZE CREATED STATUS NAMES", containers
        ),
        _section("Local Volumes space usage:", "VOLUME_NAME LINKS SIZE", volumes),
    ])  # fmt: skip


def _section(title: str, headings: str, rows: list[list[str]]) -> str:
    heading = "\t".join(word.replace("_", " ") for word in headings.split())
    table = aligned([heading, *("\t".join(row) for row in rows)])
    return f"{title}\n\n{table}"
