"""`python -m bench`: every figure of the README, Shoal beside dockerd where dockerd can do it."""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import cluster, machines
from bench.daemons import CLI, Daemon, dockerd, memory, running, shoald

EXAMPLES = Path(__file__).parent.parent / "examples"
HTTPD = 'CMD ["httpd","-f","-p","80","-h","/www"]'

Row = tuple[str, float | str, float | str, str]
"""What is measured, Shoal's figure, dockerd's, the unit."""


def median(measure: Callable[[], float], times: int) -> float:
    """The middle one of several measurements."""
    return statistics.median(measure() for _ in range(times))


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def load_image(daemon: Daemon) -> None:
    """The demo's app, imported as `app`."""
    tar = daemon.folder / "app.tar"
    with tar.open("wb") as file:
        subprocess.run([EXAMPLES / "friendlyhello" / "build"], stdout=file, check=True)
    daemon.docker("import", "-c", HTTPD, str(tar), "app:1")


def service(daemon: Daemon, replicas: int, *options: str) -> float:
    """Seconds from `service create` until so many tasks run."""
    start = time.perf_counter()
    daemon.docker(
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name",
        "bench",
        "--replicas",
        str(replicas),
        *options,
        "app:1",
    )
    listing = ("service", "ls", "--filter", "name=bench", "--format", "{{.Replicas}}")
    while not daemon.docker(*listing).startswith(f"{replicas}/{replicas}"):
        if time.perf_counter() - start > 300:
            raise RuntimeError(f"{daemon.name}: only {daemon.docker(*listing).strip()} after 300 s")
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    daemon.docker("service", "rm", "bench")
    while daemon.docker("ps", "-q"):
        time.sleep(0.1)
    return seconds


def figures_of(daemon: Daemon) -> dict[str, float]:
    """What one daemon alone can show."""
    load_image(daemon)
    found = {"worker MB": memory(daemon)}
    daemon.docker("run", "--rm", "app:1", "true")
    found["run"] = median(lambda: timed(lambda: daemon.docker("run", "--rm", "app:1", "true")), 9)
    daemon.docker("swarm", "init", "--advertise-addr", "10.99.0.1")
    time.sleep(3)
    found["manager MB"] = memory(daemon)
    daemon.docker("network", "create", "-d", "overlay", "net1")
    service(daemon, 1, "--network", "net1")
    found["service of 5"] = median(lambda: service(daemon, 5, "--network", "net1", "-p", "8080:80"), 3)
    found["service of 100"] = service(daemon, 100, "--network", "net1", "-p", "8080:80")
    own = str(Path(sys.executable).parent / "shoal") if daemon.name == "shoal" else CLI
    socket = f"unix://{daemon.folder}/docker.sock"
    listing = [own, "-H", socket, "node", "ls"]
    run = functools.partial(subprocess.run, listing, check=True, stdout=subprocess.DEVNULL)
    found["node ls"] = median(lambda: timed(run), 15)
    return found


def table(rows: list[Row]) -> None:
    """Print the figures as a Markdown table."""
    print("| | shoal | dockerd | ratio |\n|---|---|---|---|")
    for name, ours, theirs, unit in rows:
        ratio = f"{ours / theirs:.2f}" if isinstance(ours, float) and isinstance(theirs, float) and theirs else ""
        shown = [f"{value:.3g} {unit}" if isinstance(value, float) else value for value in (ours, theirs)]
        print(f"| {name} | {shown[0]} | {shown[1]} | {ratio} |", flush=True)


def main() -> None:
    """Measure, print."""
    if os.geteuid() != 0:
        sys.exit("The benchmark starts daemons and must be root: sudo make bench")
    with running("shoal", shoald()) as daemon:
        ours = figures_of(daemon)
    rival = dockerd()
    if rival is None:
        print("dockerd is not installed (Debian package docker.io): its column is empty.")
        theirs: dict[str, float] = {}
    else:
        with running("dockerd", rival) as daemon:
            theirs = figures_of(daemon)
    names = {
        "run": ("`run --rm` of `true`, image present", 1000, "ms"),
        "service of 5": ("service of 5, overlay network and published port, all running", 1, "s"),
        "service of 100": ("service of 100 on one node, the same way, all running", 1, "s"),
        "node ls": ("`node ls`, whole command (docker's is Go)", 1000, "ms"),
        "worker MB": ("daemon idle, no swarm", 1, "MB"),
        "manager MB": ("daemon idle, as a manager (with etcd)", 1, "MB"),
    }
    rows: list[Row] = [
        (text, ours[key] * factor, theirs[key] * factor if key in theirs else "", unit)
        for key, (text, factor, unit) in names.items()
    ]
    table(rows + cluster.figures() + machines.figures())


if __name__ == "__main__":
    main()
