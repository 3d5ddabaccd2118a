"""`update` of a container's limits."""

from __future__ import annotations

from shoal.cli.command import CommandFault, Context, Options, command
from shoal.cli.container_common import path_of
from shoal.cli.container_spec import resources, restart_policy


@command(
    "container update",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    args=(1, None),
    flags="""
      --blkio-weight uint16        Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
      --cpu-period int             Limit CPU CFS (Completely Fair Scheduler) period
      --cpu-quota int              Limit CPU CFS (Completely Fair Scheduler) quota
  -c, --cpu-shares int             CPU shares (relative weight)
      --cpus decimal               Number of CPUs
      --cpuset-cpus string         CPUs in which to allow execution (0-3, 0,1)
      --cpuset-mems string         MEMs in which to allow execution (0-3, 0,1)
  -m, --memory bytes               Memory limit
      --memory-reservation bytes   Memory soft limit
      --memory-swap bytes          Swap limit equal to memory plus swap: -1 to enable unlimited swap
      --pids-limit int             Tune container pids limit (set -1 for unlimited)
      --restart string             Restart policy to apply when a container exits
""",
)
def run(context: Context, options: Options) -> int:
    """New limits, also while it runs."""
    if not options.given():
        raise CommandFault("you must provide one or more flags when using this command")
    try:
        request = resources(options)
        if options.changed("restart"):
            request["RestartPolicy"] = restart_policy(options.text("restart"))
    except ValueError as fault:
        raise CommandFault(str(fault)) from fault

    def change(name: str) -> None:
        answer = context.client.post(f"{path_of(name)}/update", body=request) or {}
        context.warnings(answer.get("Warnings"))

    return context.each(options.args, change)
