"""Network: bridges, overlays, VIPs, the routing mesh, names, address pools.

Reading order: `networks` (the facade that the rest of a daemon uses), `sandbox` (what is asked and got), `sandboxes`
(a container's network from open to close), `places` and `catalogue` (which networks there are), `fabric` (the node's
side), `swarm`, `segments` and `overlays` (what the managers say, and the kernel brought to it), `services` and `mesh`
(what works inside the sandboxes), `resolver` and `names`, `tables` and `ruleset` (which nftables rules, and how they
change), `kernel` (the edge). Decisions are pure: `plan`, `pools`, `segments`, `mesh`, `names`, `answers`, `tables`,
`ruleset`, `files`. Imports `model` and `kit`, and nothing of the swarm's control plane.
"""

from __future__ import annotations

from shoal.network.networks import Networks
from shoal.network.sandbox import Sandbox, SandboxRequest

__all__ = ["Networks", "Sandbox", "SandboxRequest"]
