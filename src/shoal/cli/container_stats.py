"""`stats`."""

from __future__ import annotations

import sys
import threading
from typing import Any

from shoal.api.client import ConnectionFault
from shoal.cli.command import TABLE_FORMAT, CommandFault, Context, DaemonError, Options, command, text_of
from shoal.cli.container_common import path_of
from shoal.cli.printing import show
from shoal.cli.words import Json, short
from shoal.kit.units import binary_size, human_size

_COLUMNS = {
    "Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
_SHOWN = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"]


@command(
    "container stats",
    "[OPTIONS] [CONTAINER...]",
    args=(0, None),
    flags=f"""
  -a, --all             Show all containers (default shows just running)
      --format string   {TABLE_FORMAT}
      --no-stream       Disable streaming stats and only pull the first result
      --no-trunc        Do not truncate output
""",
)
def run(context: Context, options: Options) -> None:
    """What containers use, once, or again every half second until ^C."""
    watch = _Watch(context, options.args, every=options.flag("all"))
    once = options.flag("no-stream")
    watch.start(stream=not once)
    while True:
        watch.wait(1.0 if not once else 10.0)
        if not once and not options.changed("format") and sys.stdout.isatty():
            context.out("\x1b[2J\x1b[H", end="")
        rows = watch.rows(full=options.flag("no-trunc"))
        if watch.faults and not rows:
            raise CommandFault("\n".join(watch.faults))
        show(context, rows, _COLUMNS, shown=_SHOWN, form=options.text("format"), kind="container.statsContext")
        sys.stdout.flush()
        if once or watch.finished:
            if watch.faults:
                raise CommandFault("\n".join(watch.faults))
            return


class _Watch:
    """The newest sample of each container; a thread per container reads its stream."""

    def __init__(self, context: Context, names: list[str], *, every: bool) -> None:
        self._context = context
        self._names = names or [item["Id"] for item in context.client.get("/containers/json", {"all": every})]
        self._samples: dict[str, Json] = {}
        self._threads: list[threading.Thread] = []
        self.faults: list[str] = []

    def start(self, *, stream: bool) -> None:
        """Begin to read."""
        for name in self._names:
            thread = threading.Thread(target=self._read, args=(name, stream), daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def finished(self) -> bool:
        """Nothing more will come."""
        return not any(thread.is_alive() for thread in self._threads)

    def wait(self, seconds: float) -> None:
        """Until every stream has ended, `seconds` at most."""
        share = seconds / max(len(self._threads), 1)
        if not self._threads and seconds:
            return
        for thread in self._threads:
            thread.join(share)

    def rows(self, *, full: bool) -> list[Json]:
        """A line for each container that answered, in order."""
        return [row(name, self._samples[name], full=full) for name in self._names if name in self._samples]

    def _read(self, name: str, stream: bool) -> None:
        try:
            client = self._context.another_client()
            for sample in client.objects("GET", f"{path_of(name)}/stats", {"stream": "1" if stream else "0"}):
                self._samples[name] = sample
        except (DaemonError, ConnectionFault) as fault:
            self.faults.append(text_of(fault))


def row(name: str, sample: Json, *, full: bool) -> Json:
    """A container's columns."""
    memory = sample.get("memory_stats") or {}
    used, limit = _memory(memory), memory.get("limit", 0)
    networks = (sample.get("networks") or {}).values()
    received = sum(item.get("rx_bytes", 0) for item in networks)
    sent = sum(item.get("tx_bytes", 0) for item in networks)
    read, written = _blocks(sample.get("blkio_stats") or {})
    return {
        "Container": name,
        "ID": short(sample.get("id", name), full),
        "Name": sample.get("name", "").removeprefix("/") or "--",
        "CPUPerc": f"{_cpu(sample):.2f}%",
        "MemUsage": f"{binary_size(used)} / {binary_size(limit)}",
        "MemPerc": f"{used / limit * 100 if limit else 0:.2f}%",
        "NetIO": f"{human_size(received)} / {human_size(sent)}",
        "BlockIO": f"{human_size(read)} / {human_size(written)}",
        "PIDs": str((sample.get("pids_stats") or {}).get("current", 0)),
    }


def _memory(memory: Json) -> int:
    """Without what the kernel would give back at once: the page cache that nobody uses."""
    stats = memory.get("stats") or {}
    used = int(memory.get("usage", 0))
    cache = stats.get("total_inactive_file", stats.get("inactive_file", 0))
    return used - cache if cache < used else used


def _cpu(sample: Json) -> float:
    """Percent of one CPU, over the time since the sample before."""
    now, before = sample.get("cpu_stats") or {}, sample.get("precpu_stats") or {}

    def difference(*path: str) -> float:
        values: list[Any] = [now, before]
        for key in path:
            values = [(value or {}).get(key, 0) for value in values]
        return float(values[0] or 0) - float(values[1] or 0)

    container, system = difference("cpu_usage", "total_usage"), difference("system_cpu_usage")
    cpus = now.get("online_cpus") or len((now.get("cpu_usage") or {}).get("percpu_usage") or []) or 1
    return container / system * cpus * 100 if container > 0 and system > 0 else 0.0


def _blocks(blocks: Json) -> tuple[int, int]:
    read = written = 0
    for item in blocks.get("io_service_bytes_recursive") or []:
        operation = item.get("op", "").lower()
        read += item.get("value", 0) if operation == "read" else 0
        written += item.get("value", 0) if operation == "write" else 0
    return read, written
