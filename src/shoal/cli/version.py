"""`version`."""

from __future__ import annotations

import platform
import sys

from shoal import __version__
from shoal.api.client import API_VERSION
from shoal.cli.command import OBJECT_FORMAT, Context, Options, ShoalFault, command, text_of
from shoal.cli.printing import template_of
from shoal.cli.words import Json


@command(
    "version",
    "[OPTIONS]",
    flags=f"""
  -f, --format string   {OBJECT_FORMAT}
""",
)
def run(context: Context, options: Options) -> int:
    """This program's version and the daemon's."""
    template = template_of(options.text("format"))
    server, fault = _server(context)
    client = _client(context)
    if template:
        try:
            context.out(template({"Client": client, "Server": server}))
        except ValueError as wrong:
            context.err(f"template parsing error: {wrong}")
            return 1
    else:
        context.out(_text(client, server), end="")
    if fault:
        context.err(fault)
    return 1 if fault else 0


def _server(context: Context) -> tuple[Json | None, str]:
    try:
        return context.client.get("/version"), ""
    except ShoalFault as fault:
        return None, text_of(fault)


def _client(context: Context) -> Json:
    machine = {"x86_64": "amd64", "aarch64": "arm64", "AMD64": "amd64"}
    return {
        "Platform": {"Name": "Shoal"},
        "Version": __version__,
        "ApiVersion": context.client.api_version,
        "DefaultAPIVersion": API_VERSION,
        "PythonVersion": platform.python_version(),
        "Os": {"win32": "windows"}.get(sys.platform, sys.platform),
        "Arch": machine.get(platform.machine(), platform.machine()),
        "Context": "default",
    }


def _text(client: Json, server: Json | None) -> str:
    lines = [
        f"Client: {client['Platform']['Name']}",
        f" Version:           {client['Version']}",
        f" API version:       {client['ApiVersion']}",
        f" Python version:    {client['PythonVersion']}",
        f" OS/Arch:           {client['Os']}/{client['Arch']}",
        f" Context:           {client['Context']}",
    ]
    if server is None:
        return "\n".join(lines) + "\n"
    name = (server.get("Platform") or {}).get("Name", "")
    lines += ["", f"Server: {name}".rstrip()]
    engine = {
        "Version": server.get("Version", ""),
        "API version": f"{server.get('ApiVersion', '')} (minimum version {server.get('MinAPIVersion', '')})",
        "Go version": server.get("GoVersion", ""),
        "Git commit": server.get("GitCommit", ""),
        "Built": server.get("BuildTime", ""),
        "OS/Arch": f"{server.get('Os', '')}/{server.get('Arch', '')}",
        "Experimental": str(server.get("Experimental", False)).lower(),
    }
    lines += [" Engine:", *(f"  {key + ':':<18}{value}" for key, value in engine.items() if value)]
    for component in server.get("Components") or []:
        if component.get("Name") not in ("Engine", ""):
            lines += [f" {component['Name']}:", f"  Version:          {component.get('Version', '')}"]
            details = component.get("Details") or {}
            lines += [f"  {key + ':':<18}{value}" for key, value in sorted(details.items())]
    return "\n".join(lines) + "\n"
