"""Scheduler: where tasks run. `load` is the picture of the nodes, `filters` what rules a node out, `spread` the choice
among the others, `schedule` the pass over everything that waits. Imports `store`, `model`."""
