"""Manager: what a swarm's managers decide, and whom they talk to.

The deciding half is pure. `brain` makes one decision: it lets the parts below change a `draft` (the store's view as it
will be), and the loop in `loop` commits what came out, under the fence of the leadership that it runs in. Waiting is
data (`changes.Wake`), everything is recomputed from the store, and a loop may forget all it knows.

Reading order: `changes`, `draft`, `books` (what is remembered between decisions), `brain`, `loop`, `apply`; then
`slots` and `orchestrator` (which tasks there should be), `allocator` (addresses and ports), `scheduler` (where they
run), `roles`; `control` is what users ask. Who talks to nodes: `dispatcher`, `certificates`, `logbroker`,
`network_feed`. Imports `store`, `agent.templates`, `ca`, `wire`, `model`, `kit`.
"""
