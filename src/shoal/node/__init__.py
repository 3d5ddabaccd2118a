"""Node: which roles run on this machine, and how they begin and end: init, join, leave, promote, demote, renew, restart.

Reading order: `node` (the contract: one object per daemon), `life` (what runs while this machine is in a swarm),
`manager_side` (what runs while it is a manager), `membership` (its part in the replicated store), `joining` (getting
certificates), `founding` (a new swarm's first objects), `state` (what is kept on disk), `addresses`, `requests`, `info`.
Wires together `manager`, `agent`, `engine`, `network`, `store` and `ca`.
"""
