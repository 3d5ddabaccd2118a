"""Orchestrators: which tasks a service should have. `replicated` and `global_` compare what is with what is asked;
`restart` replaces what ended, `update` what is out of date, `reaper` forgets history, `enforcer` rejects what no longer
may be where it is. `reconcile` is the pass over one service. Imports `slots`, `draft`, `changes`."""
