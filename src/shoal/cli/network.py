"""`network create`, `ls`, `rm`, `connect` and `disconnect`."""

from __future__ import annotations

import ipaddress

from shoal.api.client import filters, quote
from shoal.cli.command import TABLE_FORMAT, CommandFault, Context, DaemonError, Options, command, fail, text_of
from shoal.cli.container_spec import endpoint
from shoal.cli.printing import show
from shoal.cli.words import Json, go_time, labels_text, natural, pairs, short


@command(
    "network create",
    "[OPTIONS] NETWORK",
    args=(1, 1),
    flags="""
      --attachable           Enable manual container attachment
      --aux-address map      Auxiliary IPv4 or IPv6 addresses used by Network driver (default map[])
      --config-from string   The network from which to copy the configuration
      --config-only          Create a configuration only network
  -d, --driver string        Driver to manage the Network (default "bridge")
      --gateway strings      IPv4 or IPv6 Gateway for the master subnet
      --ingress              Create swarm routing-mesh network
      --internal             Restrict external access to the network
      --ip-range strings     Allocate container ip from a sub-range
      --ipam-driver string   IP Address Management Driver (default "default")
      --ipam-opt map         Set IPAM driver specific options (default map[])
      --ipv4                 Enable or disable IPv4 address assignment (default true)
      --ipv6                 Enable or disable IPv6 address assignment
      --label list           Set metadata on a network
  -o, --opt map              Set driver specific options (default map[])
      --scope string         Control the network's scope
      --subnet strings       Subnet in CIDR format that represents a network segment
""",
)
def create(context: Context, options: Options) -> None:
    """Create a network and print its id."""
    try:
        pools = _pools(options)
    except ValueError as fault:
        raise CommandFault(str(fault)) from fault
    request: Json = {
        "Name": options.args[0],
        "Driver": options.text("driver"),
        "Scope": options.text("scope"),
        "IPAM": {
            "Driver": options.text("ipam-driver"),
            "Options": pairs(options.many("ipam-opt")),
            "Config": pools,
        },
        "Internal": options.flag("internal"),
        "Attachable": options.flag("attachable"),
        "Ingress": options.flag("ingress"),
        "ConfigOnly": options.flag("config-only"),
        "Options": pairs(options.many("opt")),
        "Labels": pairs(options.many("label")),
    }
    if options.changed("config-from"):
        request["ConfigFrom"] = {"Network": options.text("config-from")}
    for version in ("4", "6"):
        if options.changed(f"ipv{version}"):
            request[f"EnableIPv{version}"] = options.flag(f"ipv{version}")
    answer = context.client.post("/networks/create", body=request)
    if answer.get("Warning"):
        context.warnings([answer["Warning"]])
    context.out(answer["Id"])


def _pools(options: Options) -> list[Json]:
    """Address pools, each with the range, gateway and auxiliary addresses that lie in it."""
    subnets, ranges = options.many("subnet"), options.many("ip-range")
    if len(subnets) < len(ranges) or len(subnets) < len(options.many("gateway")):
        raise ValueError("every ip-range or gateway must have a corresponding subnet")
    found: dict[str, Json] = {}
    for subnet in subnets:
        network = ipaddress.ip_network(subnet, strict=False)
        for other in found:
            if network.overlaps(ipaddress.ip_network(other, strict=False)):
                raise ValueError("multiple overlapping subnet configuration is not supported")
        found[subnet] = {"Subnet": subnet}
    for option, key in (("ip-range", "IPRange"), ("gateway", "Gateway")):
        for text in options.many(option):
            owner = _owner(found, text.partition("/")[0])
            if owner is None:
                raise ValueError(f"no matching subnet for {option.replace('ip-range', 'range')} {text}")
            if key in owner:
                raise ValueError(
                    f"cannot configure multiple {option.replace('ip-range', 'range')}s ({text}, {owner[key]})"
                )
            owner[key] = text
    for name, address in pairs(options.many("aux-address")).items():
        owner = _owner(found, address)
        if owner is None:
            raise ValueError(f"no matching subnet for aux-address {address}")
        owner.setdefault("AuxiliaryAddresses", {})[name] = address
    return list(found.values())


