"""Networks: this engine's bridges and the swarm's overlays behind one set of routes."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from shoal.api import announce, present_engine, swarm_networks
from shoal.api.call import Call, answer, nothing
from shoal.api.routing import Route
from shoal.api.times import parse_time
from shoal.model.base import Struct
from shoal.model.container import EndpointSettings
from shoal.model.errors import Conflict, InvalidArgument, PermissionDenied, ShoalError
from shoal.model.filters import Filters, match_any, match_labels, match_prefix, truth
from shoal.model.swarm_spec import NetworkSpec

_ALLOWED = ("dangling", "driver", "id", "label", "name", "scope", "type")


class Connect(Struct, frozen=True):
    """The body of POST /networks/{id}/connect and disconnect."""

    container: str = ""
    endpoint_config: EndpointSettings = EndpointSettings()
    force: bool = False


async def list_networks(call: Call) -> web.Response:
    """GET /networks."""
    asked = call.filters(_ALLOWED)
    for kind in asked.get("type", []):
        if kind not in ("custom", "builtin"):
            raise InvalidArgument(f"invalid filter: 'type'='{kind}'")
    used = {endpoint.network_id for c in call.context.engine.containers.list() for endpoint in c.networks.values()}
    return answer([row for row in swarm_networks.everything(call) if _wanted(row, asked, used)])


def _wanted(row: dict[str, Any], asked: Filters, used: set[str]) -> bool:
    builtin = row["Name"] in swarm_networks.PREDEFINED
    return (
        match_prefix(asked, "id", row["Id"])
        and match_any(asked, "driver", row["Driver"])
        and match_any(asked, "scope", row["Scope"])
        and ("name" not in asked or any(name in row["Name"] for name in asked["name"]))
        and match_labels(asked, row["Labels"] or {})
        and ("type" not in asked or ("builtin" if builtin else "custom") in asked["type"])
        and ("dangling" not in asked or truth(asked["dangling"][0]) == (not builtin and row["Id"] not in used))
    )


async def inspect(call: Call) -> web.Response:
    """GET /networks/{id}: with the containers of this node that are on it."""
    row = swarm_networks.find(call, call.params["id"], call.query("scope"))
    containers = call.context.engine.containers.list()
    row["Containers"] = present_engine.containers_on(row["Name"], row["Id"], containers)
    if row["Scope"] == "swarm" and call.flag("verbose"):
        row.setdefault("Services", {})
    return answer(row)


async def create(call: Call) -> web.Response:
    """POST /networks/create: an overlay is made in the swarm, anything else on this engine."""
    spec = await call.body(NetworkSpec)
    if not spec.name:
        raise InvalidArgument("network name cannot be empty")
    if spec.name in swarm_networks.PREDEFINED:
        raise PermissionDenied(f"operation is not permitted on predefined {spec.name} network")
    if spec.driver == "overlay" or spec.scope == "swarm":
        network = await call.context.control.create_network(spec)
        return answer({"Id": network.id, "Warning": ""}, 201)
    if any(row["Name"] == spec.name for row in swarm_networks.everything(call)):
        raise Conflict(f"network with name {spec.name} already exists")
    local = await call.context.networks.create(spec)
    announce.network(call, "create", local)
    return answer({"Id": local.id, "Warning": ""}, 201)


async def remove(call: Call) -> web.Response:
    """DELETE /networks/{id}."""
    row = swarm_networks.find(call, call.params["id"])
    if row["Name"] in swarm_networks.PREDEFINED:
        raise PermissionDenied(f"{row['Name']} is a pre-defined network and cannot be removed")
    if row["Scope"] == "swarm":
        await call.context.control.remove_network(row["Id"])
    else:
        local = call.context.networks.find(row["Id"])
        await call.context.networks.remove(row["Id"])
        announce.network(call, "destroy", local)
    return nothing()


async def connect(call: Call) -> web.Response:
    """POST /networks/{id}/connect."""
    asked = await call.body(Connect)
    row = swarm_networks.find(call, call.params["id"])
    swarm_networks.refuse_overlays(call, [row["Name"]])
    await call.context.engine.containers.connect(asked.container, row["Name"], asked.endpoint_config)
    return nothing(200)


async def disconnect(call: Call) -> web.Response:
    """POST /networks/{id}/disconnect."""
    asked = await call.body(Connect)
    row = swarm_networks.find(call, call.params["id"])
    await call.context.engine.containers.disconnect(asked.container, row["Name"], force=asked.force)
    return nothing(200)


async def prune(call: Call) -> web.Response:
    """POST /networks/prune: every network of the user's that nothing uses."""
    asked = call.filters(("until", "label", "label!"))
    now = call.context.clock.now()
    until = [moment for text in asked.get("until", []) if (moment := parse_time(text, now))]
    used = {endpoint.network_id for c in call.context.engine.containers.list() for endpoint in c.networks.values()}
    names = {name for c in call.context.engine.containers.list() for name in c.networks}
    gone = []
    for network in call.context.networks.list():
        spared = "label!" in asked and match_labels(asked, network.labels, "label!")
        if (
            network.scope != "local"
            or network.name in (*swarm_networks.PREDEFINED, swarm_networks.GATEWAY)
            or network.id in used
            or network.name in names
            or spared
            or not match_labels(asked, network.labels)
            or any(network.created > moment for moment in until)
        ):
            continue
        try:
            await call.context.networks.remove(network.id)
        except ShoalError:
            continue  # taken into use in between
        announce.network(call, "destroy", network)
        gone.append(network.name)
    announce.pruned(call, "network", 0)
    return answer({"NetworksDeleted": gone or None})


ROUTES = [
    Route("GET", "/networks", list_networks),
    Route("GET", "/networks/", list_networks),
    Route("POST", "/networks/create", create),
    Route("POST", "/networks/prune", prune),
    Route("GET", "/networks/{id}", inspect),
    Route("DELETE", "/networks/{id}", remove),
    Route("POST", "/networks/{id}/connect", connect),
    Route("POST", "/networks/{id}/disconnect", disconnect),
]
