"""`shoal machine`, also called as `docker-machine`: docker-machine's grammar. Global options, dispatch, failures.

The commands are in `machine_create`, `machine_lifecycle` (start, stop, rm), `machine_provision` (provision, upgrade,
regenerate-certs), `machine_show` (ls, ip, inspect), `machine_env` (env, config), `machine_ssh` (ssh, scp, mount),
`machine_transfer` (export, import), `machine_completion` and `machine_image`. What they share is in `machine_command`;
`machine_several` does things to several machines at once.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from shoal.cli import usage
from shoal.cli.flags import Flag, FlagFault, check, declare, parse
from shoal.cli.machine_command import HelpShown, Session, UsageFault, double_dashed, trace
from shoal.machine.errors import MachineError, text_of
from shoal.machine.interrupts import Terminated, interruptible

VERSION = "0.16.2"
"""The docker-machine whose grammar this is."""

_GLOBAL = """
  -D, --debug                      Enable debug mode [$MACHINE_DEBUG]
  -s, --storage-path string        Where machines and certificates lie [$MACHINE_STORAGE_PATH]
      --tls-ca-cert string         CA to verify machines with [$MACHINE_TLS_CA_CERT]
      --tls-ca-key string          Private key of that CA, to make certificates [$MACHINE_TLS_CA_KEY]
      --tls-client-cert string     Client certificate [$MACHINE_TLS_CLIENT_CERT]
      --tls-client-key string      Private key of the client certificate [$MACHINE_TLS_CLIENT_KEY]
      --github-api-token string    Accepted for docker-machine's sake: nothing is downloaded from there
                                   [$MACHINE_GITHUB_API_TOKEN]
      --native-ssh                 Use the SSH of asyncssh instead of the system's [$MACHINE_NATIVE_SSH]
      --bugsnag-api-token string   Accepted for docker-machine's sake: nothing is reported to anybody
                                   [$MACHINE_BUGSNAG_API_TOKEN]
  -h, --help                       Show help
  -v, --version                    Print the version
"""

COMMANDS = {
    "active": ("show", "Print which machine is active"),
    "config": ("env", "Print the connection config for machine"),
    "create": ("create", "Create a machine"),
    "env": ("env", "Display the commands to set up the environment for the Docker client"),
    "inspect": ("show", "Inspect information about a machine"),
    "ip": ("show", "Get the IP address of a machine"),
    "kill": ("lifecycle", "Kill a machine"),
    "ls": ("show", "List machines"),
    "provision": ("provision", "Re-provision existing machines"),
    "regenerate-certs": ("provision", "Regenerate TLS Certificates for a machine"),
    "restart": ("lifecycle", "Restart a machine"),
    "rm": ("lifecycle", "Remove a machine"),
    "ssh": ("ssh", "Log into or run a command on a machine with SSH."),
    "scp": ("ssh", "Copy files between machines"),
    "mount": ("ssh", "Mount or unmount a directory from a machine with SSHFS."),
    "start": ("lifecycle", "Start a machine"),
    "status": ("show", "Get the status of a machine"),
    "stop": ("lifecycle", "Stop a machine"),
    "upgrade": ("provision", "Upgrade a machine to the latest version of Shoal"),
    "url": ("show", "Get the URL of a machine"),
    "version": ("show", "Show the Docker Machine version or a machine docker version"),
    "export": ("transfer", "Write a machine, or access to it, to one file"),
    "import": ("transfer", "Take a machine from such a file"),
    "completion": ("completion", "Print what a shell needs for completion, `use` and the prompt"),
    "use": ("completion", "Point this shell to a machine (by what `completion` prints)"),
    "image": ("image", "Make and look at the image that virtual machines boot"),
    "help": ("", "Shows a list of commands or help for one command"),
}
"""The commands in docker-machine's order, then ours: the module that runs each, and what it does."""

_CERTIFICATES = {"ca": "tls-ca-cert", "ca-key": "tls-ca-key", "cert": "tls-client-cert", "key": "tls-client-key"}


def main(arguments: list[str], program: str) -> int:
    """Run one command line of `program` (`shoal machine` or `docker-machine`); the exit status."""
    try:
        with interruptible():
            code = _main(arguments, program)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except HelpShown:
        return 0
    except UsageFault as fault:
        return _complain(fault, f"{fault}\n\nSee '{fault.command} --help'.", 2)
    except KeyboardInterrupt as end:
        return 143 if isinstance(end, Terminated) else 130
    except Exception as fault:
        # Nobody is shown a traceback who did not ask for it, whatever went wrong.
        return _complain(fault, text_of(fault), fault.exit_status if isinstance(fault, MachineError) else 1)
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
    if words and words[0] in ("help", "h"):
        words = [words[1], "--help"] if words[1:] and words[1] not in ("help", "h") else []
    if not words or given.flag("help"):
        sys.stdout.write(_help(program, flags))
        return 0
    if words[0] not in COMMANDS:
        raise MachineError(f"{program}: '{words[0]}' is not a {program} command. See '{program} --help'.")
    certificates = {key: given.text(name) for key, name in _CERTIFICATES.items() if given.text(name)}
    if given.flag("debug") or _debug_wanted(os.environ.get("MACHINE_DEBUG", "")):
        # Where a failure came from, before the sentence that says what it was.
        os.environ["MACHINE_DEBUG"] = "1"
    if given.flag("native-ssh"):
        os.environ["MACHINE_NATIVE_SSH"] = "1"
    before = arguments[: len(arguments) - len(given.args)]
    session = Session(program, words[0], given.text("storage-path"), certificates, before)
    module = import_module(f"shoal.cli.machine_{COMMANDS[words[0]][0]}")
    code: int = module.RUN[words[0]](session, words[1:])
    return code


def _debug_wanted(text: str) -> bool:
    try:
        check("", text or "false")
    except ValueError as fault:
        raise MachineError(f"Error parsing boolean value from MACHINE_DEBUG: {fault}") from fault
    return text.lower() in ("1", "t", "true")


def version_line(program: str) -> str:
    """What `version` and `--version` print."""
    import shoal

    return f"{program} version {VERSION}, build shoal {getattr(shoal, '__version__', '')}".rstrip() + "\n"


def _help(program: str, flags: list[Flag]) -> str:
    rows = "".join(f"  {name:<16} {text}\n" for name, (_, text) in COMMANDS.items())
    return (
        f"Usage: {program} [OPTIONS] COMMAND [arg...]\n\nCreate and manage machines running Docker.\n\nOptions:\n"
        + usage.options(flags, usage.width())
        + f"\nCommands:\n{rows}\nRun '{program} COMMAND --help' for more information on a command.\n"
    )


def _complain(fault: Exception, text: str, code: int) -> int:
    sys.stdout.flush()
    trace(fault)
    if text:
        sys.stderr.write(text + "\n")
    return code
