"""Stacks: a Compose file becomes specs, specs and the state of the swarm become a plan, the plan is printed and run.

Reading order: `names`, `yaml_places` (YAML with line numbers), `interpolate`, `schema` (what may stand where), `load`
(files -> one checked tree), `merge`, `convert*` (tree -> specs), `plan` (specs + state -> operations), `run`.
Everything up to the plan is pure; only `run` talks to a daemon.
Imports `model` and `kit`; `run` also `api.client`.
"""
