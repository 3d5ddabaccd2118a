"""Dispatcher: the leader's end of every agent's session.

Reading order: `liveness` (heartbeats and when a node counts as lost), `records` (what is written about nodes and
tasks), `assignments` (what a node is told), `sessions` (who is connected), `messages` (what a session message says),
`leading` (the leader's scope: all of these over one store), `service` (the gRPC face). Decisions are in the first
three, which are pure.
"""
