"""Networks of two kinds behind one name: this engine's own and the swarm's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from shoal.api import present, present_engine
from shoal.api.call import Call
from shoal.model.errors import InvalidArgument, NotFound, PermissionDenied, ShoalError, Unavailable
from shoal.model.objects import Network
from shoal.network.plan import tasks_only

if TYPE_CHECKING:
    from shoal.manager.control import Control

PREDEFINED = ("bridge", "host", "none")
GATEWAY = "docker_gwbridge"
"""The bridge through which tasks on overlays reach the outside: nobody's to prune."""


def swarm_networks(call: Call) -> list[Network]:
    """The swarm's networks; empty on a node that is not a manager."""
    try:
        return call.context.control.list_networks()
    except Unavailable:
        return []


def everything(call: Call) -> list[dict[str, Any]]:
    """Every network as it is printed. On managers all of the swarm's, on workers those that reach them."""
    swarm = swarm_networks(call)
    known = {network.id for network in swarm}
    networks = call.context.networks
    local = [network for network in (*networks.list(), *networks.of_swarm()) if network.id not in known]
    return [
        *(present_engine.local_network(network) for network in local),
        *(present.network(network) for network in swarm if network.spec.name not in PREDEFINED),
    ]


def find(call: Call, wanted: str, scope: str = "") -> dict[str, Any]:
    """The network that `wanted` means: its id, else its name, else the beginning of its id.

    Raises NotFound; InvalidArgument when several match. The predefined ones pass for swarm networks too, because
    services may be put on them.
    """
    rows = [
        row for row in everything(call)
        if not scope or row["Scope"] == scope or (scope == "swarm" and row["Name"] in PREDEFINED)
    ]  # fmt: skip
    by_id = [row for row in rows if row["Id"] == wanted]
    by_name = [row for row in rows if row["Name"] == wanted]
    by_prefix = [row for row in rows if wanted and row["Id"].startswith(wanted)]
    for matches, how in ((by_id, "ID"), (by_name, "name"), (by_prefix, "ID prefix")):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise InvalidArgument(f"network {wanted} is ambiguous ({len(matches)} matches found based on {how})")
    raise NotFound(f"network {wanted} not found")


def refuse_overlays(call: Call, names: Iterable[str]) -> None:
    """A container that is no task cannot be on the swarm's networks: raises what `plan.tasks_only` says of each.

    The node's own networks refuse it too, at its start, but know only those that its tasks are on.
    """
    own = {text for network in call.context.networks.list() for text in (network.id, network.name)}
    for wanted in [name for name in names if name not in own]:
        for network in swarm_networks(call):
            if wanted in (network.id, network.spec.name):
                raise tasks_only(network.spec.name, attachable=network.spec.attachable)


def usable_network_id(call: Call, control: Control, wanted: str) -> str:
    """The id of a network that a service may use. Raises NotFound; PermissionDenied for a network of this engine only;
    InvalidArgument for the ingress network."""
    try:
        network = control.get_network(wanted)
    except NotFound:
        return _predefined(call, wanted)
    if network.spec.ingress:
        raise InvalidArgument(
            "rpc error: code = InvalidArgument desc = Service cannot be explicitly attached to the ingress network "
            f'"{network.spec.name}"'
        )
    return network.id


def _predefined(call: Call, wanted: str) -> str:
    try:
        local = call.context.networks.find(wanted)
    except ShoalError:
        raise NotFound(f"network {wanted} not found") from None
    if local.name in ("bridge", "host"):
        return local.name
    raise PermissionDenied(
        f"The network {wanted} cannot be used with services. Only networks scoped to the swarm can be used, such as "
        "those created with the overlay driver."
    )