def _owner(pools: dict[str, Json], address: str) -> Json | None:
    wanted = ipaddress.ip_address(address)
    return next((pool for subnet, pool in pools.items() if wanted in ipaddress.ip_network(subnet, strict=False)), None)


_COLUMNS = {
    "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
    "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
}  # fmt: skip


@command(
    "network ls",
    "[OPTIONS]",
    flags=f"""
  -f, --filter filter   Provide filter values (e.g. "driver=bridge")
      --format string   {TABLE_FORMAT}
      --no-trunc        Do not truncate the output
  -q, --quiet           Only display network IDs
""",
)
def listing(context: Context, options: Options) -> None:
    """Networks by name: this engine's and the swarm's."""
    found = context.client.get("/networks", {"filters": filters(options.filters())})
    found.sort(key=lambda network: natural(network["Name"]))
    full = options.flag("no-trunc")
    if options.flag("quiet") and not options.changed("format"):
        context.out("".join(short(network["Id"], full) + "\n" for network in found), end="")
        return
    form = options.text("format") or context.config.default("networksFormat")
    rows = [_row(network, full) for network in found]
    show(context, rows, _COLUMNS, shown=["ID", "Name", "Driver", "Scope"], form=form, kind="network.networkContext")


def _row(network: Json, full: bool) -> Json:
    labels = network.get("Labels") or {}
    return {
        "ID": short(network["Id"], full),
        "Name": network["Name"],
        "Driver": network.get("Driver", ""),
        "Scope": network.get("Scope", ""),
        "IPv4": str(network.get("EnableIPv4", True)).lower(),
        "IPv6": str(network.get("EnableIPv6", False)).lower(),
        "Internal": str(network.get("Internal", False)).lower(),
        "Labels": labels_text(labels),
        "CreatedAt": go_time(network.get("Created", "")),
        "Label": lambda name: labels.get(name, ""),
    }


@command(
    "network rm",
    "NETWORK [NETWORK...]",
    args=(1, None),
    flags="""
  -f, --force   Do not error if the network does not exist
""",
)
def remove(context: Context, options: Options) -> None:
    """Remove networks that nothing uses."""
    code = 0
    for name in options.args:
        try:
            context.client.delete(f"/networks/{quote(name)}")
        except DaemonError as fault:
            if options.flag("force") and fault.status == 404:
                continue
            context.err(text_of(fault))
            code = 1
        else:
            context.out(name)
    if code:
        fail("")


@command(
    "network connect",
    "[OPTIONS] NETWORK CONTAINER",
    args=(2, 2),
    flags="""
      --alias strings           Add network-scoped alias for the container
      --driver-opt strings      driver options for the network
      --gw-priority int         Highest gw-priority provides the default gateway. Accepts positive and negative values.
      --ip string               IPv4 address (e.g., "172.30.100.104")
      --ip6 string              IPv6 address (e.g., "2001:db8::33")
      --link list               Add link to another container
      --link-local-ip strings   Add a link-local address for the container
""",
)
def connect(context: Context, options: Options) -> None:
    """Put a container on one more network."""
    settings = endpoint({
        "IPv4": options.text("ip"),
        "IPv6": options.text("ip6"),
        "LinkLocal": options.many("link-local-ip"),
        "Aliases": options.many("alias"),
        "Links": options.many("link"),
        "DriverOpts": pairs(options.many("driver-opt")),
        "GwPriority": options.number("gw-priority"),
    })  # fmt: skip
    network, container = options.args
    request = {"Container": container, "EndpointConfig": settings}
    context.client.post(f"/networks/{quote(network)}/connect", body=request)


@command(
    "network disconnect",
    "[OPTIONS] NETWORK CONTAINER",
    args=(2, 2),
    flags="""
  -f, --force   Force the container to disconnect from a network
""",
)
def disconnect(context: Context, options: Options) -> None:
    """Take a container off a network."""
    network, container = options.args
    request = {"Container": container, "Force": options.flag("force")}
    context.client.post(f"/networks/{quote(network)}/disconnect", body=request)
