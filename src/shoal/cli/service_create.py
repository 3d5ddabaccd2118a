"""`service create`."""

from __future__ import annotations

import os

from shoal.api.client import Client, quote
from shoal.cli import grammar
from shoal.cli.command import CommandFault, Context, Options, command, fail
from shoal.cli.image_digest import pin, registry_auth, tagged
from shoal.cli.service_flags import CREATE
from shoal.cli.service_settings import apply
from shoal.cli.service_wait import wait_for
from shoal.cli.words import Json, pairs, read_environment, unique


@command("service create", "[OPTIONS] IMAGE [COMMAND] [ARG...]", args=(1, None), flags=CREATE, interspersed=False)
def run(context: Context, options: Options) -> None:
    """Create a service, print its id, and wait for it unless detached."""
    try:
        spec = service_spec(context.client, options)
    except ValueError as fault:
        raise CommandFault(str(fault)) from fault
    image = spec["TaskTemplate"]["ContainerSpec"]["Image"]
    auth = registry_auth(context, image)
    if not options.flag("no-resolve-image"):
        pin(context, spec, auth=auth)
    headers = {"X-Registry-Auth": auth} if options.flag("with-registry-auth") else {}
    created = context.client.post("/services/create", body=spec, headers=headers)
    context.warnings(created.get("Warnings"))
    context.out(created["ID"])
    if not options.flag("detach"):
        wait_for(context, created["ID"], created["ID"], quiet=options.flag("quiet"))


def service_spec(client: Client, options: Options) -> Json:
    """The spec that the options describe; asks only for the ids of networks.

    Raises CommandFault, ValueError, OSError.
    """
    container: Json = {"Image": tagged(options.args[0]), "Init": False, "DNSConfig": {}}
    template: Json = {"ContainerSpec": container, "Placement": {}, "ForceUpdate": 0}
    spec: Json = {"Labels": pairs(options.many("label")), "TaskTemplate": template}
    if options.changed("name"):
        spec["Name"] = options.text("name")
    spec["Mode"] = _mode(options)
    spec["EndpointSpec"] = {"Mode": options.text("endpoint-mode")}
    apply(spec, options)
    _container(container, options)
    _placement(template, options)
    networks = [grammar.network(text) for text in options.many("network")]
    if networks:
        template["Networks"] = attachments(client, networks)
    published = [port for text in options.many("publish") for port in grammar.ports(text)]
    if published:
        spec["EndpointSpec"]["Ports"] = published
    return spec


def _mode(options: Options) -> Json:
    mode = options.text("mode")
    replicas = options.number("replicas") if options.changed("replicas") else None
    if options.changed("max-concurrent") and mode != "replicated-job":
        fail("max-concurrent can only be used with replicated-job mode")
    match mode:
        case "replicated":
            return {"Replicated": {} if replicas is None else {"Replicas": replicas}}
        case "replicated-job":
            concurrent = options.number("max-concurrent") if options.changed("max-concurrent") else replicas
            job = {"MaxConcurrent": concurrent, "TotalCompletions": replicas}
            return {"ReplicatedJob": {key: value for key, value in job.items() if value is not None}}
        case "global" | "global-job":
            if replicas is not None:
                fail("replicas can only be used with replicated or replicated-job mode")
            if options.changed("replicas-max-per-node"):
                fail("replicas-max-per-node can only be used with replicated or replicated-job mode")
            return {"Global" if mode == "global" else "GlobalJob": {}}
    raise CommandFault(f"Unknown mode: {mode}, only replicated and global supported")


def _container(container: Json, options: Options) -> None:
    lists: Json = {
        "Args": options.args[1:],
        "Env": read_environment(options.many("env"), options.many("env-file"), os.environ),
        "Groups": options.many("group"),
        "Mounts": [grammar.mount(text) for text in options.many("mount")],
        "Hosts": [grammar.host(text) for text in options.many("host")],
        "Labels": pairs(options.many("container-label")),
        "Sysctls": pairs(options.many("sysctl")),
        "Ulimits": [grammar.ulimit(text) for text in options.many("ulimit")],
    }
    container.update({key: value for key, value in lists.items() if value})
    for option, key in (("dns", "Nameservers"), ("dns-search", "Search"), ("dns-option", "Options")):
        if options.many(option):
            container["DNSConfig"][key] = options.many(option)


def _placement(template: Json, options: Options) -> None:
    placement = template["Placement"]
    if options.many("constraint"):
        placement["Constraints"] = unique(options.many("constraint"))
    if options.many("placement-pref"):
        placement["Preferences"] = [grammar.preference(text) for text in options.many("placement-pref")]
    if options.many("generic-resource"):
        reservations = template["Resources"]["Reservations"]
        reservations["GenericResources"] = grammar.generic_resources(options.many("generic-resource"))


def attachments(client: Client, networks: list[Json]) -> list[Json]:
    """Networks of a service with ids for names, by id."""
    found = [
        {
            "Target": client.get(f"/networks/{quote(network.get('Target', ''))}", {"scope": "swarm"})["Id"],
            **{key: network[key] for key in ("Aliases", "DriverOpts") if network.get(key)},
        }
        for network in networks
    ]
    return sorted(found, key=lambda network: network["Target"])
