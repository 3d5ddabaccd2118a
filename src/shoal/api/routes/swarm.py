"""The swarm itself: init, join, leave, inspect, update."""

from __future__ import annotations

from aiohttp import web

from shoal.api import present
from shoal.api.call import Call, answer, nothing
from shoal.api.routing import Route
from shoal.model.swarm_spec import ClusterSpec
from shoal.node.requests import InitRequest, JoinRequest


async def init(call: Call) -> web.Response:
    """POST /swarm/init: the id of this node, a bare JSON string."""
    return answer(await call.context.node.init(await call.body(InitRequest)))


async def join(call: Call) -> web.Response:
    """POST /swarm/join."""
    await call.context.node.join(await call.body(JoinRequest))
    return nothing(200)


async def leave(call: Call) -> web.Response:
    """POST /swarm/leave."""
    await call.context.node.leave(call.flag("force"))
    return nothing(200)


async def inspect(call: Call) -> web.Response:
    """GET /swarm."""
    return answer(present.swarm(call.context.control.cluster()))


async def update(call: Call) -> web.Response:
    """POST /swarm/update."""
    spec = await call.body(ClusterSpec)
    await call.context.control.update_cluster(
        call.index(),
        spec,
        rotate_worker_token=call.flag("rotateWorkerToken"),
        rotate_manager_token=call.flag("rotateManagerToken"),
        rotate_unlock_key=call.flag("rotateManagerUnlockKey"),
    )
    return nothing(200)


async def unlock_key(call: Call) -> web.Response:
    """GET /swarm/unlockkey: empty while the swarm is not locked, as docker answers."""
    _ = call.context.control
    return answer({"UnlockKey": ""})


ROUTES = [
    Route("POST", "/swarm/init", init),
    Route("POST", "/swarm/join", join),
    Route("POST", "/swarm/leave", leave),
    Route("GET", "/swarm", inspect),
    Route("POST", "/swarm/update", update),
    Route("GET", "/swarm/unlockkey", unlock_key),
]
