"""Network: bridges, overlays, VIPs, the routing mesh, names, address pools.

Reading order: `networks` (the facade that the rest of a daemon uses), `sandbox` (what is asked and got), `sandboxes`
(a container's network from open to close), `places` and `catalogue` (which networks there are), `fabric` (the node's
side), `tables` and `ruleset` (which nftables rules, and how they change), `kernel` (the edge). Decisions are pure:
`plan`, `pools`, `tables`, `ruleset`, `files`. Imports `model` and `kit`, nothing of the swarm's control plane.
"""

from __future__ import annotations

from shoal.network.networks import Networks
from shoal.network.sandbox import Sandbox, SandboxRequest

__all__ = ["Networks", "Sandbox", "SandboxRequest"]
