"""Store: the one truth. Transactions with version checks, an in-memory view with indexes, watch, leadership.

`view` is the snapshot that decisions read, `memory` a store without etcd (tests), `etcd*` the replicated one; both
pass the same conformance suite. Imports `kit`, `model`, `wire`, `ca`.
"""
