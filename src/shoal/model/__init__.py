"""Model: specs, objects, states, constraints, names, errors. Pure values: no I/O, no clock, no randomness.

Structs are shaped like the Engine API's JSON (`encode(task)` is what `docker inspect` prints). They are frozen:
change one with `msgspec.structs.replace`, compare two with `!=`. Reading order: `base`, `errors`, `states`,
`swarm_spec`, `objects`, `container`, then the small grammars (`reference`, `constraint`, `filters`, `names`).
Imports only `kit`.
"""
