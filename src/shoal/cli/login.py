"""`login` and `logout`."""

from __future__ import annotations

import getpass
import sys

from shoal.cli import terminal
from shoal.cli.command import CommandFault, Context, Options, command
from shoal.cli.config import DEFAULT_REGISTRY

_HUB = ("", "docker.io", "index.docker.io", DEFAULT_REGISTRY)


@command(
    "login",
    "[OPTIONS] [SERVER]",
    args=(0, 1),
    flags="""
  -p, --password string   Password or Personal Access Token (PAT)
      --password-stdin    Take the Password or Personal Access Token (PAT) from stdin
  -u, --username string   Username
""",
)
def login(context: Context, options: Options) -> None:
    """Have the daemon try the credentials, then keep them."""
    registry = _registry(options.args)
    username, password = _asked(context, options, registry)
    request = {"username": username, "password": password, "serveraddress": registry}
    answer = context.client.post("/auth", body=request) or {}
    context.config.store(registry, username, password, answer.get("IdentityToken", ""))
    context.err(f"\nWARNING! Your credentials are stored unencrypted in '{context.config.path}'.")
    context.err("Configure a credential helper to remove this warning. See")
    context.err("https://docs.docker.com/go/credential-store/\n")
    context.out(answer.get("Status") or "Login Succeeded")


def _registry(args: list[str]) -> str:
    name = args[0] if args else ""
    if name in _HUB:
        return DEFAULT_REGISTRY
    return name.removeprefix("https://").removeprefix("http://").rstrip("/")


def _asked(context: Context, options: Options, registry: str) -> tuple[str, str]:
    username, password = options.text("username"), options.text("password")
    if options.flag("password-stdin"):
        if options.changed("password"):
            raise CommandFault("--password and --password-stdin are mutually exclusive")
        if not username:
            raise CommandFault("Must provide --username with --password-stdin")
        return username, sys.stdin.read().rstrip("\r\n")
    if options.changed("password"):
        context.err("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
    stored = context.config.credentials(registry)
    if not username and not password and stored.get("username"):
        context.out("Authenticating with existing credentials...")
        return stored["username"], stored.get("password", "")
    if (not username or not password) and not terminal.is_terminal(0):
        raise CommandFault("Error: Cannot perform an interactive login from a non TTY device")
    if not username:
        username = input("Username: ").strip()
        if not username:
            raise CommandFault("username is required")
    if not password:
        password = getpass.getpass("Password: ")
        if not password:
            raise CommandFault("password is required")
    return username, password


@command("logout", "[SERVER]", args=(0, 1))
def logout(context: Context, options: Options) -> None:
    """Forget credentials."""
    registry = _registry(options.args)
    shown = registry if options.args and registry != DEFAULT_REGISTRY else DEFAULT_REGISTRY
    context.out(f"Removing login credentials for {shown}")
    context.config.erase(registry)
