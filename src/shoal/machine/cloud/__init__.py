"""Machines at cloud providers, through Apache Libcloud (the extra `cloud`), under docker-machine's names.

Reading order: `provider` (what a provider's file says: a table of flags, and what is done otherwise there), `driver`
(the one driver that all of them share), `remote` (a machine as its provider knows it: found, waited for, removed),
`credentials` and `secrets` (tokens: keyring or environment, never the record), `api` (Libcloud called with its
failures in words, and one question per account for `ls`), `access` (keys for ssh, both ways), `userdata` (what
cloud-init is told), `rules` (which ports a machine needs). Then a file per provider: `amazonec2` is the fullest,
`digitalocean` the simplest; `anycloud` takes any provider that Libcloud knows. `amazonec2_groups` and `azure_network`
are what is around a machine there.

Nothing here imports Libcloud until a machine asks for it. Imports `model`, `kit` and `machine`.
"""
