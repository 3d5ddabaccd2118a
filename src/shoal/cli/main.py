"""`shoal`, and what it is when called as `docker` or `docker-machine`: global options, dispatch, failures."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from shoal import __version__
from shoal.api.client import AddressFault
from shoal.cli import tree, usage
from shoal.cli.command import DECLARED, Command, CommandFault, Context, RunFault, ShoalFault, ShowHelp, text_of
from shoal.cli.flags import Flag, FlagFault, Options, declare, parse

_VERSION = "28.2.2"
"""The docker command line whose grammar this is."""

_GLOBAL = """
      --config string      Location of client config files (default "{home}")
  -c, --context string     Name of the context to use to connect to the daemon (only "default" exists)
  -D, --debug              Enable debug mode
  -H, --host list          Daemon socket to connect to
  -l, --log-level string   Set the logging level ("debug", "info", "warn", "error", "fatal") (default "info")
      --tls                Use TLS; implied by --tlsverify
      --tlscacert string   Trust certs signed only by this CA (default "{home}/ca.pem")
      --tlscert string     Path to TLS certificate file (default "{home}/cert.pem")
      --tlskey string      Path to TLS key file (default "{home}/key.pem")
      --tlsverify          Use TLS and verify the remote
  -v, --version            Print version information and quit
