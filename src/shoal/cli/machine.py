"""`shoal machine`, also called as `docker-machine`: docker-machine's grammar. Global options, dispatch, failures.

The commands are in `machine_lifecycle` (create, start, stop, ...), `machine_show` (ls, ip, env, ...) and `machine_ssh`
(ssh, scp); what they share is in `machine_command`.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from shoal.cli import usage
from shoal.cli.flags import Flag, FlagFault, declare, parse
from shoal.cli.machine_command import HelpShown, Session, UsageFault, double_dashed
from shoal.machine.errors import MachineError

VERSION = "0.16.2"
"""The docker-machine whose grammar this is."""

_GLOBAL = """
  -D, --debug                      Enable debug mode
  -s, --storage-path string        Where machines and certificates lie [$MACHINE_STORAGE_PATH]
      --tls-ca-cert string         CA to verify machines with [$MACHINE_TLS_CA_CERT]
      --tls-ca-key string          Private key of that CA, to make certificates [$MACHINE_TLS_CA_KEY]
      --tls-client-cert string     Client certificate [$MACHINE_TLS_CLIENT_CERT]
      --tls-client-key string      Private key of the client certificate [$MACHINE_TLS_CLIENT_KEY]
      --github-api-token string    Accepted for docker-machine's sake, without effect
      --native-ssh                 Accepted for docker-machine's sake: the system's ssh is used
      --bugsnag-api-token string   Accepted for docker-machine's sake: nothing is reported to anybody
  -h, --help                       Show help
  -v, --version                    Print the version
"""

COMMANDS = {
    "active": ("show", "Print which machine is active"),
    "config": ("show", "Print the connection config for machine"),
    "create": ("lifecycle", "Create a machine"),
    "env": ("show", "Display the commands to set up the environment for the Docker client"),
    "inspect": ("show", "Inspect information about a machine"),
    "ip": ("show", "Get the IP address of a machine"),
    "kill": ("lifecycle", "Kill a machine"),
    "ls": ("show", "List machines"),
    "restart": ("lifecycle", "Restart a machine"),
    "rm": ("lifecycle", "Remove a machine"),
    "ssh": ("ssh", "Log into or run a command on a machine with SSH."),
    "scp": ("ssh", "Copy files between machines"),
    "start": ("lifecycle", "Start a machine"),
    "status": ("show", "Get the status of a machine"),
    "stop": ("lifecycle", "Stop a machine"),
    "url": ("show", "Get the URL of a machine"),
    "version": ("show", "Show the Docker Machine version or a machine docker version"),
    "help": ("", "Shows a list of commands or help for one command"),
}
_CERTIFICATES = {"ca": "tls-ca-cert", "ca-key": "tls-ca-key", "cert": "tls-client-cert", "key": "tls-client-key"}


def main(arguments: list[str], program: str) -> int:
    """Run one command line of `program` (`shoal machine` or `docker-machine`); the exit status."""
    try:
        code = _main(arguments, program)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except HelpShown:
        return 0
    except MachineError as fault:
        return _complain(str(fault), fault.exit_status)
    except OSError as fault:
        where = f"{fault.filename}: " if fault.filename else ""
        return _complain(f"{where}{fault.strerror or fault}", 1)
    except UsageFault as fault:
        return _complain(f"{fault}\n\nSee '{fault.command} --help'.", 2)
    except KeyboardInterrupt:
        return 130
    return code


def _main(arguments: list[str], program: str) -> int:
    flags = declare(_GLOBAL)
    try:
        given = parse(flags, double_dashed(arguments, flags, stop=True), interspersed=False)
    except FlagFault as fault:
        raise UsageFault(str(fault), program) from fault
    if given.flag("version"):
        sys.stdout.write(version_line(program))
        return 0
    words = given.args
    if words and words[0] in ("help", "h") and len(words) > 1:
        words = [words[1], "--help"]
    if not words or words[0] in ("help", "h") or given.flag("help"):
        sys.stdout.write(_help(program, flags))
        return 0
    if words[0] not in COMMANDS:
        raise MachineError(f"{program}: '{words[0]}' is not a {program} command. See '{program} --help'.")
    certificates = {key: given.text(name) for key, name in _CERTIFICATES.items() if given.text(name)}
    if given.flag("debug") or os.environ.get("MACHINE_DEBUG", "").lower() in ("1", "t", "true"):
        # Where a failure came from, before the sentence that says what it was.
        os.environ["MACHINE_DEBUG"] = "1"
    session = Session(program, words[0], given.text("storage-path"), certificates)
    module = import_module(f"shoal.cli.machine_{COMMANDS[words[0]][0]}")
    code: int = module.RUN[words[0]](session, words[1:])
    return code


def version_line(program: str) -> str:
    """What `version` and `--version` print."""
    import shoal

    return f"{program} version {VERSION}, build shoal {getattr(shoal, '__version__', '')}".rstrip() + "\n"


def _help(program: str, flags: list[Flag]) -> str:
    rows = "".join(f"  {name:<10} {text}\n" for name, (_, text) in COMMANDS.items())
    return (
        f"Usage: {program} [OPTIONS] COMMAND [arg...]\n\nCreate and manage machines running Docker.\n\nOptions:\n"
        + usage.options(flags, usage.width())
        + f"\nCommands:\n{rows}\nRun '{program} COMMAND --help' for more information on a command.\n"
    )


def _complain(text: str, code: int) -> int:
    sys.stdout.flush()
    if os.environ.get("MACHINE_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    sys.stderr.write(text + "\n")
    return code
