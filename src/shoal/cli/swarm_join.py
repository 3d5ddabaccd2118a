"""`swarm init`, `join` and `leave`."""

from __future__ import annotations

from shoal.cli.command import Context, DaemonError, Options, command, fail
from shoal.cli.words import Json

_ADDRESSES = """
      --advertise-addr string   Advertised address (format: "<ip|interface>[:port]")
      --availability string     Availability of the node ("active", "pause", "drain") (default "active")
      --data-path-addr string   Address or interface to use for data path traffic (format: "<ip|interface>")
      --listen-addr node-addr   Listen address (format: "<ip|interface>[:port]") (default 0.0.0.0:2377)
"""


@command(
    "swarm init",
    "[OPTIONS]",
    flags="""
      --advertise-addr string                  Advertised address (format: "<ip|interface>[:port]")
      --autolock                               Enable manager autolocking
                                               (requiring an unlock key to start a stopped manager)
      --availability string                    Availability of the node ("active", "pause", "drain") (default "active")
      --cert-expiry duration                   Validity period for node certificates
                                               (ns|us|ms|s|m|h) (default 2160h0m0s)
      --data-path-addr string                  Address or interface to use for data path traffic
                                               (format: "<ip|interface>")
      --data-path-port uint32                  Port number to use for data path traffic (1024 - 49151). If no value is
                                               set or is set to 0, the default port (4789) is used.
      --default-addr-pool ipNetSlice           default address pool in CIDR format (default [])
      --default-addr-pool-mask-length uint32   default address pool subnet mask length (default 24)
      --dispatcher-heartbeat duration          Dispatcher heartbeat period (ns|us|ms|s|m|h) (default 5s)
      --external-ca external-ca                Specifications of one or more certificate signing endpoints
      --force-new-cluster                      Force create a new cluster from current state
      --listen-addr node-addr                  Listen address (format: "<ip|interface>[:port]") (default 0.0.0.0:2377)
      --max-snapshots uint                     Number of additional Raft snapshots to retain
      --snapshot-interval uint                 Number of log entries between Raft snapshots (default 10000)
      --task-history-limit int                 Task history retention limit (default 5)
""",
)
def init(context: Context, options: Options) -> None:
    """A new swarm with this daemon as its first manager; prints how others join."""
    client = context.client
    request = {
        "ListenAddr": _listen(options),
        "AdvertiseAddr": options.text("advertise-addr"),
        "DataPathAddr": options.text("data-path-addr"),
        "DataPathPort": options.number("data-path-port"),
        "DefaultAddrPool": options.many("default-addr-pool"),
        "SubnetSize": options.number("default-addr-pool-mask-length"),
        "ForceNewCluster": options.flag("force-new-cluster"),
        "AutoLockManagers": options.flag("autolock"),
        "Availability": _availability(options),
        "Spec": spec_changes({}, options),
    }
    try:
        node_id = client.post("/swarm/init", body=request)
    except DaemonError as fault:
        if (
            "could not choose an IP address" in fault.message
            or "could not find the system's IP address" in fault.message
        ):
            raise DaemonError(fault.status, f"{fault.message} - specify one with --advertise-addr") from fault
        raise
    context.out(f"Swarm initialized: current node ({node_id}) is now a manager.\n")
    print_join_command(context, node_id, "worker")
    how = f"'{context.program} swarm join-token manager'"
    context.out(f"To add a manager to this swarm, run {how} and follow the instructions.")


def _listen(options: Options) -> str:
    text = options.text("listen-addr")
    return text if ":" in text.rpartition("]")[2] else f"{text}:2377"


def _availability(options: Options) -> str:
    if not options.changed("availability"):
        return ""
    value = options.text("availability").lower()
    if value not in ("active", "pause", "drain"):
        fail(f'invalid availability "{options.text("availability")}", only active, pause and drain are supported')
    return value


def spec_changes(spec: Json, options: Options) -> Json:
    """The swarm's spec with what the options of `init` and `update` change."""
    places: dict[str, tuple[str, str]] = {
        "task-history-limit": ("Orchestration", "TaskHistoryRetentionLimit"),
        "max-snapshots": ("Raft", "KeepOldSnapshots"),
        "snapshot-interval": ("Raft", "SnapshotInterval"),
    }
    for name, (block, key) in places.items():
        if options.changed(name):
            spec.setdefault(block, {})[key] = options.number(name)
    if options.changed("dispatcher-heartbeat"):
        spec.setdefault("Dispatcher", {})["HeartbeatPeriod"] = options.duration("dispatcher-heartbeat")
    if options.changed("cert-expiry"):
        spec.setdefault("CAConfig", {})["NodeCertExpiry"] = options.duration("cert-expiry")
    if options.changed("external-ca"):
        spec.setdefault("CAConfig", {})["ExternalCAs"] = [_external_ca(text) for text in options.many("external-ca")]
    if options.changed("autolock"):
        spec.setdefault("EncryptionConfig", {})["AutoLockManagers"] = options.flag("autolock")
    return spec


def _external_ca(text: str) -> Json:
    result: Json = {"Protocol": "", "URL": "", "Options": {}}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            fail(f"invalid field '{part}' must be a key=value pair")
        match key.lower():
            case "protocol":
                result["Protocol"] = value.lower()
            case "url":
                result["URL"] = value
            case "cacert":
                with open(value, encoding="utf-8") as file:
                    result["CACert"] = file.read()
            case _:
                result["Options"][key] = value
    if not result["Protocol"] or not result["URL"]:
        fail(
            "the external-ca option needs a " + ("protocol= parameter" if not result["Protocol"] else "url= parameter")
        )
    return result


def print_join_command(context: Context, node_id: str, role: str) -> None:
    """How to join, with the token and this manager's address."""
    address = context.client.get(f"/nodes/{node_id}").get("ManagerStatus", {}).get("Addr", "")
    token = context.client.get("/swarm")["JoinTokens"][role.title()]
    context.out(f"To add a {role} to this swarm, run the following command:\n")
    context.out(f"    {context.program} swarm join --token {token} {address}\n")


@command(
    "swarm join",
    "[OPTIONS] HOST:PORT",
    args=(1, 1),
    flags=f"""{_ADDRESSES.rstrip()}
      --token string            Token for entry into the swarm
""",
)
def join(context: Context, options: Options) -> None:
    """Make this daemon a node of an existing swarm."""
    client = context.client
    client.post(
        "/swarm/join",
        body={
            "ListenAddr": _listen(options),
            "AdvertiseAddr": options.text("advertise-addr"),
            "DataPathAddr": options.text("data-path-addr"),
            "RemoteAddrs": options.args,
            "JoinToken": options.text("token"),
            "Availability": _availability(options),
        },
    )
    manager = client.get("/info")["Swarm"].get("ControlAvailable")
    context.out(f"This node joined a swarm as a {'manager' if manager else 'worker'}.")


@command(
    "swarm leave",
    "[OPTIONS]",
    flags="""
  -f, --force   Force this node to leave the swarm, ignoring warnings
""",
)
def leave(context: Context, options: Options) -> None:
    """Make this daemon a node of no swarm."""
    context.client.post("/swarm/leave", {"force": options.flag("force")})
    context.out("Node left the swarm.")
