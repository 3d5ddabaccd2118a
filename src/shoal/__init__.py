"""Shoal: swarm mode, reborn. One package that turns Linux machines into a cluster that runs containers.

`docs/tour.md` follows one `service create` through the code; the packages are listed, top to bottom, in
`docs/design.md`. Imports go downwards only (`tests/unit/test_imports.py`).
"""

__version__ = "0.1.0"
