"""`swarm join-token`, `update` and `ca`."""

from __future__ import annotations

from shoal.cli.command import Context, Options, ShowHelp, command, fail
from shoal.cli.swarm_join import print_join_command, spec_changes


@command(
    "swarm join-token",
    "[OPTIONS] (worker|manager)",
    args=(1, 1),
    flags="""
  -q, --quiet    Only display token
      --rotate   Rotate join token
""",
)
def join_token(context: Context, options: Options) -> None:
    """Show or replace what admits a node."""
    role, client = options.args[0], context.client
    if role not in ("worker", "manager"):
        fail(f"unknown role {role}")
    if options.flag("rotate"):
        swarm = client.get("/swarm")
        query = {"version": swarm["Version"]["Index"], f"rotate{role.title()}Token": True}
        client.post("/swarm/update", query, body=swarm["Spec"])
        if not options.flag("quiet"):
            context.out(f"Successfully rotated {role} join token.\n")
    if options.flag("quiet"):
        context.out(client.get("/swarm")["JoinTokens"][role.title()])
        return
    info = client.get("/info")["Swarm"]
    if not info.get("NodeID"):
        client.get("/swarm")  # raises in the daemon's words
    print_join_command(context, info["NodeID"], role)


@command(
    "swarm update",
    "[OPTIONS]",
    flags="""
      --autolock                        Change manager autolocking setting (true|false)
      --cert-expiry duration            Validity period for node certificates (ns|us|ms|s|m|h) (default 2160h0m0s)
      --dispatcher-heartbeat duration   Dispatcher heartbeat period (ns|us|ms|s|m|h) (default 5s)
      --external-ca external-ca         Specifications of one or more certificate signing endpoints
      --max-snapshots uint              Number of additional Raft snapshots to retain
      --snapshot-interval uint          Number of log entries between Raft snapshots (default 10000)
      --task-history-limit int          Task history retention limit (default 5)
""",
)
def update(context: Context, options: Options) -> None:
    """Change the swarm's settings; without any, show the help."""
    names = ("autolock", "cert-expiry", "dispatcher-heartbeat", "external-ca", "max-snapshots", "snapshot-interval",
             "task-history-limit")  # fmt: skip
    if not options.any_changed(*names):
        raise ShowHelp
    swarm = context.client.get("/swarm")
    query = {"version": swarm["Version"]["Index"]}
    context.client.post("/swarm/update", query, body=spec_changes(swarm["Spec"], options))
    context.out("Swarm updated.")


@command(
    "swarm ca",
    "[OPTIONS]",
    flags="""
      --ca-cert pem-file          Path to the PEM-formatted root CA certificate to use for the new cluster
      --ca-key pem-file           Path to the PEM-formatted root CA key to use for the new cluster
      --cert-expiry duration      Validity period for node certificates (ns|us|ms|s|m|h) (default 2160h0m0s)
  -d, --detach                    Exit immediately instead of waiting for the root rotation to converge
      --external-ca external-ca   Specifications of one or more certificate signing endpoints
  -q, --quiet                     Suppress progress output
      --rotate                    Rotate the swarm CA - if no certificate or key are provided, new ones
                                  will be generated
""",
)
def authority(context: Context, options: Options) -> None:
    """Show the root certificate, or have a new root made."""
    client = context.client
    swarm = client.get("/swarm")
    if not options.flag("rotate"):
        for name in ("ca-cert", "ca-key", "cert-expiry", "external-ca"):
            if options.changed(name):
                fail(f"`--{name}` flag requires the `--rotate` flag to update the CA")
        context.out(_root(swarm["TLSInfo"].get("TrustRoot", "")), end="")
        return
    spec = spec_changes_for_rotation(swarm["Spec"], options)
    client.post("/swarm/update", {"version": swarm["Version"]["Index"]}, body=spec)
    if options.flag("detach"):
        return
    _wait_rotated(context)


def _root(certificate: str) -> str:
    return certificate if certificate.endswith("\n") else certificate + "\n"


def spec_changes_for_rotation(spec: dict[str, object], options: Options) -> dict[str, object]:
    """The swarm's spec asking for a new root."""
    authority = spec.setdefault("CAConfig", {})
    assert isinstance(authority, dict)
    for name, key in (("ca-cert", "SigningCACert"), ("ca-key", "SigningCAKey")):
        if options.changed(name):
            with open(options.text(name), encoding="utf-8") as file:
                authority[key] = file.read()
    if options.changed("cert-expiry"):
        authority["NodeCertExpiry"] = options.duration("cert-expiry")
    authority["ForceRotate"] = authority.get("ForceRotate", 0) + 1
    return spec


def _wait_rotated(context: Context) -> None:
    import time

    while True:
        swarm = context.client.get("/swarm")
        if not swarm.get("RootRotationInProgress"):
            break
        time.sleep(0.2)
    context.out(_root(swarm["TLSInfo"].get("TrustRoot", "")), end="")
