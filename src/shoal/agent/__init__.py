"""Agent: what every node of a swarm does: take assignments, run them, report.

Reading order: `runner` (a task's state machine, its decision pure), `executor` (what it needs to have done), `worker`
(the set of tasks), `disk` (their copy on disk), `reports`; `session` (the conversation with the leader) with `remotes`
(which manager to try), `logs` and `networks`; `agent`, which puts them together. `plan`, `templates`, `pulls` and
`containers` are the executor over the engine. Imports `engine`, `network`, `wire`, `model`, `kit`.
"""