"""


class _Usage(Exception):
    """Wrong use: the message, then the usage line of `path`, then a hint at --help."""

    def __init__(self, message: str, path: str, usage_line: str, code: int, verb: str = "Run") -> None:
        super().__init__(message)
        self.path, self.usage_line, self.code, self.verb = path, usage_line, code, verb


def main(arguments: list[str] | None = None, program: str = "") -> int:
    """Run one command line; the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    program = program or os.path.basename(sys.argv[0]).removesuffix(".exe").removesuffix(".py")
    if program == "docker-machine":
        return _machine(arguments, program)
    program = program if program == "docker" else "shoal"
    try:
        return _flushed(_main(program, arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # whoever read our output has gone; Python must not complain about it once more when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _flushed(code: int) -> int:
    sys.stdout.flush()
    return code


def _machine(arguments: list[str], program: str) -> int:
    machine = import_module("shoal.cli.machine")
    code: int = machine.main(arguments, program)
    return code


def _main(program: str, arguments: list[str]) -> int:
    path = ""
    try:
        flags = _global_flags()
        given = parse(flags, arguments, interspersed=False)
        rest = given.args
        if given.flag("version") or not rest or given.flag("help"):
            if given.flag("version"):
                as_docker = f"Docker version {_VERSION}, build shoal"
                sys.stdout.write((as_docker if program == "docker" else f"Shoal version {__version__}") + "\n")
            else:
                (sys.stdout if given.flag("help") else sys.stderr).write(usage.root_help(program, flags[:-1]))
            return 0
        if rest[0] == "machine":
            return _machine(rest[1:], f"{program} machine")
        if rest[0] == "help":
            rest = [*rest[1:], "--help"]
        path, rest = _resolve(program, rest)
        return _run(_context(program, given), path, rest)
    except FlagFault as fault:
        _complain(program, _Usage(str(fault), "", f"{program} [OPTIONS] COMMAND [ARG...]", 125))
        return 125
    except _Usage as fault:
        _complain(program, fault)
        return fault.code
    except RunFault as fault:
        if str(fault):
            hint = f"\n\nRun '{program} {path} --help' for more information" if fault.hint else ""
            _stderr(f"{program}: {fault}{hint}")
        return fault.code
    except CommandFault as fault:
        if str(fault):
            _stderr(str(fault))
        return fault.code
    except (ShoalFault, AddressFault, OSError) as fault:
        if isinstance(fault, BrokenPipeError):
            raise
        _stderr(text_of(fault))
        return 1


def _global_flags() -> list[Flag]:
    home = os.path.join(os.path.expanduser("~"), ".docker")
    return [*declare(_GLOBAL.format(home=home)), Flag("help", "h", "", "Print usage", "")]


def _context(program: str, given: Options) -> Context:
    hosts = given.many("host")
    if len(hosts) > 1:
        raise CommandFault("Specify only one -H")
    if given.text("context") not in ("", "default"):
        name = given.text("context")
        raise CommandFault(
            f'Failed to initialize: unable to resolve docker endpoint: context "{name}": context not found: '
            "only the default context exists"
        )
    files = {
        name: given.text(f"tls{flag}")
        for name, flag in (("ca", "cacert"), ("cert", "cert"), ("key", "key"))
        if given.changed(f"tls{flag}")
    }
    return Context(
        program,
        host=hosts[0] if hosts else "",
        tls=given.flag("tls"),
        verify=given.flag("tlsverify") if given.changed("tlsverify") else None,
        files=files,
        directory=given.text("config") if given.changed("config") else "",
    )


def _resolve(program: str, words: list[str]) -> tuple[str, list[str]]:
    """The command that the words begin with, as typed, and the words after it; of a group alone, its help."""
    first = words[0]
    if first not in tree.GROUPS:
        if tree.canonical(first) not in tree.COMMANDS:
            message = f"{program}: unknown command: {program} {first}\n\nRun '{program} --help' for more information"
            raise CommandFault(message)
        return first, words[1:]
    if len(words) == 1 or words[1] in ("--help", "-h", "help"):
        (sys.stderr if len(words) == 1 else sys.stdout).write(usage.group_help(program, first))
        raise CommandFault("", 0)
    path = f"{first} {words[1]}"
    if words[1].startswith("-"):
        kind = "flag: " if words[1].startswith("--") else f"shorthand flag: {words[1][1:2]!r} in "
        raise _Usage(f"unknown {kind}{words[1]}", first, f"{program} {first}", 125)
    if tree.canonical(path) not in tree.COMMANDS:
        raise _Usage(f"{program}: unknown command: {program} {path}", first, f"{program} {first}", 1)
    return path, words[2:]


def load(path: str) -> Command:
    """The declaration of the command `path`, importing its module. Raises KeyError."""
    name = tree.canonical(path)
    import_module(f"shoal.cli.{tree.COMMANDS[name].module}")
    return DECLARED[name]


def _run(context: Context, path: str, words: list[str]) -> int:
    command = load(path)
    flags = declare(command.flags)
    line = f"{context.program} {path} {command.arguments}".rstrip()
    taken = {flag.short for flag in flags}
    known = [*flags, Flag("help", "" if "h" in taken else "h", "", "Print usage", "")]
    try:
        options = parse(known, words, interspersed=command.interspersed)
    except FlagFault as fault:
        raise _Usage(str(fault), path, line, 125) from fault
    for notice in options.notices():
        context.out(notice)
    shown = sorted([*flags, known[-1]], key=lambda flag: flag.name) if "h" in taken else flags
    shown = [flag for flag in shown if not flag.hidden]
    if not options.flag("help"):
        _check_arguments(command, context.program, path, line, len(options.args))
        try:
            return command.run(context, options) or 0
        except ShowHelp:
            pass
    sys.stdout.write(usage.command_help(context.program, path, command.arguments, shown))
    return 0


def _check_arguments(command: Command, program: str, path: str, line: str, count: int) -> None:
    least, most = command.at_least, command.at_most
    if count >= least and (most is None or count <= most):
        return
    if most == 0:
        raise _Usage(f"{program}: '{program} {path}' accepts no arguments", path, line, 1)
    plural = "argument" if (most if most is not None and least != most else least) == 1 else "arguments"
    if least == most:
        raise _Usage(f"{program}: '{program} {path}' requires {least} {plural}", path, line, 1)
    if most is None:
        raise _Usage(f"{program}: '{program} {path}' requires at least {least} {plural}", path, line, 1, "See")
    if least == 0:
        raise _Usage(f"{program}: '{program} {path}' requires at most {most} {plural}", path, line, 1)
    raise _Usage(f"{program}: '{program} {path}' requires at least {least} and at most {most} {plural}", path, line, 1)


def _complain(program: str, fault: _Usage) -> None:
    path = f" {fault.path}" if fault.path else ""
    hint = f"{fault.verb} '{program}{path} --help' for more information"
    _stderr(f"{fault}\n\nUsage:  {fault.usage_line}\n\n{hint}")


def _stderr(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
