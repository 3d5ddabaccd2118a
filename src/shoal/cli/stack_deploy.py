"""`stack deploy` and `stack config`."""

from __future__ import annotations

import os
import sys

from shoal.cli.command import CommandFault, Context, Options, command
from shoal.cli.image_digest import pin, registry_auth
from shoal.cli.service_wait import wait_for
from shoal.stack.convert import convert
from shoal.stack.load import Loaded, load, read_files, read_text
from shoal.stack.names import check_stack_name
from shoal.stack.plan import RESOLVE, plan
from shoal.stack.run import Images, check_external, check_manager, execute, live_networks, live_services


@command(
    "stack deploy",
    "[OPTIONS] STACK",
    args=(1, 1),
    flags="""
  -c, --compose-file strings   Path to a Compose file, or "-" to read from stdin
  -d, --detach                 Exit immediately instead of waiting for the stack services to converge
      --prune                  Prune services that are no longer referenced
  -q, --quiet                  Suppress progress output
      --resolve-image string   Query the registry to resolve image digest and supported platforms
                               ("always", "changed", "never") (default "always")
      --with-registry-auth     Send registry authentication details to Swarm agents
""",
)
def deploy(context: Context, options: Options) -> None:
    """Make the swarm what the file says, and wait for it unless detached."""
    stack, client = check_stack_name(options.args[0]), context.client
    if options.text("resolve-image") not in RESOLVE:
        raise CommandFault(f"Invalid option {options.text('resolve-image')} for flag --resolve-image")
    loaded = _load(options)
    for warning in loaded.warnings:
        context.err(warning)
    desired = convert(stack, loaded.tree)
    check_manager(client)
    check_external(client, desired.external_networks)
    steps = plan(
        desired,
        live_services(client, stack),
        set(live_networks(client, stack)),
        prune=options.flag("prune"),
        resolve=options.text("resolve-image"),
    )
    images = Images(
        lambda spec: pin(context, spec),
        (lambda image: registry_auth(context, image)) if options.flag("with-registry-auth") else None,
    )
    started = execute(client, steps, images, context.out)
    if not options.flag("detach"):
        for service in started:
            wait_for(context, service.id, service.name, quiet=options.flag("quiet"))


def _load(options: Options, *, interpolated: bool = True) -> Loaded:
    paths = options.many("compose-file")
    if not paths:
        raise CommandFault("Specify a Compose file (with --compose-file)")
    files, directory = read_files(paths, sys.stdin.read)
    return load(files, directory, os.environ, read_text, interpolated=interpolated)


@command(
    "stack config",
    "[OPTIONS]",
    flags="""
  -c, --compose-file strings   Path to a Compose file, or "-" to read from stdin
      --skip-interpolation     Skip interpolation and output only merged config
""",
)
def config(context: Context, options: Options) -> None:
    """The merged file as it is understood."""
    from shoal.stack.render import render

    interpolated = not options.flag("skip-interpolation")
    context.out(render(_load(options, interpolated=interpolated).tree, escape=False), end="")
