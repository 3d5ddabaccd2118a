"""Store: the one truth. Transactions with version checks, an in-memory view with indexes, watch, leadership.

Reading order: `base` (the promises), `view` (the snapshot that decisions read), `writes` (versions and names), `memory`
(a store without etcd, for tests), `codec` (keys and encrypted values), `transaction`, `etcd` (the replicated store),
`leadership`; below them `etcd_client`, `etcd_process`, `etcd_names` and `upkeep`. Both stores pass the suite in
`tests/store_suite.py`. Imports `kit`, `model`, `wire`, `ca`.
"""
