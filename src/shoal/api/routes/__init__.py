"""Routes, one module per noun; each has a table `ROUTES`. Handlers read the call, ask one part, print the answer."""

from __future__ import annotations

from shoal.api.routes import (
    containers,
    containers_streams,
    distribution,
    events,
    exec,
    images,
    later,
    networks,
    nodes,
    services,
    swarm,
    system,
    tasks,
    volumes,
)

ROUTES = [
    system.ROUTES,
    containers.ROUTES,
    containers_streams.ROUTES,
    exec.ROUTES,
    images.ROUTES,
    volumes.ROUTES,
    networks.ROUTES,
    swarm.ROUTES,
    nodes.ROUTES,
    services.ROUTES,
    tasks.ROUTES,
    events.ROUTES,
    distribution.ROUTES,
    later.ROUTES,
]
