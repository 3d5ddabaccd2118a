"""The swarm's machines."""

from __future__ import annotations

from aiohttp import web

from shoal.api import present
from shoal.api.call import Call, answer, nothing
from shoal.api.convert import node_spec
from shoal.api.routing import Route
from shoal.model.errors import InvalidArgument
from shoal.model.filters import Filters, match_labels, match_prefix
from shoal.model.objects import Node
from shoal.model.swarm_spec import NodeSpec

_ALLOWED = ("id", "label", "membership", "name", "node.label", "role")


async def list_nodes(call: Call) -> web.Response:
    """GET /nodes."""
    asked = call.filters(_ALLOWED)
    _check(asked)
    return answer([present.node(node) for node in call.context.control.list_nodes() if _wanted(node, asked)])


def _check(asked: Filters) -> None:
    for role in asked.get("role", []):
        if role not in ("worker", "manager"):
            raise InvalidArgument(f"Invalid role filter: '{role}'")
    for membership in asked.get("membership", []):
        if membership not in ("pending", "accepted"):
            raise InvalidArgument(f"Invalid membership filter: '{membership}'")


def _wanted(node: Node, asked: Filters) -> bool:
    names = asked.get("name")
    return (
        match_prefix(asked, "id", node.id)
        and (names is None or any(node.description.hostname.startswith(name) for name in names))
        and ("role" not in asked or node.spec.role in asked["role"])
        and ("membership" not in asked or "accepted" in asked["membership"])
        and match_labels(asked, node.description.engine.labels)
        and match_labels(asked, node.spec.labels, "node.label")
    )


async def inspect(call: Call) -> web.Response:
    """GET /nodes/{id}: by id, hostname, or beginning of an id."""
    return answer(present.node(call.context.control.get_node(call.params["id"])))


async def update(call: Call) -> web.Response:
    """POST /nodes/{id}/update: the body is the whole spec."""
    spec = node_spec(await call.body(NodeSpec))
    await call.context.control.update_node(call.params["id"], call.index(), spec)
    return nothing(200)


async def remove(call: Call) -> web.Response:
    """DELETE /nodes/{id}."""
    await call.context.control.remove_node(call.params["id"], force=call.flag("force"))
    return nothing(200)


ROUTES = [
    Route("GET", "/nodes", list_nodes),
    Route("GET", "/nodes/{id}", inspect),
    Route("POST", "/nodes/{id}/update", update),
    Route("DELETE", "/nodes/{id}", remove),
]
