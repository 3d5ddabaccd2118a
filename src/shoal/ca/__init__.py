"""CA: the swarm's root certificate, what it issues, join tokens, and TLS built from them.

Reading order: `root`, `issue` (certificates), `tokens`, `renewal`, `files` (what a node keeps on disk), `tls`
(contexts), `identity` (who is at the other end). Functions take the time and randomness they need. Imports `kit` and
`model`.
"""
