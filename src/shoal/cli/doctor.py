"""`doctor`: what this machine lacks, and what to do about it."""

from __future__ import annotations

import sys
from importlib import import_module

from shoal.cli.command import CommandFault, Context, Options, command


@command("doctor", "")
def run(context: Context, options: Options) -> int:
    """Run every check of the engine and print what it found; 1 when something necessary is missing."""
    if sys.platform != "linux":
        raise CommandFault("the daemon runs on Linux only: this machine can drive others, see `shoal machine --help`")
    try:
        doctor = import_module("shoal.engine.doctor")
    except ModuleNotFoundError as fault:
        raise CommandFault(f"this installation lacks a part of the daemon: {fault.name}") from fault
    findings = doctor.full()
    for finding in findings:
        context.out(str(finding))
    return 1 if any(finding.fatal and not finding.ok for finding in findings) else 0
