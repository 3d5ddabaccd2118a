"""Node: which roles run on this machine, and how they begin and end.

Init, join, leave, promotion and demotion, renewal, restart. Reading order: `node` (the contract: one object per
daemon), `life` (what runs while this machine is in a swarm), `manager_side` (what runs while it is a manager),
`membership` and `peers` (its part in the replicated store), `watching` (the leader's eye on the managers), `joining`
(getting certificates), `founding` (a new swarm's first objects), `departure`, `logs`, `local` and `state` (what this
node knows, and keeps on disk), `addresses`, `requests`, `info`. After addresses changed: `discovery` (telling nodes
where managers are), `seeking` (looking for managers) with `beacon`, `discovery_messages` and `discovery_limits`.
Wires together `manager`, `agent`, `engine`, `network`, `store` and `ca`.
"""
