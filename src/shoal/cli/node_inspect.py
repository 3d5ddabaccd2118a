"""`node inspect`, also for people."""

from __future__ import annotations

from shoal.api.client import quote
from shoal.cli.command import OBJECT_FORMAT, Context, Options, command, fail
from shoal.cli.printing import inspect
from shoal.cli.swarm_info import node_reference
from shoal.cli.words import Json, go_time
from shoal.kit.units import binary_size


@command(
    "node inspect",
    "[OPTIONS] self|NODE [NODE...]",
    args=(1, None),
    flags=f"""
  -f, --format string   {OBJECT_FORMAT}
      --pretty          Print the information in a human friendly format
""",
)
def run(context: Context, options: Options) -> int:
    """Nodes by id, name or `self`."""
    client = context.client

    def find(name: str) -> Json:
        found: Json = client.get(f"/nodes/{quote(node_reference(client, name))}")
        return found

    if not options.flag("pretty"):
        return inspect(context, options.args, find, options.text("format"))
    if options.changed("format"):
        fail("--format is incompatible with human friendly format")
    context.out("".join(pretty(find(name)) for name in options.args), end="")
    return 0


def pretty(node: Json) -> str:
    """The lines for people."""
    description, status, manager = node.get("Description", {}), node.get("Status", {}), node.get("ManagerStatus")
    lines = [f"ID:\t\t\t{node['ID']}"]
    if node["Spec"].get("Name"):
        lines.append(f"Name:\t\t\t{node['Spec']['Name']}")
    if node["Spec"].get("Labels"):
        lines += ["Labels:", *(f" - {key}={value}" for key, value in sorted(node["Spec"]["Labels"].items()))]
    lines += [
        f"Hostname:              \t{description.get('Hostname', '')}",
        f"Joined at:             \t{go_time(node['CreatedAt']).replace('UTC', 'utc')}",
        "Status:",
        f" State:\t\t\t{_upper(status.get('State', ''))}",
    ]
    if status.get("Message"):
        lines.append(f" Message:              \t{_upper(status['Message'])}")
    lines.append(f" Availability:         \t{_upper(node['Spec'].get('Availability', ''))}")
    if status.get("Addr"):
        lines.append(f" Address:\t\t{status['Addr']}")
    if manager:
        lines += [
            "Manager Status:",
            f" Address:\t\t{manager.get('Addr', '')}",
            f" Raft Status:\t\t{_upper(manager.get('Reachability', ''))}",
            f" Leader:\t\t{'Yes' if manager.get('Leader') else 'No'}",
        ]
    return "\n".join(lines + _machine(description)) + "\n"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _machine(description: Json) -> list[str]:
    platform, resources = description.get("Platform", {}), description.get("Resources", {})
    engine, tls = description.get("Engine", {}), description.get("TLSInfo") or {}
    lines = [
        "Platform:",
        f" Operating System:\t{platform.get('OS', '')}",
        f" Architecture:\t\t{platform.get('Architecture', '')}",
        "Resources:",
        f" CPUs:\t\t\t{resources.get('NanoCPUs', 0) // 10**9}",
        f" Memory:\t\t{binary_size(resources.get('MemoryBytes', 0))}",
    ]
    if engine.get("Plugins"):
        kinds: dict[str, list[str]] = {}
        for plugin in engine["Plugins"]:
            kinds.setdefault(plugin["Type"], []).append(plugin["Name"])
        lines += ["Plugins:", *(f" {kind}:\t\t{', '.join(names)}" for kind, names in sorted(kinds.items()))]
    lines.append(f"Engine Version:\t\t{engine.get('EngineVersion', '')}")
    if engine.get("Labels"):
        lines += ["Engine Labels:", *(f" - {key}={value}" for key, value in sorted(engine["Labels"].items()))]
    if tls.get("TrustRoot"):
        lines += [
            "TLS Info:",
            " TrustRoot:",
            tls["TrustRoot"],
            f" Issuer Subject:\t{tls.get('CertIssuerSubject', '')}",
            f" Issuer Public Key:\t{tls.get('CertIssuerPublicKey', '')}",
        ]
    return lines
