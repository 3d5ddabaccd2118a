"""`service update`: the options are changes to the spec that the service has now."""

from __future__ import annotations

import os
import shlex

from shoal.api.client import Client, quote
from shoal.cli import grammar
from shoal.cli.command import CommandFault, Context, Options, command, fail
from shoal.cli.image_digest import pin, registry_auth, tagged
from shoal.cli.service_create import attachments
from shoal.cli.service_flags import UPDATE
from shoal.cli.service_settings import apply
from shoal.cli.service_wait import wait_for
from shoal.cli.words import Json, pairs, read_environment


@command("service update", "[OPTIONS] SERVICE", args=(1, 1), flags=UPDATE)
def run(context: Context, options: Options) -> None:
    """Change a service, print its name, and wait for it unless detached."""
    client, name = context.client, options.args[0]
    service = client.get(f"/services/{quote(name)}")
    query: Json = {"version": service["Version"]["Index"]}
    spec, headers = service["Spec"], {}
    if options.flag("rollback"):
        _refuse_with_rollback(options)
        query |= {"rollback": "previous", "registryAuthFrom": "spec"}
    else:
        try:
            change(client, spec, options)
        except ValueError as fault:
            raise CommandFault(str(fault)) from fault
        image = spec["TaskTemplate"]["ContainerSpec"]["Image"]
        auth = registry_auth(context, image)
        if options.changed("image") and not options.flag("no-resolve-image"):
            pin(context, spec, auth=auth)
        if options.flag("with-registry-auth"):
            headers["X-Registry-Auth"] = auth
        else:
            query["registryAuthFrom"] = "spec"
    answer = client.post(f"/services/{service['ID']}/update", query, body=spec, headers=headers) or {}
    context.warnings(answer.get("Warnings"))
    context.out(name)
    if not options.flag("detach"):
        wait_for(context, service["ID"], name, quiet=options.flag("quiet"))


def _refuse_with_rollback(options: Options) -> None:
    """A rollback takes nothing but how it is waited for."""
    for flag in options.given():
        if flag not in ("rollback", "detach", "quiet", "with-registry-auth", "no-resolve-image"):
            fail("other flags may not be combined with --rollback")


def change(client: Client, spec: Json, options: Options) -> None:
    """Change `spec` as the options say. Raises CommandFault, ValueError, OSError."""
    template = spec["TaskTemplate"]
    container = template.setdefault("ContainerSpec", {})
    if options.changed("image"):
        container["Image"] = tagged(options.text("image"))
        template.get("Placement", {}).pop("Platforms", None)
    if options.changed("args"):
        container["Args"] = shlex.split(options.text("args"))
    apply(spec, options)
    _mode(spec, options)
    if options.flag("force"):
        template["ForceUpdate"] = template.get("ForceUpdate", 0) + 1
    _labels(spec, options)
    _container(container, options)
    _placement(template, options)
    _networks(client, template, options)
    _ports(spec, options)


def _mode(spec: Json, options: Options) -> None:
    mode = spec.get("Mode") or {}
    if options.changed("replicas"):
        block = mode.get("Replicated") if mode.get("Replicated") is not None else mode.get("ReplicatedJob")
        if block is None:
            fail("replicas can only be used with replicated mode")
        block["Replicas" if mode.get("Replicated") is not None else "TotalCompletions"] = options.number("replicas")
    if options.changed("max-concurrent"):
        if mode.get("ReplicatedJob") is None:
            fail("max-concurrent can only be used with replicated-job mode")
        mode["ReplicatedJob"]["MaxConcurrent"] = options.number("max-concurrent")


def _labels(spec: Json, options: Options) -> None:
    container = spec["TaskTemplate"]["ContainerSpec"]
    for owner, prefix in ((spec, "label"), (container, "container-label")):
        _mapping(owner, "Labels", options, prefix)


def _mapping(owner: Json, key: str, options: Options, prefix: str) -> None:
    """`--x-rm key` and `--x-add key=value` on a mapping."""
    if not options.any_changed(f"{prefix}-add", f"{prefix}-rm"):
        return
    gone = set(options.many(f"{prefix}-rm"))
    kept = {name: value for name, value in (owner.get(key) or {}).items() if name not in gone}
    owner[key] = kept | pairs(options.many(f"{prefix}-add"))


def _list(owner: Json, key: str, options: Options, prefix: str) -> None:
    """`--x-rm value` and `--x-add value` on a sorted list of texts without doubles."""
    if not options.any_changed(f"{prefix}-add", f"{prefix}-rm"):
        return
    gone = set(options.many(f"{prefix}-rm"))
    kept = [value for value in owner.get(key) or [] if value not in gone]
    owner[key] = sorted({*kept, *options.many(f"{prefix}-add")})


