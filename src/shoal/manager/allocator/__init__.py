"""Allocator: addresses and published ports. `addresses` is the book of what is in use, `ports` chooses published ones,
`allocate` the pass that gives networks, services, tasks and nodes what they lack. Imports `store`, `model`."""
