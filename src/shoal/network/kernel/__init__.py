"""The narrow edge to the kernel: namespaces, rtnetlink, nftables, conntrack, sysctls.

Nothing here knows what a container or a network is. Everything blocks (microseconds to a few milliseconds), so callers
run it in a thread. Reading order: `namespaces`, `netlink` (the wire), `links` and `routes` (the messages), `nft`,
`conntrack`, `sysctl`. Imports the standard library and `model.errors` only.
"""