def _container(container: Json, options: Options) -> None:
    if options.any_changed("env-add", "env-rm"):
        added = read_environment(options.many("env-add"), [], os.environ)
        gone = set(options.many("env-rm"))
        now = {text.partition("=")[0]: text for text in [*(container.get("Env") or []), *added]}
        container["Env"] = [text for name, text in now.items() if name not in gone]
    if options.any_changed("mount-add", "mount-rm"):
        mounts = [grammar.mount(text) for text in options.many("mount-add")]
        gone = {*options.many("mount-rm"), *(mount["Target"] for mount in mounts)}
        kept = [mount for mount in container.get("Mounts") or [] if mount.get("Target") not in gone]
        container["Mounts"] = sorted([*kept, *mounts], key=lambda mount: (mount.get("Source", ""), mount["Target"]))
    if options.any_changed("host-add", "host-rm"):
        _hosts(container, options)
    _list(container, "Groups", options, "group")
    _mapping(container, "Sysctls", options, "sysctl")
    if options.any_changed("ulimit-add", "ulimit-rm"):
        limits = {limit["Name"]: limit for limit in container.get("Ulimits") or []}
        for name in options.many("ulimit-rm"):
            limits.pop(name, None)
        limits |= {limit["Name"]: limit for limit in map(grammar.ulimit, options.many("ulimit-add"))}
        container["Ulimits"] = [limits[name] for name in sorted(limits)]
    names = container.setdefault("DNSConfig", {})
    for key, prefix in (("Nameservers", "dns"), ("Search", "dns-search"), ("Options", "dns-option")):
        _list(names, key, options, prefix)
    if not names:
        del container["DNSConfig"]


def _hosts(container: Json, options: Options) -> None:
    gone = [text.partition("=" if "=" in text else ":")[::2] for text in options.many("host-rm")]

    def removed(entry: str) -> bool:
        address, _, name = entry.partition(" ")
        return any(name == host and wanted.strip("[]") in ("", address) for host, wanted in gone)

    kept = [entry for entry in container.get("Hosts") or [] if not removed(entry)]
    added = [grammar.host(text) for text in options.many("host-add")]
    container["Hosts"] = [*kept, *(entry for entry in added if entry not in kept)]


def _placement(template: Json, options: Options) -> None:
    placement = template.setdefault("Placement", {})
    _list(placement, "Constraints", options, "constraint")
    if options.any_changed("placement-pref-add", "placement-pref-rm"):
        gone = [grammar.preference(text) for text in options.many("placement-pref-rm")]
        kept = [preference for preference in placement.get("Preferences") or [] if preference not in gone]
        added = [grammar.preference(text) for text in options.many("placement-pref-add")]
        placement["Preferences"] = [*kept, *added]
    if not placement:
        del template["Placement"]
    if options.any_changed("generic-resource-add", "generic-resource-rm"):
        reservations = template["Resources"]["Reservations"]
        added = grammar.generic_resources(options.many("generic-resource-add"))
        gone_kinds = {*options.many("generic-resource-rm"), *(item["DiscreteResourceSpec"]["Kind"] for item in added)}
        kept = [item for item in reservations.get("GenericResources") or [] if _kind(item) not in gone_kinds]
        reservations["GenericResources"] = [*kept, *added]


def _kind(resource: Json) -> str:
    spec = resource.get("DiscreteResourceSpec") or resource.get("NamedResourceSpec") or {}
    return str(spec.get("Kind", ""))


def _networks(client: Client, template: Json, options: Options) -> None:
    if not options.any_changed("network-add", "network-rm"):
        return
    removed = attachments(client, [{"Target": name} for name in options.many("network-rm")])
    wanted = [grammar.network(text) for text in options.many("network-add")]
    added = attachments(client, wanted)
    gone = {network["Target"] for network in removed}
    present = {network["Target"]: network for network in template.get("Networks") or []}
    for network in added:
        if network["Target"] in present and network["Target"] not in gone:
            fail(f"service is already attached to network {_network_name(client, network['Target'])}")
    kept = [network for target, network in present.items() if target not in gone]
    template["Networks"] = sorted([*kept, *added], key=lambda network: network["Target"])


def _network_name(client: Client, identifier: str) -> str:
    """The name of a swarm network."""
    return str(client.get(f"/networks/{identifier}", {"scope": "swarm"})["Name"])


def _ports(spec: Json, options: Options) -> None:
    if not options.any_changed("publish-add", "publish-rm"):
        return
    endpoint = spec.setdefault("EndpointSpec", {})
    added = [port for text in options.many("publish-add") for port in grammar.ports(text)]
    gone = [_removed_port(text) for text in options.many("publish-rm")]

    def stays(port: Json) -> bool:
        key = (port.get("TargetPort"), port.get("Protocol", "tcp"))
        same = any(key == (new["TargetPort"], new["Protocol"]) and port.get("PublishedPort") == new.get("PublishedPort")
                   for new in added)  # fmt: skip
        return key not in gone and not same

    kept = [port for port in endpoint.get("Ports") or [] if stays(port)]
    endpoint["Ports"] = sorted([*kept, *added], key=lambda port: (port.get("PublishedPort", 0), port["TargetPort"]))


def _removed_port(text: str) -> tuple[int, str]:
    target, _, protocol = text.partition("/")
    if not target.isdigit() or not 0 < int(target) <= 65535:
        raise ValueError(f'invalid argument "{text}" for "--publish-rm" flag: {text} is not a valid target port')
    return int(target), protocol or "tcp"
